"""A device on its own: beside a real broker and a real cloud, through deaths of both and of itself."""

import asyncio
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.kills import kill
from broker_config import mosquitto
from cloud.service.responder import Responder, notice_of
from devices.protocol.agent import Agent, Receipt
from devices.protocol.block_prefix import BlockCache
from devices.protocol.report_policy import MANY_REFUSALS
from devices.recommender.pee_file import read_pee, recommend
from devices.standalone.device import RealDevice
from devices.standalone.pee_holder import PeeHolder
from devices.standalone.saved_state import SavedState, check_files, read_state, write_pee, write_state
from devices.standalone.settings import DeviceSettings
from tests.cloud.services import free_port, read
from tests.devices.lives import STORE
from tests.served import FLEET, Listener, Served, served
from wire.errors import InputError
from wire.messages import PROTOCOL, BudgetReport, Status, decode
from wire.mqtt.connection import Connection
from wire.output_files import write_atomically
from wire.topics import Role
from wire.units import NS_PER_S
from wire.update_part import build_body, encode_part

needs_mosquitto = [
    pytest.mark.broker,
    pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed"),
]
PATIENCE_S = 20.0


def holding(budget: int) -> Agent:
    """Return an agent that holds the PEE for *budget* of a small model."""
    shelves = BlockCache()
    shelves.announce(notice_of(STORE))
    agent = Agent(0, shelves)
    agent.set_budget(budget)
    for part in Responder(STORE).answer(agent.report()):
        agent.receive(part)
    return agent


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_what_is_kept_is_held_again(
    tmp_path_factory: pytest.TempPathFactory, budget: int, later: int
) -> None:
    agent, path = holding(budget), tmp_path_factory.mktemp("kept") / "state"
    notice = notice_of(STORE)
    if agent.prefix is not None:
        agent.prefix.truncate(agent.held)
    write_state(path, SavedState.from_agent(agent, notice))
    kept = read_state(path)
    assert kept is not None
    shelves = BlockCache()
    shelves.announce(kept.notice)
    again = Agent(0, shelves, seq=kept.seq + 1)
    assert kept.restore(again)
    again.set_budget(later)
    agent.set_budget(later)
    assert (again.held, again.resident_bytes, again.layer) == (agent.held, agent.resident_bytes, agent.layer)
    assert again.seq > agent.seq
    receipts = [again.receive(part) for part in Responder(STORE).answer(again.report())]
    assert receipts[-1] in (Receipt.APPLIED, Receipt.CONFIRMED)


def test_what_is_damaged_or_of_another_user_is_not_held(tmp_path: Path) -> None:
    path, notice = tmp_path / "state", notice_of(STORE)
    write_state(path, SavedState.from_agent(holding(2000), notice))
    whole = path.read_bytes()
    for damaged in (b"", whole[:-1], b"\xff" * 100):
        path.write_bytes(damaged)
        assert read_state(path) is None
    path.write_bytes(whole)
    kept = read_state(path)
    assert kept is not None
    shelves = BlockCache()
    shelves.announce(kept.notice)
    assert not kept.restore(Agent(1, shelves))
    assert not kept.restore(Agent(0, shelves, group=1))
    assert kept.restore(Agent(0, shelves))


def a_device(folder: Path, budget: Callable[[], int], pee: str = "pee") -> RealDevice:
    """Return a device that holds the PEE for 2000 bytes from an earlier life; nobody answers it."""
    write_state(folder / "state", SavedState.from_agent(holding(2000), notice_of(STORE)))
    settings = DeviceSettings("f", "d", 0, None, interval_s=0.01, pee=folder / pee, state=folder / "state")
    return RealDevice(settings, Connection("127.0.0.1", 9, "d"), budget, lambda: 1.0)


def test_a_disk_that_takes_nothing_leaves_no_pee_above_the_budget(tmp_path: Path) -> None:
    budget = 2000

    async def story() -> tuple[list[int], bool]:
        nonlocal budget
        device = a_device(tmp_path, lambda: budget, "p" * 250)  # so long that no draft beside it has a name
        pee, held = tmp_path / ("p" * 250), []
        write_pee(tmp_path / "pee", holding(2000), "fleet f")
        (tmp_path / "pee").rename(pee)
        living = asyncio.create_task(device.run())
        for budget in (400, 200):
            async with asyncio.timeout(PATIENCE_S):
                while device.agent.budget_bytes != budget:
                    await asyncio.sleep(0.01)
            held.append(device.agent.resident_bytes)
            assert not pee.exists()
        device.stop()
        await living
        return held, device.counts.write_failures >= 2

    assert asyncio.run(story()) == ([holding(budget).resident_bytes for budget in (400, 200)], True)


def test_a_file_that_can_be_neither_written_nor_removed_does_not_end_a_device(tmp_path: Path) -> None:
    """As on a file system that has become read-only."""
    budget = 2000

    async def story() -> int:
        nonlocal budget
        device = a_device(tmp_path, lambda: budget, "a folder")
        (tmp_path / "a folder").mkdir()
        living = asyncio.create_task(device.run())
        for budget in (400, 200):
            async with asyncio.timeout(PATIENCE_S):
                while device.agent.budget_bytes != budget:
                    assert not living.done()
                    await asyncio.sleep(0.01)
        device.stop()
        await living
        return device.agent.resident_bytes

    assert asyncio.run(story()) == holding(200).resident_bytes


def test_a_device_overwrites_and_removes_only_what_is_its_own(tmp_path: Path) -> None:
    thesis, pee, state = (tmp_path / name for name in ("thesis.txt", "pee", "state"))
    thesis.write_bytes(b"thesis")
    write_pee(pee, holding(2000), "fleet f")
    write_state(state, SavedState.from_agent(holding(2000), notice_of(STORE)))
    check_files(pee, state)  # its own
    check_files(tmp_path / "new", tmp_path / "new too")
    refused = {
        (thesis, state): f"{thesis}: is no PEE file, and is not overwritten: name another file",
        (pee, thesis): f"{thesis}: is no state of a device, and is not overwritten: name another file",
        (state, pee): f"{state}: is no PEE file, and is not overwritten: name another file",
        (pee, pee): f"--pee and --state must be two files: both are {pee}",
        (tmp_path, None): f"{tmp_path}: is a folder, not a file to write",
    }
    for files, words in refused.items():
        with pytest.raises(InputError) as caught:
            check_files(*files)
        assert str(caught.value) == words
    write_pee(thesis, holding(0), "fleet f")  # where nothing can be recommended
    write_pee(pee, holding(0), "fleet f")
    assert (thesis.read_bytes(), pee.exists()) == (b"thesis", False)


def test_a_broker_whose_name_is_none_is_one_line() -> None:
    command = [sys.executable, "-m", "emulator.cli", "agent", "--fleet", "f", "--device", "d", "--user", "3"]
    environment = os.environ | {"PEELFLEET_BROKER": "mqtt://a:b@no..name", "COLUMNS": "200"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        "peelfleet: --broker: 'no..name' is no name of a host",
    )


def test_a_device_that_cannot_read_its_memory_says_so_and_ends(tmp_path: Path) -> None:
    def unreadable() -> int:
        raise InputError("/proc/meminfo: cannot be read")

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(a_device(tmp_path, unreadable).run())
    assert [str(error) for error in caught.value.exceptions] == ["/proc/meminfo: cannot be read"]


def test_the_pee_file_recommends_by_item_numbers(tmp_path: Path) -> None:
    path, agent = tmp_path / "pee.safetensors", holding(10**6)
    write_pee(path, agent, "fleet f")
    found = recommend(read_pee(path), 5)
    assert sorted(int(each.item) for each in found) != []
    agent.set_budget(0)
    write_pee(path, agent, "fleet f")
    assert not path.exists()  # it can recommend nothing any more


def test_it_needs_no_more_packages_than_its_page_says() -> None:
    code = """
import importlib.metadata as metadata, sys
before = set(sys.modules)
import emulator.cli.main, emulator.cli.agent, emulator.cli.recommend
from wire.codecs import planes
owners = metadata.packages_distributions()
print(*{owner for module in set(sys.modules) - before for owner in owners.get(module.partition(".")[0], ())})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    page = (Path(__file__).parents[3] / "docs" / "agent.md").read_text()
    (listed,) = re.findall(r"pip install (aiomqtt .*)", page)
    found = set(done.stdout.split()) - {"peelfleet"}
    assert found <= with_what_they_need(listed.split())
    assert {"aiomqtt", "msgspec", "numpy", "safetensors", "typer"} <= found


def with_what_they_need(names: list[str]) -> set[str]:
    """Return the distributions *names* and those that they need, in the names that they have themselves."""
    needed, rest = set[str](), list(names)
    while rest:
        try:
            found = metadata.distribution(rest.pop())
        except metadata.PackageNotFoundError:
            continue  # for another Python or another system
        if found.name not in needed:
            needed.add(found.name)
            plain = [each for each in found.requires or () if "extra ==" not in each]
            rest += [re.split(r"[^A-Za-z0-9._-]", each)[0] for each in plain]
    return needed


class Machine:
    """A device of the test's own: its memory is a number, its budget all of it."""

    def __init__(self, world: Served, folder: Path, *, once: bool = False) -> None:
        self.budget = 0
        self.world, self.folder, self.once = world, folder, once
        self.start()

    def start(self) -> None:
        settings = DeviceSettings(
            FLEET, "d1", 3, None, interval_s=0.05, retry_s=1.0, once=self.once,
            pee=self.folder / "pee.safetensors", state=self.folder / "state",
        )  # fmt: skip
        draws = itertools.cycle([0.0])
        self.device = RealDevice(settings, self.world.device("d1"), lambda: self.budget, lambda: next(draws))
        self.task = asyncio.create_task(self.device.run())

    async def holds_the_best_for(self, budget: int) -> None:
        """Give it a budget, and wait until it holds the best PEE for that; it never holds more."""
        self.budget = budget
        store = self.world.store
        layers = store.groups[store.user_groups[3]].layers
        best = layers.blocks[layers.best(budget)]
        agent = self.device.agent
        async with asyncio.timeout(PATIENCE_S):
            while not (agent.held == best and agent.budget_bytes == budget and agent.model):
                assert agent.resident_bytes <= agent.budget_bytes
                assert not self.task.done()
                await asyncio.sleep(0.02)
        assert agent.prefix is not None
        assert len(agent.prefix.ids) == agent.held  # what was evicted is gone from its memory

    async def stop(self) -> None:
        self.device.stop()
        async with asyncio.timeout(PATIENCE_S):
            await self.task


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path / "stores", tmp_path, ["d1"]) as found:
        yield found


def seqs(heard: dict[str, list[bytes]]) -> list[int]:
    return [decode(each, BudgetReport).seq for each in heard[f"peel/1/{FLEET}/d1/budget"]]


class TestBesideARealCloud:
    pytestmark = needs_mosquitto

    def test_it_follows_its_budget_through_the_deaths_of_all(self, world: Served, tmp_path: Path) -> None:
        async def story() -> tuple[list[int], list[tuple[bool, str]], list[int]]:
            filters = (f"peel/1/{FLEET}/d1/budget", f"peel/1/{FLEET}/d1/status")
            async with Listener(world.connection(Role.CLOUD), *filters) as cloud:
                machine = Machine(world, tmp_path)
                for budget in (400, 900, 200, 1200):
                    await machine.holds_the_best_for(budget)
                kill("emulator.cli cloud")
                machine.budget = 700
                await asyncio.sleep(1.5)  # its reports are not answered
                world.cloud.check()
                await machine.holds_the_best_for(1000)
                first = seqs(cloud.heard)
                said = [decode(each, Status) for each in cloud.heard[f"peel/1/{FLEET}/d1/status"]]
            kill("mosquitto -c")
            machine.budget = 300
            await asyncio.sleep(0.5)
            assert machine.device.agent.resident_bytes <= 300  # nobody needs to tell it
            world.broker.restart()
            await machine.holds_the_best_for(1100)
            await machine.stop()
            async with Listener(world.connection(Role.CLOUD), *filters) as cloud:
                machine.start()
                await machine.holds_the_best_for(1100)
                received = machine.device.counts.receipts
                async with asyncio.timeout(PATIENCE_S):
                    while not received:  # it holds it from its disk, before it has said a word
                        await asyncio.sleep(0.02)
                await machine.stop()
                assert set(received) <= {"confirmed", "stale"}  # it had all of it
                await asyncio.sleep(0.2)
                return first, [(each.online, each.reason) for each in said], seqs(cloud.heard)

        first, said, later = asyncio.run(story())
        assert first == sorted(set(first))
        assert later == sorted(set(later))
        assert later[0] > first[-1]
        assert said[0] == (True, "start")
        pee = read_pee(tmp_path / "pee.safetensors")
        assert 0 < pee.resident_bytes <= 1100

    def test_a_flood_of_junk_does_not_disturb_it(self, world: Served, tmp_path: Path) -> None:
        rng = np.random.default_rng(1)

        async def story() -> None:
            machine = Machine(world, tmp_path)
            await machine.holds_the_best_for(800)
            import aiomqtt

            async with aiomqtt.Client(**world.connection(Role.CLOUD).client_options()) as cloud:
                for _ in range(300):
                    topic = f"peel/1/{FLEET}/" + ("model" if rng.random() < 0.3 else "d1/pee")
                    await cloud.publish(topic, rng.bytes(int(rng.integers(200))), qos=1)
            await machine.holds_the_best_for(500)
            assert machine.device.counts.connections == 1
            assert machine.device.counts.receipts["rejected"] > 100
            await machine.stop()

        asyncio.run(story())

    def test_the_command_is_a_device_until_it_is_told_to_stop(self, world: Served, tmp_path: Path) -> None:
        (tmp_path / "proc").mkdir()
        meminfo = tmp_path / "proc" / "meminfo"

        def available(kib: int) -> None:  # whole, as /proc is
            write_atomically(meminfo, f"MemTotal: 4000 kB\nMemAvailable: {kib} kB\n".encode())

        available(2000)
        pee, port = tmp_path / "pee.safetensors", free_port()
        words = [
            "agent", "--metrics-port", port, "--fleet", FLEET, "--device", "d1", "--user", "3",
            "--budget-share", "0.05 %", "--pee", pee, "--proc", meminfo.parent, "--interval", "50 ms",
            "--state", tmp_path / "state",
        ]  # fmt: skip
        command = [sys.executable, "-m", "emulator.cli", *map(str, words)]
        environment = os.environ | {"PEELFLEET_BROKER": world.url("d1")}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
            wait_for(lambda: pee.exists() and read_pee(pee).resident_bytes > 500)
            assert read_pee(pee).resident_bytes <= 2000 * 1024 * 0.0005
            available(800)
            wait_for(lambda: read_pee(pee).resident_bytes <= 800 * 1024 * 0.0005)
            assert (
                f"peelfleet_device_held_bytes {read_pee(pee).resident_bytes}.0\n" in read(port, "/metrics")[1]
            )
            assert read(port, "/readyz") == (200, "ready\n")
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, errors.decode()

        async def last_word() -> Status:
            async with Listener(world.connection(Role.CLOUD), f"peel/1/{FLEET}/d1/status") as cloud:
                await asyncio.sleep(0.3)
                return decode(cloud.heard[f"peel/1/{FLEET}/d1/status"][-1], Status)

        goodbye = Status(online=False, reason="stopped", protocol=PROTOCOL, model=read_pee(pee).fields.model)
        assert asyncio.run(last_word()) == goodbye


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_wrong_part_that_fits_is_got_rid_of() -> None:
    """Somebody with the cloud's login sends a part that fits: no later answer fits what is held then."""
    right, cloud, cache = holding(2000).prefix, Responder(STORE), BlockCache()
    assert right is not None
    cache.announce(notice_of(STORE))
    agent, whole = Agent(0, cache), len(right.ids)
    holder = PeeHolder(DeviceSettings("f", "d", 0, None), cache, agent, notice_of(STORE), lambda: 0.0)
    holder.set_budget(2000, 0)
    holder.on_connected(0)
    report = holder.next_report(0)
    assert report is not None
    introduction, *_ = cloud.answer(report[1])
    holder.on_part(introduction, 0)
    for target, blocks in ((0, {}), (1, right.part(whole - 1, whole)._asdict())):
        fields = {"first": 0, "target": target, "part": 1, "parts": 1}
        wrong = build_body(model=agent.model, group=agent.group, tensors=blocks, **fields)
        holder.on_part(encode_part(wrong, agent.seq), 0)
    held, now_ns = [agent.held], 0
    holder.set_budget(1999, now_ns)
    for _ in range(MANY_REFUSALS + 1):
        report = holder.next_report(now_ns)
        assert report is not None
        for part in cloud.answer(report[1]):
            holder.on_part(part, now_ns)
        held.append(agent.held)
        now_ns = min(holder.next_deadline_ns, now_ns + NS_PER_S)
    assert held == [1] * MANY_REFUSALS + [0, whole]
    assert now_ns == 2 * NS_PER_S  # one wait after so many, and nothing is due then
    assert agent.prefix is not None
    assert agent.prefix.part(0, whole) == right.part(0, whole)
