"""Rolls a model out, back and out again under load, while the broker and the services are killed.

Real devices (`devices.standalone`) whose budgets change every second are served by two replicas over a
mosquitto that saves once a second. Orders come from the command line, as an operator gives them; one that
nobody has taken up is given again. Every few seconds the broker or a replica is killed with SIGKILL; the last
half minute has no kills. Then every device must hold exactly the PEE of the version that it is to have, for
its last budget.

    python -m benchmarks.rollout_kills [--minutes 3] [--devices 100] [--seed 1]
"""

import argparse
import asyncio
import logging
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import psutil

from benchmarks.figures import verdict, write
from broker_config.launch import RunningBroker, launch_broker
from cloud.blocks.store import BlockStore, build_store, load_store, save_store
from cloud.service.deltas import first_blocks
from devices.standalone.device import RealDevice
from devices.standalone.settings import DeviceSettings
from emulator.processes.cloud_process import (
    BROKER_VARIABLE,
    CloudProcess,
    cloud_process,
    url_with_password,
)
from emulator.simulation.model_cache import SHIPPED
from scenarios.language.schema import Updates
from wire.mqtt.connection import Connection
from wire.topics import Role

FLEET: Final = "kills"
PASSWORD: Final = "not a secret"
CALM_S: Final = 30.0
KILL_EVERY_S: Final = 5.0
LOOK_EVERY_S: Final = 0.2
RULES: Final = ("--groups", "4", "--success-threshold", "100 %", "--timeout", "10 min")
VICTIMS: Final = ("broker", "cloud 1", "cloud 2")


def two_versions(shipped: Path) -> tuple[BlockStore, BlockStore]:
    """Return the model that comes with peelfleet, and one with the tables of its user groups exchanged."""
    older = load_store(shipped)
    newer = build_store(
        older.geometry,
        groups=list(reversed(older.groups)),
        user_vectors=older.user_vectors,
        user_groups=older.user_groups,
        report={},
    )
    return older, newer


@dataclass
class LoadedDevice:
    """A real device whose budget changes all the time."""

    device: RealDevice
    budget: list[int]
    """The budget now; a list, since the device reads it when it likes."""
    has_held: bool = False
    empty_s: float = 0.0
    """Seconds without a recommendation, after the first."""
    over_budget: int = 0


@dataclass
class Siege:
    """A broker and two services that are killed, and what is counted."""

    broker: RunningBroker
    clouds: CloudProcess
    rng: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    orders_repeated: int = 0

    async def kill_on(self, until_s: float) -> None:
        """Kill one victim after the other, in turn and then at random, until a time."""
        place = 0
        while time.monotonic() < until_s:
            await asyncio.sleep(KILL_EVERY_S)
            name = VICTIMS[place] if place < len(VICTIMS) else self.rng.choice(VICTIMS)
            place += 1
            if name == "broker":
                for process in psutil.Process().children(recursive=True):
                    if process.name() == "mosquitto":
                        process.kill()
                while self.broker.exit_report() is None:  # its guard has to see that first
                    await asyncio.sleep(0.05)
                await asyncio.to_thread(self.broker.restart)
            else:
                self.clouds.replicas[int(name[-1]) - 1].kill()
            self.killed[name] += 1

    async def watch(self) -> None:
        """Start again each service that has died, a second later."""
        while True:
            await asyncio.sleep(1.0)
            for replica in self.clouds.replicas:
                replica._crashes = 0  # they are killed on purpose
            self.clouds.check()

    async def order(self, *words: str) -> str:
        """Give an order as an operator does, again and again until a service has taken it up."""
        url = url_with_password(self.broker.endpoint, Role.CLOUD)
        command = [sys.executable, "-m", "emulator.cli", "rollout", *words, "--fleet", FLEET]
        while True:
            process = await asyncio.create_subprocess_exec(
                *command,
                env=os.environ | {BROKER_VARIABLE: url},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            said, errors = await process.communicate()
            if process.returncode == 0:
                return said.decode()
            if b"is running" in errors or b"is paused" in errors or b"is complete" in errors:
                return errors.decode()  # the order before was taken up, and only the word about it was lost
            self.orders_repeated += 1
            await asyncio.sleep(1.0)


async def live(devices: Sequence[LoadedDevice], rng: random.Random, until_s: float) -> None:
    """Change budgets until a time, and look at what is held until cancelled."""
    last_s = time.monotonic()
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        now_s = time.monotonic()
        for each in devices:
            agent = each.device.agent
            each.over_budget += agent.resident_bytes > agent.budget_bytes
            each.has_held |= agent.layer > 0
            each.empty_s += (now_s - last_s) * (each.has_held and agent.layer == 0)
            if now_s < until_s and rng.random() < LOOK_EVERY_S:
                each.budget[0] = rng.randrange(2000, 40_000)
        last_s = now_s


def faults_of(each: LoadedDevice, expected: BlockStore) -> list[str]:
    """Return the faults of a device that is to hold the PEE of a version for its last budget."""
    agent, counts = each.device.agent, each.device.counts
    found: list[str] = []
    group = expected.groups[agent.group]
    reported = group.layers.blocks[group.layers.best(agent.reported_bytes)]
    if agent.model != expected.version:
        found.append(f"holds model {agent.model or 'none'}, is to have {expected.version}")
    elif agent.prefix is None or agent.held != reported:
        found.append(f"holds {agent.held} blocks of {reported}")
    elif agent.prefix.part(0, agent.held) != first_blocks(expected, agent.group, agent.held).blocks:
        found.append("holds other blocks than the model has")
    if each.over_budget:
        found.append("was above its budget")
    if counts.receipts["rejected"] or counts.refused or counts.errors:
        found.append(f"refused {dict(counts.receipts)} {dict(counts.refused)} {dict(counts.errors)}")
    return found


async def story(siege: Siege, devices: Sequence[LoadedDevice], newer: BlockStore, minutes: float) -> int:
    """Roll out, back and out again until the time is over; return how many orders were given."""
    began_s, orders = time.monotonic(), 0
    end_s = began_s + 60 * minutes
    calm_s = end_s - CALM_S
    async with asyncio.TaskGroup() as group:
        for each in devices:
            group.create_task(each.device.run())
        works = (siege.watch(), siege.kill_on(calm_s), live(devices, siege.rng, end_s - CALM_S / 2))
        others = [group.create_task(work) for work in works]
        await asyncio.sleep(5)
        steps = (("start", newer.version, *RULES, "--pause", "4 s"), ("pause",), ("resume",), ("rollback",))
        while time.monotonic() < calm_s - 20:
            for step in steps:
                await siege.order(*step)
                orders += 1
                await asyncio.sleep(siege.rng.uniform(4, 12))
        await siege.order("start", newer.version, *RULES)
        await asyncio.sleep(max(end_s - time.monotonic(), CALM_S))
        for each in devices:
            each.device.stop()
        for other in others:
            other.cancel()
    return orders + 1


def measure(minutes: float, count: int, seed: int) -> list[str]:
    """Run, write ``rollout_kills.json``; return the limits that are exceeded."""
    rng = random.Random(seed)
    older, newer = two_versions(SHIPPED / "quickstart")
    names = [f"device-{number:04d}" for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        stores = Path(folder)
        save_store(older, stores / "older")
        save_store(newer, stores / "newer")
        options = ("--watch", folder)
        with (
            launch_broker("mosquitto", devices=dict.fromkeys(names, PASSWORD)) as broker,
            cloud_process(
                [stores / "older"], broker.endpoint, FLEET, Updates(), replicas=2, options=options
            ) as clouds,
        ):
            devices = []
            for number, name in enumerate(names):
                budget = [rng.randrange(2000, 40_000)]
                settings = DeviceSettings(
                    FLEET, name, number % older.users, None, interval_s=0.5, retry_s=5.0
                )
                login = Connection(broker.endpoint.host, broker.endpoint.port, name, name, PASSWORD)
                devices.append(
                    LoadedDevice(
                        RealDevice(settings, login, partial(budget.__getitem__, 0), rng.random), budget
                    )
                )
            siege = Siege(broker, clouds, rng)
            orders = asyncio.run(story(siege, devices, newer, minutes))
    faults = {
        name: found for name, each in zip(names, devices, strict=True) if (found := faults_of(each, newer))
    }
    counts = [each.device.counts for each in devices]
    write(
        "rollout_kills",
        {
            "devices": count,
            "minutes": minutes,
            "killed": dict(siege.killed),
            "orders": orders,
            "orders_repeated": siege.orders_repeated,
            "reports": sum(each.reports for each in counts),
            "unanswered": sum(each.unanswered for each in counts),
            "parts": sum(each.parts for each in counts),
            "parts_refused": sum(each.receipts["rejected"] for each in counts),
            "errors_of_the_cloud": sum(sum(each.errors.values()) for each in counts),
            "connections_broken": sum(each.broken for each in counts),
            "seconds_without_recommendation": sum(each.empty_s for each in devices),
            "devices_wrong": len(faults),
        },
    )
    unharmed = [name for name in VICTIMS if not siege.killed[name]]
    return [
        *(f"rollout_kills: {name} was never killed" for name in unharmed),
        *(f"rollout_kills: {name} {each}" for name, found in faults.items() for each in found),
    ]


def main() -> int:
    """Run the benchmark; return the exit status."""
    logging.disable()  # each device tells of each broken connection
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--minutes", type=float, default=3.0, help="of the wall clock")
    arguments.add_argument("--devices", type=int, default=100)
    arguments.add_argument("--seed", type=int, default=1, help="of budgets and deaths")
    given = arguments.parse_args()
    return verdict(measure(given.minutes, given.devices, given.seed))


if __name__ == "__main__":
    sys.exit(main())
