"""Without the extra `train` everything works but training, and its lack is one line."""

import asyncio
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import aiomqtt
import pytest
from packaging.requirements import Requirement

from broker_config import mosquitto
from broker_config.endpoint import Credentials
from broker_config.launch import launch_broker
from cloud.blocks.store import load_store
from cloud.data.load import load as load_data
from emulator.processes.cloud_process import BROKER_VARIABLE, url_with_password
from emulator.simulation.model_cache import SHIPPED, find_shipped, store_origin
from emulator.simulation.shipped_stores import CODE, NAMES, code_sha256
from scenarios.language.load import load, located
from wire.messages import ModelNotice, decode
from wire.mqtt.connection import Connection
from wire.topics import MessageKind, Role, fleet_topic

HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "sklearn", "threadpoolctl"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""


def peelfleet(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the command line where nothing is installed that trains, with empty caches in *folder*."""
    (folder / "sitecustomize.py").write_text(HIDE)
    env = os.environ | {"PYTHONPATH": str(folder), "PEELFLEET_STORE": str(folder / "stores")}
    return subprocess.run(
        [sys.executable, "-m", "emulator.cli", *args],
        cwd=Path(__file__).parents[1], env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_quickstart_runs_on_the_store_that_comes_with_peelfleet(tmp_path: Path) -> None:
    overrides = ("--set", "clock=virtual", "--set", "stop_time=10 min", "--set", "thresholds={}")
    done = peelfleet(tmp_path, "run", "quickstart", *overrides, "--out", str(tmp_path / "runs"))
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    version = load_store(SHIPPED / "quickstart").version
    assert f"{version}, comes with peelfleet" in done.stdout + done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert version in (run / "summary.json").read_text()
    assert sorted(path.name for path in SHIPPED.iterdir() if path.is_dir()) == sorted(NAMES)


@pytest.mark.parametrize("verb", ["run", "train", "pee"])
def test_a_model_that_must_be_trained_is_one_line(verb: str, tmp_path: Path) -> None:
    more = ("--user", "user-0", "--budget", "8KiB") if verb == "pee" else ()
    args = (verb, "quickstart", "--set", "data.users=100", "--set", "clock=virtual", *more)
    done = peelfleet(tmp_path, *args)
    assert done.returncode == 2
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("peelfleet:"))
    assert line == (
        "peelfleet: training a model needs torch, which is not installed: pip install 'peelfleet[train]'"
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_store_is_that_of_its_scenario(name: str) -> None:
    scenario = load(located(Path(name)))
    interactions = load_data(scenario.data)
    assert find_shipped(store_origin(interactions, scenario.model)) == SHIPPED / name
    assert len(load_store(SHIPPED / name).user_groups) == interactions.n_users


def test_the_shipped_stores_are_as_new_as_the_code_that_trains() -> None:
    assert (SHIPPED / CODE).read_text().strip() == code_sha256(), "run `make shipped-store`"


@pytest.mark.broker
@pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed")
def test_the_cloud_serves_a_store_where_torch_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    login = {Role.CLOUD: Credentials("_cloud", "secret"), Role.FLEET: Credentials("_fleet", "secret")}
    words = ["cloud", "--fleet", "f", "--store", str(SHIPPED / "quickstart")]
    with launch_broker("mosquitto", credentials=login) as broker:
        environment = os.environ | {
            "PYTHONPATH": str(tmp_path),
            BROKER_VARIABLE: url_with_password(broker.endpoint, Role.CLOUD),
        }
        command = [sys.executable, "-m", "emulator.cli", *words]
        with subprocess.Popen(command, cwd=Path(__file__).parents[1], env=environment) as cloud:
            try:
                version = asyncio.run(announced_version(broker.endpoint.connection(Role.FLEET, "test")))
            finally:
                cloud.terminate()
    assert version == load_store(SHIPPED / "quickstart").version
    assert cloud.returncode == 0


async def announced_version(connection: Connection) -> str:
    """Wait until a cloud has announced its model to fleet ``f``."""
    async with aiomqtt.Client(**connection.client_options()) as client, asyncio.timeout(60):
        await client.subscribe(fleet_topic(MessageKind.MODEL, "f"), qos=1)
        return decode((await anext(client.messages)).payload, ModelNotice).version


def test_what_is_installed_without_an_extra_does_not_bring_torch() -> None:
    needed, rest = set[str](), ["peelfleet"]
    while rest:
        name = rest.pop()
        if name in needed:
            continue
        needed.add(name)
        try:
            requirements = [Requirement(text) for text in metadata.distribution(name).requires or ()]
        except metadata.PackageNotFoundError:
            continue  # for another Python or another system
        rest += [each.name for each in requirements if each.marker is None or each.marker.evaluate()]
    assert {"numpy", "aiomqtt", "prometheus-client"} <= needed
    assert not needed & {"torch", "scikit-learn", "numba", "ray", "matplotlib", "starlette"}
