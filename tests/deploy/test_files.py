"""Every path, port, option and metric in deploy/ is there; promtool takes its rules."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from cloud.blocks.store import load_store
from cloud.data.load import load as load_data
from cloud.service.prometheus import CloudCollector
from cloud.service.statistics import ServiceStatistics
from emulator.cli.verbs import load_verb
from emulator.metrics.prometheus import FleetCollector
from emulator.metrics.timeline import RunTimeline
from emulator.simulation.model_cache import SHIPPED, find_shipped, store_origin
from scenarios.language.load import load
from tests.deploy.files import (
    COMPOSE,
    DASHBOARD,
    DEPLOY,
    DOCKERFILE,
    PROMETHEUS,
    ROOT,
    commands,
    containers,
    copies,
    dashboard_queries,
    instructions,
    manifests,
    stage,
)
from tests.emulator.realtime.test_live import CALM
from tests.pages import DOCS, rows, ticked
from tests.rollouts import FIGURES
from tests.wheel_environment import build_wheel

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def names_of_metrics() -> set[str]:
    fleet = FleetCollector(RunTimeline.from_scenario(load(DEPLOY / "fleet.yaml")), "demo")
    fleet.add(CALM)
    labels = {"fleet": "f", "replica": "", "version": "v"}
    cloud = CloudCollector(ServiceStatistics(), int, int, lambda: labels, lambda: FIGURES)
    families = [*fleet.collect(), *cloud.collect()]
    return {sample.name for family in families for sample in family.samples} | {
        family.name + suffix
        for family in families
        if family.type == "histogram"
        for suffix in ("_bucket", "_sum", "_count")
    }


@pytest.mark.parametrize("name", ["source", "build-cloud", "base", "emulator"])
def test_an_image_copies_what_is_there_and_not_ignored(name: str) -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    kept = [line[1:] for line in ignored if line.startswith("!")]
    for sources, _ in copies(name):
        for source in sources:
            assert (ROOT / source).exists(), source
            assert any(source == path or source.startswith(f"{path}/") for path in kept), source


@pytest.mark.slow
def test_what_the_image_copies_is_the_whole_product(tmp_path: Path) -> None:
    for sources, target in copies("source"):
        for source in sources:
            place = tmp_path / "source" / target
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, place)
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(command, cwd=tmp_path / "source", check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    assert contents(wheel) == contents(build_wheel(tmp_path / "checkout"))


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if "RECORD" not in name}


def test_no_image_ends_as_root_and_none_names_torch() -> None:
    for name in ("cloud", "emulator"):
        assert [rest for instruction, rest in stage(name) if instruction == "USER"][-1] == "10001"
    extras = [rest for instruction, rest in instructions() if instruction == "ARG"]
    assert extras == ['EXTRAS=""']  # the dependencies without an extra; the cloud: test_serving.py
    assert "torch" not in " ".join(rest for _, rest in instructions())


@pytest.mark.parametrize("where", list(commands()))
def test_a_command_line_has_options_that_exist(where: str) -> None:
    verb, *words = commands()[where]
    params = load_verb(verb).params
    known = {name for param in params for name in (*param.opts, *param.secondary_opts)}
    given = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert given
    assert given <= known
    required = {name for param in params if param.required for name in param.opts if name.startswith("--")}
    assert required - given <= {"--broker"}  # from the environment


def test_stores_and_scenarios_of_the_command_lines_are_in_the_images() -> None:
    inside = {}
    for name in ("base", "emulator"):
        for sources, target in copies(name):
            for source in sources:
                inside[target + Path(source).name if target.endswith("/") else target] = ROOT / source
    for words in commands().values():
        for word in words:
            if "/srv/" in word:
                assert word.partition("=")[2] or word in inside
    scenario = load(inside["/srv/fleet.yaml"])
    store = load_store(inside["/srv/stores/quickstart"])
    quickstart = load(ROOT / "scenarios/quickstart.yaml")
    assert (scenario.data, scenario.model) == (quickstart.data, quickstart.model)
    assert store.version == load_store(SHIPPED / "quickstart").version
    assert find_shipped(store_origin(load_data(scenario.data), scenario.model)) == SHIPPED / "quickstart"


def test_ports_are_the_same_everywhere() -> None:
    exposed = {rest for instruction, rest in instructions() if instruction == "EXPOSE"}
    assert exposed == {"9464", "9465"}
    listened = {
        where: re.findall(r"--metrics-port=(\d+)", " ".join(words)) for where, words in commands().items()
    }
    assert listened == {
        "compose/cloud": ["9464"], "compose/fleet": ["9465"],
        "kubernetes/cloud": ["9464"], "kubernetes/fleet": ["9465"],
    }  # fmt: skip
    scraped = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    assert [job["static_configs"][0]["targets"] for job in scraped] == [["cloud:9464"], ["fleet:9465"]]
    discovered = yaml.safe_load((DEPLOY / "kubernetes/prometheus.yml").read_text())["scrape_configs"]
    found = {job["dns_sd_configs"][0]["names"][0]: job["dns_sd_configs"][0]["port"] for job in discovered}
    services = {each["metadata"]["name"]: each["spec"] for each in manifests() if each["kind"] == "Service"}
    assert found == {name: services[name]["ports"][0]["port"] for name in ("cloud", "fleet")}
    for name, container in containers():
        for port in container.get("ports", ()):
            assert port["containerPort"] == services[name]["ports"][0]["port"]


def test_the_compose_file_mounts_what_is_there() -> None:
    declared = set(COMPOSE["volumes"])
    for name, service in COMPOSE["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            there = (DEPLOY / source).exists() if source.startswith(".") else source in declared
            assert there, f"{name}: {volume}"
        if "build" in service:
            assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]) == (
                DEPLOY / ".." / "deploy" / "Dockerfile"
            )
            assert any(rest.endswith(f"AS {service['build']['target']}") for _, rest in instructions())
        assert set(service.get("depends_on", ())) <= set(COMPOSE["services"])


def test_kubernetes_objects_fit_together() -> None:
    kinds = [(each["kind"], each["metadata"]["name"]) for each in manifests()]
    assert len(kinds) == len(set(kinds))
    for each in manifests():
        if each["kind"] in ("Deployment", "StatefulSet"):
            labels = each["spec"]["template"]["metadata"]["labels"]
            assert each["spec"]["selector"]["matchLabels"] == labels
            pod = each["spec"]["template"]["spec"]
            claims = [claim["metadata"]["name"] for claim in each["spec"].get("volumeClaimTemplates", ())]
            volumes = {volume["name"] for volume in pod["volumes"]} | set(claims)
            for container in (*pod.get("initContainers", ()), *pod["containers"]):
                assert {mount["name"] for mount in container["volumeMounts"]} <= volumes
                assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert pod["securityContext"]["runAsNonRoot"] is True
    kustomization = yaml.safe_load((DEPLOY / "kustomization.yaml").read_text())
    for entry in kustomization["configMapGenerator"][0]["files"]:
        assert (DEPLOY / entry.partition("=")[2]).exists()


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kustomize_takes_the_manifests() -> None:
    command = ["kubectl", "kustomize", str(DEPLOY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    kinds = sorted(each["kind"] for each in yaml.safe_load_all(done.stdout))
    assert kinds == sorted([each["kind"] for each in manifests()] + ["ConfigMap"])


def test_dashboard_and_alerts_name_metrics_that_exist() -> None:
    known = names_of_metrics()
    rules = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]
    queries = [*dashboard_queries().values(), *(rule["expr"] for rule in rules)]
    used = {name for query in queries for name in re.findall(r"peelfleet_\w+", query)}
    assert used
    assert used <= known
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    sources = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())
    uids = {target["datasource"]["uid"] for p in DASHBOARD["panels"] for target in p.get("targets", ())}
    assert uids == {sources["datasources"][0]["uid"]}
    folder = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/peelfleet.yaml").read_text())
    mounted = [volume.split(":")[1] for volume in COMPOSE["services"]["grafana"]["volumes"]]
    assert folder["providers"][0]["options"]["path"] in mounted


@needs_promtool
def test_promtool_takes_configurations_and_rules(tmp_path: Path) -> None:
    shutil.copytree(PROMETHEUS, tmp_path / "compose")
    shutil.copytree(PROMETHEUS, tmp_path / "kubernetes")
    shutil.copy(DEPLOY / "kubernetes/prometheus.yml", tmp_path / "kubernetes")
    for folder in ("compose", "kubernetes"):
        promtool("check", "config", str(tmp_path / folder / "prometheus.yml"))
    promtool("check", "rules", str(PROMETHEUS / "alerts.yml"))


@needs_promtool
def test_each_alert_fires_when_it_should_and_not_before() -> None:
    promtool("test", "rules", str(PROMETHEUS / "alerts_test.yml"))
    rules = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test.get("alert_rule_test", ())]
    fired = {case["alertname"] for case in cases if "exp_alerts" in case}
    assert fired == {rule["alert"] for rule in rules}


def test_the_page_says_what_to_do_about_each_alert() -> None:
    rules = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"][0]["rules"]
    told = {name for row in rows(DOCS / "operate.md", "What to do about an alert") for name in ticked(row[0])}
    assert told == {rule["alert"] for rule in rules}


def promtool(*words: str) -> None:
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_is_read_whole() -> None:
    known = {"FROM", "ARG", "WORKDIR", "COPY", "RUN", "ENV", "USER", "EXPOSE", "ENTRYPOINT", "CMD"}
    assert {instruction for instruction, _ in instructions()} <= known, DOCKERFILE
