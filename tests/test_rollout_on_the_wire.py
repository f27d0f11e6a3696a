"""A rollout on a real broker: two services, devices, orders from the command line, and kills between them."""

import asyncio
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from broker_config import mosquitto
from broker_config.endpoint import Credentials
from broker_config.launch import launch_broker
from cloud.blocks.store import BlockStore, save_store
from cloud.service.deltas import first_blocks
from devices.standalone.device import RealDevice
from devices.standalone.settings import DeviceSettings
from emulator.processes.cloud_process import BROKER_VARIABLE, url_with_password
from tests.cloud.services import FLEET, PASSWORD, PATIENCE_S, STORE, World
from tests.worlds import a_store
from wire.messages import ModelNotice, decode
from wire.mqtt.connection import Connection
from wire.mqtt.retained import clear_retained, read_retained
from wire.rollout import group_of
from wire.topics import MessageKind, Role, fleet_topic

pytestmark = [
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed"),
]
NEWER = a_store(users=6, seed=2)
GROUPS = 3
NAMES = [f"d{number}" for number in range(12)]
BUDGET = 600
FIRST = {name for name in NAMES if group_of(NEWER.version, name, GROUPS) == 0}


class RolloutWorld(World):
    """A broker with devices, and two services that watch a folder of stores."""

    def start_clouds(self) -> None:
        """Start both services."""
        for name in ("one", "two"):
            kept = ["--state", str(self.folder / f"rollout-{name}")]
            self.cloud("--replica", name, "--watch", str(self.folder / "stores"), *kept)

    def kill_clouds(self) -> None:
        """Kill both, as machines that fail do."""
        for cloud in self.clouds:
            cloud.process.kill()
            cloud.process.wait()
        self.clouds.clear()

    def device(self, name: str) -> RealDevice:
        """Return a device."""
        endpoint = self.broker.endpoint
        settings = DeviceSettings(
            FLEET, name, int(name[1:]) % 6, None, interval_s=0.2, state=self.folder / name
        )
        connection = Connection(endpoint.host, endpoint.port, name, name, PASSWORD)
        return RealDevice(settings, connection, lambda: BUDGET, random.Random(1).random)

    def order(self, *words: str) -> tuple[int, str]:
        """Run ``peelfleet rollout``; return its exit status and what it says."""
        command = [sys.executable, "-m", "emulator.cli", "rollout", *words, "--fleet", FLEET]
        url = url_with_password(self.broker.endpoint, Role.CLOUD)
        done = subprocess.run(
            command, env=os.environ | {BROKER_VARIABLE: url}, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def status(self) -> dict[str, Any]:
        """Return what ``rollout status --json`` says."""
        code, said = self.order("status", "--json")
        assert code == 0, said
        found: dict[str, Any] = json.loads(said)
        return found


@pytest.fixture
def world(tmp_path: Path) -> Iterator[RolloutWorld]:
    save_store(STORE, tmp_path / "store")
    (tmp_path / "stores").mkdir()
    login = {Role.CLOUD: Credentials("_cloud", PASSWORD)}
    with launch_broker("mosquitto", credentials=login, devices=dict.fromkeys(NAMES, PASSWORD)) as broker:
        world = RolloutWorld(broker, tmp_path)
        try:
            yield world
        finally:
            world.kill_clouds()


@asynccontextmanager
async def running(devices: list[RealDevice]) -> AsyncIterator[None]:
    """Run devices while the block runs."""
    tasks = [asyncio.create_task(device.run()) for device in devices]
    yield
    for device in devices:
        device.stop()
    await asyncio.gather(*tasks)


async def until(condition: Callable[[], bool], what: str) -> None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError(f"still not: {what}") from None


def holds(device: RealDevice, store: BlockStore) -> bool:
    """Tell whether a device holds exactly the PEE of a model for its budget."""
    agent = device.agent
    group = store.groups[agent.group]
    right = group.layers.blocks[group.layers.best(BUDGET)]
    if agent.model != store.version or agent.held != right or agent.prefix is None:
        return False
    return agent.prefix.part(0, agent.held) == first_blocks(store, agent.group, right).blocks


def holding(devices: list[RealDevice], store: BlockStore) -> set[str]:
    """Return the names of those that do."""
    return {name for name, device in zip(NAMES, devices, strict=True) if holds(device, store)}


def every_log(world: World, words: str) -> bool:
    """Tell whether each service has said something."""
    return all(cloud.said(words) for cloud in world.clouds)


async def announced(world: RolloutWorld) -> str:
    """Return the version that the broker keeps for devices that know nothing of rollouts."""
    connection = world.connection(Role.CLOUD, "reader")
    found = await read_retained(connection, FLEET, [MessageKind.MODEL])
    return decode(found[fleet_topic(MessageKind.MODEL, FLEET)], ModelNotice).version


def test_a_rollout_is_started_paused_resumed_and_rolled_back_while_services_are_killed(
    world: RolloutWorld,
) -> None:
    async def order(*words: str) -> str:
        code, said = await asyncio.to_thread(world.order, *words)
        assert code == 0, said
        return said

    async def ready() -> None:
        await asyncio.to_thread(lambda: [cloud.ready() for cloud in world.clouds])

    async def until_holding(names: set[str], store: BlockStore, what: str) -> None:
        await until(lambda: holding(devices, store) == names, what)

    devices = [world.device(name) for name in NAMES]
    late, everybody = NAMES.index(min(FIRST)), set(NAMES)

    async def begin() -> None:
        """Start the rollout while a device of the first group is away, so that it stays there."""
        await until_holding(everybody, STORE, "all hold the first model")
        devices[late].stop()
        code, said = await asyncio.to_thread(world.order, "start", NEWER.version)
        assert (code, "must be served by each service" in said) == (2, True)
        save_store(NEWER, world.folder / "stores" / "newer")  # no service is started again
        serve_both = partial(every_log, world, f"serving model {STORE.version}, {NEWER.version}")
        await until(serve_both, "both services serve it")
        rules = ("--groups", str(GROUPS), "--success-threshold", "100 %")
        assert "running" in await order("start", NEWER.version, *rules)
        await until_holding(FIRST - {NAMES[late]}, NEWER, "the first group holds the newer one")

    async def pause_and_forget() -> None:
        """Pause, kill the services, and let the broker forget; they have files of it."""
        assert "paused, 1 of 3" in await order("pause")
        world.kill_clouds()
        forgotten = [fleet_topic(kind, FLEET) for kind in (MessageKind.ROLLOUT, MessageKind.ORDER)]
        await clear_retained(world.connection(Role.CLOUD, "eraser"), FLEET, forgotten)
        world.start_clouds()
        await ready()

    async def story() -> None:
        world.start_clouds()
        async with running(devices):
            await begin()
            await pause_and_forget()
            devices[late] = world.device(NAMES[late])  # it was away all the while
            async with running([devices[late]]):
                await until_holding(FIRST, NEWER, "the first group is whole")
                await asyncio.sleep(3)  # nothing more happens
                assert (holding(devices, NEWER), holding(devices, STORE)) == (FIRST, everybody - FIRST)
                shown = await asyncio.to_thread(world.status)
                assert shown["rollout"]["state"] == "paused"
                assert [group["updated"] for group in shown["groups"]] == [len(FIRST), 0, 0]
                assert await announced(world) == STORE.version
                await order("resume")
                await until_holding(everybody, NEWER, "all hold the newer model")
                complete = partial(every_log, world, f"rollout of model {NEWER.version}: complete")
                await until(complete, "complete")
                assert await announced(world) == NEWER.version
                world.kill_clouds()
                world.start_clouds()  # their first store is the older one
                await ready()
                assert await announced(world) == NEWER.version
                assert "rolled back" in await order("rollback")
                await until_holding(everybody, STORE, "all hold the first model again")
                assert await announced(world) == STORE.version
                code, said = await asyncio.to_thread(world.order, "resume")
                assert (code, "must be paused" in said) == (2, True)
        refused = [device.counts.refused + device.counts.errors for device in devices]
        assert [dict(each) for each in refused] == [{}] * 12
        assert [device.counts.receipts["rejected"] for device in devices] == [0] * 12

    asyncio.run(story())
