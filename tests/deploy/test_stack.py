"""The programs of the compose file, without containers, watched by a real Prometheus."""

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker_config import mosquitto
from tests.cloud import services
from tests.cloud.services import free_port, read
from tests.deploy.files import COMPOSE, DEPLOY, PROMETHEUS, ROOT, dashboard_queries

pytestmark = [
    pytest.mark.slow,
    pytest.mark.broker,
    pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed"),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed"),
]
SERVICES = COMPOSE["services"]
wait_for = functools.partial(services.wait_for, patience_s=90.0)


@dataclass
class Stack:
    """What runs, and where: ports and processes by service."""

    folder: Path
    ports: dict[str, int]
    processes: dict[str, "subprocess.Popen[bytes]"]

    def here(self, text: str, login: str = "") -> str:
        """Return a text of the files with the names, ports and paths that it has here."""
        for old, new in {
            "broker:8883": f"localhost:{self.ports['broker']}",
            "cloud:9464": f"127.0.0.1:{self.ports['cloud']}",
            "fleet:9465": f"127.0.0.1:{self.ports['fleet']}",
            "--metrics-host=0.0.0.0": "--metrics-host=127.0.0.1",
            "--metrics-port=9464": f"--metrics-port={self.ports['cloud']}",
            "--metrics-port=9465": f"--metrics-port={self.ports['fleet']}",
            "/srv/stores": str(ROOT / "scenarios/stores"),
            "/srv/fleet.yaml": str(DEPLOY / "fleet.yaml"),
            "/login/": f"{self.folder / login}/",
            "--out=/tmp/shard": f"--out={self.folder / 'shard'}",
            "/etc/prometheus": str(self.folder / "prometheus"),
            "=/prometheus": f"={self.folder / 'data'}",
            "/broker/": f"{self.folder / 'broker'}/",
        }.items():
            text = text.replace(old, new)
        return text

    def start(self, service: str, program: list[str], login: str = "") -> None:
        """Start a service with the command line and the environment that the compose file gives it."""
        entry = SERVICES[service]
        words = [self.here(word, login) for word in entry["command"]]
        environment = {key: self.here(value, login) for key, value in entry.get("environment", {}).items()}
        log = (self.folder / f"{service}.log").open("ab")
        with log:
            self.processes[service] = subprocess.Popen(
                [*program, *words], stdout=log, stderr=log,
                cwd=self.here(entry.get("working_dir", str(self.folder))),
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            )  # fmt: skip

    def end(self, service: str) -> None:
        """Kill a service."""
        self.processes[service].kill()
        self.processes[service].wait()

    def query(self, query: str) -> list[dict[str, Any]]:
        """Return the answer of Prometheus to a query, now."""
        text = urllib.parse.quote(query)
        answer = json.loads(read(self.ports["prometheus"], f"/api/v1/query?query={text}")[1])
        assert answer["status"] == "success", answer
        return list(answer["data"]["result"])

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        alerts = json.loads(read(self.ports["prometheus"], "/api/v1/alerts")[1])["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


@contextmanager
def running() -> Iterator[Stack]:
    with tempfile.TemporaryDirectory() as name, ExitStack() as ends:
        folder = Path(name)
        folder.chmod(0o755)  # mosquitto is another user
        stack = Stack(folder, {each: free_port() for each in ("broker", "cloud", "fleet", "prometheus")}, {})
        ends.callback(end_all, stack)
        set_up_broker(stack)
        peelfleet = [sys.executable, "-m", "emulator.cli"]
        stack.start("broker", [])
        stack.start("cloud", peelfleet, "cloud-login")
        stack.start("fleet", peelfleet, "fleet-login")
        shutil.copytree(PROMETHEUS, folder / "prometheus")
        for file in (folder / "prometheus").glob("*.yml"):  # their timing is for promtool; here all is faster
            fast = re.sub(r"(for|interval): \d+[sm]", r"\1: 1s", stack.here(file.read_text()))
            file.write_text(fast)
        listen = f"--web.listen-address=127.0.0.1:{stack.ports['prometheus']}"
        stack.start("prometheus", ["prometheus", listen])
        yield stack


def set_up_broker(stack: Stack) -> None:
    """Run the script of the service `setup`, with the arguments that the compose file gives it."""
    program = stack.folder / "bin" / "peelfleet"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m emulator.cli "$@"\n')
    program.chmod(0o755)
    (line,) = SERVICES["setup"]["command"]
    words = line.partition(" && ")[0].split()
    assert words[:2] == ["sh", "/srv/setup-broker.sh"]
    folders = [stack.folder / word.strip("/") for word in words[2:5]]
    for each in folders:
        each.mkdir()
    command = ["sh", DEPLOY / "setup-broker.sh", *folders, "localhost", str(stack.ports["broker"])]
    path = f"{program.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    subprocess.run(list(map(str, command)), env=environment, check=True, capture_output=True, timeout=60)


def end_all(stack: Stack) -> None:
    for service in stack.processes:
        stack.end(service)


def test_prometheus_sees_a_live_fleet_and_its_alerts_fire() -> None:
    with running() as stack:
        wait_for(lambda: answers(stack), "Prometheus")
        wait_for(lambda: ups(stack) == {"peelfleet-cloud": 1, "peelfleet-fleet": 1}, "both targets up")
        queries = {
            name: query.replace("$__rate_interval", "15s") for name, query in dashboard_queries().items()
        }
        wait_for(lambda: bool(stack.query("peelfleet_fleet_applied_total > 60")), "updates")
        wait_for(lambda: all(stack.query(query) for query in queries.values()), "data for each panel")
        assert stack.query("peelfleet_fleet_over_budget")[0]["value"][1] == "0"
        assert not stack.firing() & {"PeelfleetDown", "PeelfleetCloudNotReady", "PeelfleetInternalErrors"}
        stack.end("broker")
        wait_for(lambda: "PeelfleetCloudNotReady" in stack.firing(), "an alert that the broker is gone")
        stack.end("fleet")
        wait_for(lambda: "PeelfleetDown" in stack.firing(), "an alert that a target is down")
        stack.start("broker", [])
        wait_for(lambda: "PeelfleetCloudNotReady" not in stack.firing(), "the cloud is ready again")


def answers(stack: Stack) -> bool:
    assert stack.processes["prometheus"].poll() is None, (stack.folder / "prometheus.log").read_text()
    try:
        return read(stack.ports["prometheus"], "/-/ready")[0] == 200
    except OSError:
        return False


def ups(stack: Stack) -> dict[str, int]:
    return {each["metric"]["job"]: int(each["value"][1]) for each in stack.query('up{job=~"peelfleet-.*"}')}
