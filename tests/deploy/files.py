"""The files of deploy/, read as the tools that use them read them."""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/peelfleet.json").read_text())
PROMETHEUS = DEPLOY / "prometheus"


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile, with their arguments, without comments."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ")
    pairs = (line.split(maxsplit=1) for line in whole.splitlines() if line.strip())
    return [(name, rest) for name, rest in pairs]


def stage(name: str) -> list[tuple[str, str]]:
    """Return the instructions of the stage called *name*."""
    found: list[tuple[str, str]] = []
    current = ""
    for instruction, rest in instructions():
        if instruction == "FROM":
            current = rest.split()[-1]
        elif current == name:
            found.append((instruction, rest))
    return found


def copies(name: str) -> Iterator[tuple[list[str], str]]:
    """Yield sources and target of each COPY from the checkout in a stage."""
    for instruction, rest in stage(name):
        if instruction == "COPY" and not rest.startswith("--from="):
            *sources, target = rest.split()
            yield sources, target


def manifests() -> list[dict[str, Any]]:
    """Return all Kubernetes objects that kustomization.yaml names."""
    listed = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())["resources"]
    return [entry for name in listed for entry in yaml.safe_load_all((DEPLOY / name).read_text())]


def containers() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each container of the manifests, with the name of its object."""
    for entry in manifests():
        if entry["kind"] in ("Deployment", "StatefulSet"):
            pod = entry["spec"]["template"]["spec"]
            for container in (*pod.get("initContainers", ()), *pod["containers"]):
                yield entry["metadata"]["name"], container


def commands() -> dict[str, list[str]]:
    """Return the arguments of each ``peelfleet`` that compose file and manifests start, by where."""
    found = {
        f"compose/{name}": service["command"]
        for name, service in COMPOSE["services"].items()
        if service.get("image", "").startswith("peelfleet-") and "entrypoint" not in service
    }
    for name, container in containers():
        if container["image"].startswith("peelfleet-"):
            words = container["args"]
            if container.get("command") == ["sh", "-c"]:
                words = shlex.split(words[0])[2:]  # exec peelfleet ...
            found[f"kubernetes/{name}"] = words
    return found


def dashboard_queries() -> dict[str, str]:
    """Return the queries of the dashboard by panel and letter."""
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
    }
