"""Sends a million malformed messages: the service must count them, serve good devices, and stay small.

Every kind of junk that a hostile or broken device could send goes to the real service over a real mosquitto,
on every topic, under many device names. Meanwhile one good device reports, applies its updates with the
protocol logic of the fleet, and is timed. At the end every message must be counted.

    python -m benchmarks.malformed [--count 1000000]
"""

import argparse
import asyncio
import itertools
import statistics
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiomqtt
import msgspec
import numpy as np
import psutil
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.engine import prepare
from benchmarks.figures import verdict, write
from benchmarks.service import SCENARIO
from broker_config.endpoint import Endpoint
from broker_config.launch import launch_broker
from cloud.blocks.store import BlockStore, save_store
from cloud.service.outcomes import MessageOutcome
from cloud.service.responder import notice_of
from devices.protocol.agent import Agent, Receipt
from devices.protocol.block_prefix import BlockCache
from emulator.processes.cloud_process import cloud_process
from scenarios.language.schema import Updates
from wire.messages import BudgetReport, encode
from wire.mqtt.client import Message
from wire.mqtt.connection import PUBLISHES_AT_ONCE
from wire.mqtt.direct_queue import direct_queue
from wire.topics import TABLE, LayerName, MessageKind, Role, device_topic, fleet_topic, layer_topic

FLEET = "malformed"
GOOD = "good-device"
DEVICES = 5000
"""Names under which junk is sent."""
AHEAD = 20_000
"""So many messages may be with the broker at a time: beyond its own limit it drops the newest."""
MOST_GROWTH_BYTES = 16 * 2**20
POOL = 20_000
NAMES = {
    "peelfleet_cloud_messages_received_total": "received",
    "peelfleet_cloud_queue_length": "waiting",
    "peelfleet_cloud_in_flight": "in_flight",
}
WARM_SHARE = 0.1
"""After so much of the junk the memory must be what it stays."""

WANTS: tuple[str | msgspec.UnsetType, ...] = (msgspec.UNSET, "no-such-version")

json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
report_like = st.fixed_dictionaries(
    {},
    optional={
        name: json_like | st.integers(-(2**64), 2**64)
        for name in ("seq", "budget_bytes", "user", "group", "model", "held", "wants", "shared", "more")
    },
)


def junk(store: BlockStore, seed: int) -> list[bytes]:
    """Return a pool of messages: from Hypothesis, mutations of good reports, and known bad ones."""
    found: list[bytes] = []

    @settings(
        max_examples=2000, database=None, derandomize=True, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.binary(max_size=200) | (json_like | report_like).map(_lenient))
    def collect(payload: bytes) -> None:
        found.append(payload)

    collect()
    found += [
        b"[" * 4000, b'{"seq":' * 500, b"\xff\xfe" * 100, b"9" * 4000, b"{}" * 3000, bytes(100_000), b"",
        b'{"seq":1e400,"budget_bytes":1}', b'{"seq":1,"budget_bytes":-1}', b'"' + b"a" * 4000,
        encode(BudgetReport(seq=1, budget_bytes=10**6, user=10**9)),
        encode(BudgetReport(seq=1, budget_bytes=10**6, group=10**6)),
        encode(BudgetReport(seq=1, budget_bytes=10**6, user=0, model=store.version, held=2**40)),
        encode(BudgetReport(seq=1, budget_bytes=10**6)),
    ]  # fmt: skip
    rng = np.random.default_rng(seed)
    good = [
        encode(BudgetReport(seq=seq, budget_bytes=seq * 500, user=seq % store.users, wants=wants))
        for seq, wants in itertools.product(range(1, 50), WANTS)
    ]
    while len(found) < POOL:
        found.append(mutate(good[int(rng.integers(len(good)))], rng))
    return found


def _lenient(value: object) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (ValueError, OverflowError, UnicodeEncodeError):
        return repr(value).encode("utf-8", "surrogatepass")


def mutate(payload: bytes, rng: np.random.Generator) -> bytes:
    """Return *payload* with a few bytes flipped, removed, doubled or replaced."""
    changed = bytearray(payload)
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(len(changed)))
        match int(rng.integers(4)):
            case 0:
                changed[at] ^= 1 << int(rng.integers(8))
            case 1 if len(changed) > 1:
                del changed[at]
            case 2:
                changed[at:at] = changed[at : at + 8]
            case _:
                changed[at] = int(rng.integers(256))
    return bytes(changed)


@dataclass
class GoodDevice:
    """A well-behaved device, and its timings."""

    agent: Agent
    seconds: list[float] = field(default_factory=list)
    receipts: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0

    async def live(self, endpoint: Endpoint, ended: asyncio.Event) -> None:
        """Change the budget, report and wait for the PEE, repeatedly."""
        connection = endpoint.connection(Role.EMULATOR, GOOD)
        held, topic = asyncio.Event(), device_topic(MessageKind.BUDGET, FLEET, GOOD)

        def take(message: Message) -> None:
            receipt = self.agent.receive(message.payload)
            self.receipts[receipt.value] += 1
            if receipt in (Receipt.APPLIED, Receipt.CONFIRMED):
                held.set()

        options = connection.client_options()
        async with aiomqtt.Client(**options, queue_type=direct_queue(take)) as client:
            await client.subscribe(device_topic(MessageKind.PEE, FLEET, GOOD), qos=1)
            for budget in itertools.cycle((4000, 20_000)):
                if ended.is_set():
                    return
                self.agent.set_budget(budget)
                held.clear()
                since_s = time.monotonic()
                await client.publish(topic, self.agent.report(), qos=1)
                try:
                    async with asyncio.timeout(10):
                        await held.wait()
                except TimeoutError:
                    self.unanswered += 1
                    continue
                self.seconds.append(time.monotonic() - since_s)
                await asyncio.sleep(0.05)


@dataclass
class Service:
    """The service, measured from outside."""

    port: int
    pid: int
    sizes: list[int] = field(default_factory=list)

    async def counts(self) -> dict[str, int]:
        """Return the number of messages received, by outcome, summed over reasons."""
        text = await asyncio.to_thread(_read, f"http://127.0.0.1:{self.port}/metrics")
        found: Counter[str] = Counter()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == "peelfleet_cloud_updates_total":
                    found[sample.labels["result"]] += int(sample.value)
                elif sample.name in NAMES:
                    found[NAMES[sample.name]] = int(sample.value)
        self.sizes.append(psutil.Process(self.pid).memory_info().rss)
        return dict(found)


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return str(answer.read().decode())


def messages(pool: Sequence[bytes], count: int, seed: int) -> Iterator[tuple[str, bytes, bool]]:
    """Yield (topic, payload, True if the service subscribes to it): nine in ten are on budget topics."""
    rng = np.random.default_rng(seed)
    others = [device_topic(kind, FLEET, GOOD) for kind in TABLE if TABLE[kind].per_device]
    others += [fleet_topic(MessageKind.MODEL, FLEET), layer_topic(FLEET, LayerName("m", 0, 1))]
    others.remove(device_topic(MessageKind.BUDGET, FLEET, GOOD))
    budgets = [device_topic(MessageKind.BUDGET, FLEET, f"mad-{number}") for number in range(DEVICES)]
    for chosen, at in zip(
        rng.integers(len(pool), size=count), rng.integers(DEVICES, size=count), strict=True
    ):
        heard = bool(at % 10 != 0)
        yield (budgets[at] if heard else others[at // 10 % len(others)]), pool[chosen], heard


async def flood(endpoint: Endpoint, service: Service, pool: Sequence[bytes], count: int) -> int:
    """Publish *count* messages; return the number that the service should receive."""
    connection = endpoint.connection(Role.EMULATOR, "flood")
    sent = heard = 0
    async with aiomqtt.Client(**connection.client_options()) as client:
        client.pending_calls_threshold = 4 * PUBLISHES_AT_ONCE
        stream = messages(pool, count, seed=1)
        while batch := list(itertools.islice(stream, PUBLISHES_AT_ONCE)):
            await asyncio.gather(*(client.publish(topic, payload, qos=1) for topic, payload, _ in batch))
            sent += len(batch)
            heard += int(sum(hears for *_, hears in batch))
            if sent % (AHEAD // 2) < PUBLISHES_AT_ONCE:
                while heard - (await service.counts())["received"] > AHEAD:
                    await asyncio.sleep(0.05)
    return heard


async def flood_beside_good_device(
    endpoint: Endpoint, service: Service, store: BlockStore, count: int
) -> dict[str, object]:
    """Flood the service while a good device reports; return the figures."""
    shelves = BlockCache()
    shelves.announce(notice_of(store))
    good, ended = GoodDevice(Agent(0, shelves)), asyncio.Event()
    living = asyncio.create_task(good.live(endpoint, ended))
    await asyncio.sleep(3)
    calm = list(good.seconds)
    pool, since_s = junk(store, seed=1), time.monotonic()
    heard = await flood(endpoint, service, pool, count)
    took_s = time.monotonic() - since_s
    ended.set()
    await living
    await asyncio.sleep(2)
    counts = await service.counts()
    ours = good.agent.seq
    accounted = sum(counts[name] for name in (*MessageOutcome, "waiting", "in_flight"))
    warm = service.sizes[int(len(service.sizes) * WARM_SHARE) :]
    return {
        "messages": count,
        "per_second": round(count / took_s, 1),
        "to_the_service": heard + ours,
        **counts,
        "unaccounted": heard + ours - accounted,
        "good_round_trips": len(good.seconds),
        "good_unanswered": good.unanswered,
        "good_receipts": dict(good.receipts),
        "good_p50_seconds_before": statistics.median(calm),
        "good_p50_seconds": statistics.median(good.seconds),
        "good_p99_seconds": float(np.percentile(good.seconds, 99)),
        "memory_bytes_warm": warm[0],
        "memory_bytes_end": warm[-1],
        "memory_bytes_max": max(warm),
    }


def measure(count: int) -> list[str]:
    """Measure, print, write ``malformed.json``; return the limits that are exceeded."""
    with tempfile.TemporaryDirectory() as folder, launch_broker("mosquitto") as broker:
        job = prepare(SCENARIO, Path(folder))
        store = Path(folder) / "store"
        save_store(job.store, store)
        options = ["--metrics-port", "19464", "--max-rate", "20"]
        with cloud_process([store], broker.endpoint, FLEET, Updates(), options=options) as cloud:
            _wait_until_ready(19464)
            service = Service(19464, cloud.replicas[0].pid)
            figures = asyncio.run(flood_beside_good_device(broker.endpoint, service, job.store, count))
            restarted = cloud.restarts or cloud.replicas[0].pid != service.pid
    write("malformed", figures)
    grown = int(str(figures["memory_bytes_end"])) - int(str(figures["memory_bytes_warm"]))
    promises = {
        "every message is accounted for": figures["unaccounted"] == 0,
        "the service never dies": not restarted,
        "the good device is always answered": figures["good_unanswered"] == 0,
        f"memory grows by less than {MOST_GROWTH_BYTES} B after warm-up": grown < MOST_GROWTH_BYTES,
    }
    return [f"malformed: {promise}" for promise, held in promises.items() if not held]


def _wait_until_ready(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if _read(f"http://127.0.0.1:{port}/readyz") == "ready\n":
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError("the service does not get ready")


def main() -> int:
    """Run the benchmark; return the exit status."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--count", type=int, default=1_000_000, help="of messages")
    return verdict(measure(arguments.parse_args().count))


if __name__ == "__main__":
    sys.exit(main())
