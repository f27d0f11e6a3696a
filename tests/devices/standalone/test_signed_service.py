"""Signed messages on a real broker: a rogue with the cloud's own login moves no device that has a key."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import msgspec
import pytest

from broker_config import mosquitto
from devices.standalone.device import RealDevice
from devices.standalone.settings import DeviceSettings
from emulator.cli.signing_key import signing_key
from tests.served import FLEET, Served, served
from wire.messages import ErrorAnswer, encode
from wire.signatures import sign_json, sign_part
from wire.signing_keys import read_public_keys, read_signing_key
from wire.topics import MessageKind, Role, device_topic, fleet_topic
from wire.update_part import build_body, encode_part

pytestmark = [
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed"),
]
PATIENCE_S = 20.0
MODEL_TOPIC = fleet_topic(MessageKind.MODEL, FLEET)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Served]:
    for name in ("ours", "theirs"):
        signing_key(tmp_path / name)
    options = ("--signing-key", str(tmp_path / "ours"))
    with served(tmp_path / "stores", tmp_path, ["keyed", "open", "once"], options) as found:
        yield found


class Household:
    """Two devices on one budget: one has the cloud's public key, the other has none."""

    def __init__(self, world: Served, keys: Path) -> None:
        self.world, self.budget = world, 800
        self.devices = {
            name: RealDevice(
                DeviceSettings(FLEET, name, 3, None, interval_s=0.05, retry_s=30.0, verify=verify),
                world.device(name), lambda: self.budget, lambda: 0.0,
            )
            for name, verify in (("keyed", read_public_keys(keys)), ("open", None))
        }  # fmt: skip

    async def hold_the_best_for(self, budget: int, *names: str) -> None:
        self.budget = budget
        layers = self.world.store.groups[self.world.store.user_groups[3]].layers
        best = layers.blocks[layers.best(budget)]
        async with asyncio.timeout(PATIENCE_S):
            for agent in (self.devices[name].agent for name in names):
                while agent.held != best:
                    assert agent.resident_bytes <= agent.budget_bytes
                    await asyncio.sleep(0.02)


def test_what_a_rogue_publisher_sends_changes_nothing_where_there_is_a_key(
    world: Served, tmp_path: Path
) -> None:
    theirs = read_signing_key(tmp_path / "theirs")

    async def story() -> None:
        household = Household(world, tmp_path / "ours.pub")
        keyed, unkeyed = household.devices.values()
        notice = await world.announced()
        async with (
            asyncio.TaskGroup() as tasks,
            aiomqtt.Client(**world.connection(Role.CLOUD).client_options()) as rogue,
        ):
            for device in household.devices.values():
                tasks.create_task(device.run())
            await household.hold_the_best_for(800, "keyed", "open")
            before, reports, held = keyed.agent.held, keyed.counts.reports, set[int]()
            for name, device in household.devices.items():
                topic = device_topic(MessageKind.PEE, FLEET, name)
                fields = {"model": device.agent.model, "group": device.agent.group}
                nothing = build_body(first=0, target=0, part=1, parts=1, tensors={}, **fields)  # type: ignore[arg-type]  # model and group
                part = encode_part(nothing, device.agent.seq)
                for each in (part, sign_part(part, topic, theirs)):
                    await rogue.publish(topic, each, qos=1)
                errors = device_topic(MessageKind.ERROR, FLEET, name)
                error = encode(
                    ErrorAnswer(seq=0, reason="no", text="", remedy="restart", retry_after_s=86_400)
                )
                for each in (error, sign_json(error, errors, theirs)):
                    await rogue.publish(errors, each, qos=1)
            async with asyncio.timeout(PATIENCE_S):
                while unkeyed.agent.held:
                    await asyncio.sleep(0.02)
            later = encode(msgspec.structs.replace(notice, version="rogue"))
            for each in (later, sign_json(later, MODEL_TOPIC, theirs)):
                await rogue.publish(MODEL_TOPIC, each, qos=1)
            async with asyncio.timeout(PATIENCE_S):
                while sum(keyed.counts.refused.values()) < 4 or keyed.counts.receipts["rejected"] < 2:
                    held.add(keyed.agent.held)
                    await asyncio.sleep(0.02)
                while unkeyed.notice is None or unkeyed.notice.version != "rogue":
                    await asyncio.sleep(0.02)
            assert held <= {before}
            assert keyed.counts.reports == reports
            assert keyed.notice is not None
            assert (keyed.agent.held, keyed.notice.version) == (before, notice.version)
            assert dict(keyed.counts.refused) == {"signature": 4}
            await household.hold_the_best_for(1200, "keyed")  # it goes on with the cloud
            for device in household.devices.values():
                device.stop()

    asyncio.run(story())


@pytest.mark.parametrize(("key", "status"), [("ours.pub", 0), ("theirs.pub", 1)])
def test_the_command_takes_a_pee_of_the_cloud_whose_key_it_has(
    world: Served, tmp_path: Path, key: str, status: int
) -> None:
    words = [
        "agent", "--fleet", FLEET, "--device", "once", "--user", "3", "--budget", "900", "--once",
        "--give-up-after", "4 s", "--public-key", tmp_path / key,
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "emulator.cli", *map(str, words)],
        env=os.environ | {"PEELFLEET_BROKER": world.url("once")},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert ("1 signature" in done.stderr) is (status == 1), done.stderr  # the notice
