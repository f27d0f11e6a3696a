"""The speed of the cloud service, compared with a bare echo: same broker, same load, same payload sizes.

The load is K devices, each with one report in flight, which reports again as soon as it has its answer. The
*bare echo* (`benchmarks.echo`) is an aiomqtt client that answers each report with zero bytes of the same
size. Rounds of both, and of a service that signs, alternate; the figures are medians. Broker, load generator
and responder share the cores of the machine; the figures have the CPU time of each.
"""

import asyncio
import contextlib
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiomqtt
import msgspec
import psutil

from benchmarks.engine import prepare
from benchmarks.figures import write
from broker_config.endpoint import Endpoint
from broker_config.file_modes import write_secret
from broker_config.launch import launch_broker
from cloud.blocks.store import BlockStore, save_store
from cloud.service.responder import Responder
from emulator.processes.cloud_process import cloud_process
from scenarios.language.schema import Updates
from wire.messages import BudgetReport, CloudStatus, decode, encode
from wire.mqtt.client import Message
from wire.mqtt.connection import PUBLISHES_AT_ONCE
from wire.mqtt.direct_queue import direct_queue
from wire.signing_keys import new_key_pair
from wire.topics import MessageKind, Role, device_topic, parse, subscription

FLEET = "echo"
ROUNDS = 5
ROUND_S = 4.0
IN_FLIGHT = (32, 200)
ANSWER_BYTES = 4096
PROMISED_RATIO, PROMISED_SIGNED_RATIO = 0.8, 0.6

SCENARIO = """
version: 1
name: service
clock: virtual
stop_time: 1 min
data: {type: synthetic}
fleet: [{name: device, count: 1}]
"""


@dataclass(frozen=True)
class Report:
    """The report that every device of the load sends repeatedly."""

    model: str
    held: int
    budget_bytes: int
    answer_bytes: int

    def payload(self, seq: int) -> bytes:
        """Return report *seq*."""
        return encode(
            BudgetReport(seq=seq, budget_bytes=self.budget_bytes, user=0, model=self.model, held=self.held)
        )


def choose(store: BlockStore) -> Report:
    """Return a report whose answer has about `ANSWER_BYTES`."""
    responder, layers = Responder(store), store.groups[store.user_groups[0]].layers

    def size(report: Report) -> int:
        return sum(map(len, responder.answer(report.payload(1_000_000))))

    full = layers.bytes[-1]
    found = [
        Report(store.version, held, full, 0)
        for held in sorted(set(layers.blocks))
        if held < layers.blocks[-1]
    ]
    best = min(found, key=lambda report: abs(size(report) - ANSWER_BYTES))
    return Report(best.model, best.held, best.budget_bytes, size(best))


@dataclass
class Round:
    """The result of a round."""

    per_s: float
    cpu_share: dict[str, float]
    """CPU time over wall-clock time, by process."""
    responder_us: float
    """CPU time of the responder for an answer, in microseconds: it depends less on what else runs."""


async def load(
    endpoint: Endpoint, count: int, payload: Callable[[int], bytes], seconds: float
) -> tuple[float, int]:
    """Keep *count* reports in flight; return the answers per second, after a second to warm up, and all."""
    tasks: set[asyncio.Task[None]] = set()
    answers, seqs = 0, itertools.count(1)
    connection = endpoint.connection(Role.FLEET, f"load-{time.monotonic_ns()}")

    def answered(message: Message) -> None:
        nonlocal answers
        answers += 1
        send(parse(message.topic.value).device or "")

    async def publish(topic: str) -> None:
        with contextlib.suppress(aiomqtt.MqttError):  # the round is over
            await client.publish(topic, payload(next(seqs)), qos=1)

    def send(device: str) -> None:
        task = asyncio.create_task(publish(device_topic(MessageKind.BUDGET, FLEET, device)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async with aiomqtt.Client(**connection.client_options(), queue_type=direct_queue(answered)) as client:
        client.pending_calls_threshold = 4 * max(count, PUBLISHES_AT_ONCE)
        await client.subscribe(subscription(MessageKind.PEE, FLEET), qos=1)
        for number in range(count):
            send(f"device-{number:05d}")
        await asyncio.sleep(1.0)
        before, since_s = answers, time.monotonic()
        await asyncio.sleep(seconds)
        rate = (answers - before) / (time.monotonic() - since_s)
    for task in tasks:
        task.cancel()
    return rate, answers


def run_round(
    endpoint: Endpoint, count: int, payload: Callable[[int], bytes], processes: Mapping[str, Sequence[int]]
) -> Round:
    """Run one round and measure the processor time of each process."""

    def spent() -> dict[str, float]:
        return {
            name: sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)
            for name, pids in processes.items()
        }

    before, since_s = spent(), time.monotonic()
    rate, answers = asyncio.run(load(endpoint, count, payload, ROUND_S))
    took_s = time.monotonic() - since_s
    used = {name: total - before[name] for name, total in spent().items()}
    share = {name: round(each / took_s, 2) for name, each in used.items()}
    return Round(rate, share, 1e6 * used["responder"] / max(answers, 1))


@contextmanager
def start_echo(endpoint: Endpoint) -> Iterator[int]:
    """Run the bare echo; yield its process id."""
    connection = endpoint.connection(Role.CLOUD, "echo")
    command = [sys.executable, "-m", "benchmarks.echo"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        words = [connection.host, connection.port, connection.client_id, connection.user, connection.password]
        process.stdin.write(msgspec.json.encode(words) + b"\n")
        process.stdin.flush()
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.terminate()


@contextmanager
def start_service(
    endpoint: Endpoint, store: Path, replicas: int, options: Sequence[str] = ()
) -> Iterator[Sequence[int]]:
    """Run the service; yield its process ids."""
    with cloud_process([store], endpoint, FLEET, Updates(), replicas=replicas, options=options) as cloud:
        asyncio.run(_until_announced(endpoint, replicas))
        yield [replica.pid for replica in cloud.replicas]


async def _until_announced(endpoint: Endpoint, replicas: int) -> None:
    """Wait until so many services say that they are there: the notice may be that of a round before."""
    connection, online = endpoint.connection(Role.FLEET, "until-announced"), set[str]()
    async with aiomqtt.Client(**connection.client_options()) as client, asyncio.timeout(60):
        await client.subscribe(subscription(MessageKind.CLOUD, FLEET), qos=1)
        while len(online) < replicas:
            message = await anext(client.messages)
            change = online.add if decode(message.payload, CloudStatus).online else online.discard
            change(message.topic.value)


def main() -> list[str]:
    """Measure, print, write ``service.json``; return the limits that are exceeded."""
    rounds: dict[str, dict[int, list[Round]]] = {
        name: {count: [] for count in IN_FLIGHT} for name in ("echo", "service", "signed", "two_replicas")
    }
    with tempfile.TemporaryDirectory() as folder, launch_broker("mosquitto") as broker:
        job = prepare(SCENARIO, Path(folder))
        store = Path(folder) / "store"
        save_store(job.store, store)
        report, endpoint = choose(job.store), broker.endpoint
        key = Path(folder) / "key"
        write_secret(key, new_key_pair().private)
        signing = ("--signing-key", str(key))
        width = len(report.payload(1_000_000))

        def size(_: int) -> bytes:
            return str(report.answer_bytes).zfill(width).encode()

        ours = {"load": [psutil.Process().pid], "broker": _broker_pids()}
        for _, count in itertools.product(range(ROUNDS), IN_FLIGHT):
            with start_echo(endpoint) as pid:
                found = run_round(endpoint, count, size, ours | {"responder": [pid]})
                rounds["echo"][count].append(found)
            for name, replicas, options in (
                ("service", 1, ()),
                ("signed", 1, signing),
                ("two_replicas", 2, ()),
            ):
                with start_service(endpoint, store, replicas, options) as pids:
                    found = run_round(endpoint, count, report.payload, ours | {"responder": pids})
                    rounds[name][count].append(found)
    figures = summarize(rounds, report)
    write("service", figures)
    limits = (("ratio", PROMISED_RATIO), ("signed_ratio", PROMISED_SIGNED_RATIO))
    return [
        f"service: {name}(={ratio:.3f}) must be >= {least}"
        for name, least in limits
        if isinstance(ratio := figures[name], float) and ratio < least
    ]


def summarize(rounds: dict[str, dict[int, list[Round]]], report: Report) -> dict[str, object]:
    """Return medians over rounds, and medians of the ratios within a round."""

    def ratio(name: str, other: str, count: int) -> float:
        pairs = zip(rounds[name][count], rounds[other][count], strict=True)
        return statistics.median(ours.per_s / theirs.per_s for ours, theirs in pairs)

    figures: dict[str, object] = {
        "report_bytes": len(report.payload(1_000_000)),
        "answer_bytes": report.answer_bytes,
        "cores": psutil.cpu_count(),
        "ratio": min(ratio("service", "echo", count) for count in IN_FLIGHT),
        "signed_ratio": min(ratio("signed", "echo", count) for count in IN_FLIGHT),
        "signed_to_service": min(ratio("signed", "service", count) for count in IN_FLIGHT),
        "replicas_ratio": max(ratio("two_replicas", "service", count) for count in IN_FLIGHT),
        "replicas_note": "broker, load and replicas share the cores (cpu_share): two cannot show more",
    }
    for name, by_count in rounds.items():
        for count, found in by_count.items():
            figures[f"{name}_{count}_per_s"] = round(statistics.median(each.per_s for each in found), 1)
            figures[f"{name}_{count}_responder_us"] = round(
                statistics.median(each.responder_us for each in found), 1
            )
            figures[f"{name}_{count}_cpu_share"] = found[-1].cpu_share
    return figures


def _broker_pids() -> list[int]:
    return [each.pid for each in psutil.Process().children(recursive=True) if each.name() == "mosquitto"]


if __name__ == "__main__":
    sys.exit(len(main()))
