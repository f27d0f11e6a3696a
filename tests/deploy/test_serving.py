"""The cloud serves a store with no more installed than deploy/serving.txt says, so without torch."""

import asyncio
import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import aiomqtt
import pytest
from packaging.requirements import Requirement

from broker_config import mosquitto
from broker_config.endpoint import Credentials
from broker_config.launch import launch_broker
from cloud.blocks.store import load_store
from emulator.processes.cloud_process import BROKER_VARIABLE, url_with_password
from emulator.simulation.model_cache import SHIPPED
from tests.cloud.services import free_port, read, wait_for
from tests.deploy.files import DEPLOY, ROOT
from wire.messages import ModelNotice, decode
from wire.mqtt.connection import Connection
from wire.topics import MessageKind, Role, fleet_topic

HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""


def listed() -> list[str]:
    lines = (DEPLOY / "serving.txt").read_text().splitlines()
    return [line for line in lines if not line.startswith("#")]


def plain(name: str) -> str:
    """Return the name of a distribution as all tools compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def with_what_they_need(requirements: list[str]) -> set[str]:
    needed, rest = set[str](), [Requirement(text) for text in requirements]
    while rest:
        name = plain(rest.pop().name)
        if name not in needed:
            needed.add(name)
            wanted = [Requirement(text) for text in metadata.distribution(name).requires or ()]
            rest += [each for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    return needed


def hidden_modules() -> set[str]:
    """Return the modules of this environment that the image does not have."""
    needed = with_what_they_need(listed())
    owners = metadata.packages_distributions()
    return {module for module, names in owners.items() if not {plain(name) for name in names} & needed} - {
        "wire", "cloud", "devices", "broker_config", "scenarios", "emulator", "peelfleet",
    }  # fmt: skip


def test_each_line_is_one_of_the_dependencies() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(listed()) <= set(project["dependencies"])
    assert not with_what_they_need(listed()) & {"torch", "scipy", "pyarrow", "plotly", "simpy"}
    assert {"torch", "scipy", "pyarrow", "plotly", "simpy", "yaml"} <= hidden_modules()


@pytest.mark.broker
@pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed")
def test_the_cloud_serves_where_nothing_else_is_installed(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"HIDDEN = {hidden_modules()!r}\n{HIDE}")
    login = {Role.CLOUD: Credentials("_cloud", "secret"), Role.FLEET: Credentials("_fleet", "secret")}
    port = free_port()
    words = ["--fleet", "f", "--store", str(SHIPPED / "quickstart"), "--metrics-port", str(port)]
    with launch_broker("mosquitto", credentials=login) as broker:
        environment = os.environ | {
            "PYTHONPATH": str(tmp_path),
            BROKER_VARIABLE: url_with_password(broker.endpoint, Role.CLOUD),
        }
        command = [sys.executable, "-m", "emulator.cli", "cloud", *words]
        with subprocess.Popen(command, cwd=ROOT, env=environment) as cloud:
            try:
                version = asyncio.run(announced_version(broker.endpoint.connection(Role.FLEET, "test")))
                wait_for(lambda: read(port, "/readyz") == (200, "ready\n"), "ready")
            finally:
                cloud.terminate()
    assert version == load_store(SHIPPED / "quickstart").version
    assert cloud.returncode == 0


async def announced_version(connection: Connection) -> str:
    """Wait until a cloud has announced its model to fleet ``f``."""
    async with aiomqtt.Client(**connection.client_options()) as client, asyncio.timeout(60):
        await client.subscribe(fleet_topic(MessageKind.MODEL, "f"), qos=1)
        return decode((await anext(client.messages)).payload, ModelNotice).version
