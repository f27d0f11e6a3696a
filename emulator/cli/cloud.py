"""``peelfleet cloud``: a service that sends the blocks of stores over MQTT until it is stopped."""

import asyncio
import contextlib
import logging
import os
import random
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer

from broker_config.endpoint import Endpoint
from cloud.blocks.store import load_store
from cloud.service.model_versions import ModelVersions
from cloud.service.mqtt_service import Service, ServiceConfig
from cloud.service.outcomes import MessageOutcome
from cloud.service.prometheus import CloudCollector
from cloud.service.report_queue import AdmissionLimits
from cloud.service.responder import Responder
from cloud.service.statistics import ServiceStatistics
from cloud.service.store_folder import StoreChange, StoreFolder
from emulator.cli.options import (
    default,
    duration_option,
    name_option,
    path_option,
    quiet_option,
    share_option,
    size_option,
    wrong,
)
from emulator.cli.service_options import (
    BrokerUrl,
    MetricsHost,
    MetricsPort,
    SigningKey,
    signing_function,
)
from emulator.processes.interrupts import SIGNALS
from wire.errors import InputError
from wire.event_loops import call_on_signals, run_event_loop
from wire.mqtt.connection import Connection
from wire.prometheus.http_server import Health, is_responsive, serve_metrics
from wire.signatures import Sign
from wire.topics import Role
from wire.units import NS_PER_S, Bytes, Duration, Share

LOG = logging.getLogger("peelfleet.cloud")

CACHE_BYTES = 16 * 2**20
"""Cached answers per model version: a small cache, since slicing is cheap."""
HIGHEST_RATE = 1e9
"""The maximum of ``--max-rate``, in reports per second and device."""
BURST_S = 5.0
"""A device may send the reports of this time at once."""
LOOK_EVERY_S = 2.0
"""Time between two looks at the watched folder."""
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


WatchedFolder = Annotated[
    Path | None, path_option("A folder of stores: each that appears in it is served, too, without a restart.")
]
StateFile = Annotated[
    Path | None,
    path_option("File to keep a rollout in, in case that broker and service are killed together."),
]


def report_rate(text: str) -> float:
    """Return a number of reports per second, above 0."""
    rule = f"a number above 0 and at most {HIGHEST_RATE:g}"
    try:
        rate = float(text)
    except ValueError:
        wrong(text, rule)
    return rate if 0 < rate <= HIGHEST_RATE else wrong(text, rule)


@dataclass(frozen=True, kw_only=True)
class CloudOptions:
    """Settings of the service. The first store serves the devices that ask for no model version."""

    stores: Sequence[Path]
    watch: Path | None = None
    """A folder of stores that come and go."""
    state: Path | None = None
    """A file of the rollout, beside what the broker keeps."""
    broker: Endpoint
    fleet: str
    replica: str | None = None
    max_payload: int
    encoding: Literal["delta", "full"]
    full_if_delta_over: float
    retain_blocks: bool
    sign: Sign | None
    max_queue: int
    max_rate: float
    coalesce: bool
    persistent: bool
    grace_s: float
    metrics_port: int | None
    metrics_host: str
    until_stdin_closes: bool


def cloud(
    store: Annotated[
        list[Path],
        path_option("A block store: a folder with a manifest.json. Repeat it for more versions."),
    ],
    broker: BrokerUrl,
    fleet: Annotated[str, name_option("The fleet to serve.")],
    watch: WatchedFolder = None,
    state: StateFile = None,
    replica: Annotated[
        str | None, name_option("The name of one of several services that share the reports.")
    ] = None,
    max_payload: Annotated[Bytes, size_option("Largest update part.")] = default("128 KiB"),
    encoding: Annotated[
        Literal["delta", "full"], typer.Option(help="full sends the whole PEE every time.")
    ] = "delta",
    full_if_delta_over: Annotated[
        Share, share_option("A delta above this share of the whole PEE is sent whole.")
    ] = default("100 %"),
    retain_blocks: Annotated[
        bool, typer.Option(help="Leave every layer's blocks on a topic of its own, for shared delivery.")
    ] = False,
    signing_key: SigningKey = None,
    max_queue: Annotated[int, typer.Option(min=1, help="Devices with a report that waits.")] = 10_000,
    max_rate: Annotated[
        float,
        typer.Option(
            parser=report_rate, metavar="<number>", help="Reports a second from one device; more are dropped."
        ),
    ] = 20.0,
    coalesce: Annotated[
        bool, typer.Option(help="Answer only the newest of the reports of a device that wait.")
    ] = True,
    persistent: Annotated[
        bool, typer.Option(help="Let the broker keep reports while the service is away.")
    ] = True,
    grace: Annotated[
        Duration, duration_option("Longest time to finish after a signal to stop.", zero=True)
    ] = default("10 s"),
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
    log_format: Annotated[
        Literal["text", "json"], typer.Option(help="json writes an object in each line.")
    ] = "text",
    quiet: Annotated[bool, quiet_option("Log warnings and errors only.")] = False,
    until_stdin_closes: Annotated[bool, typer.Option(help="End when standard input ends.")] = False,
) -> None:
    """Serve trained models to a fleet over MQTT until interrupted; docs/service.md has the details."""
    start_logging(log_format, logging.WARNING if quiet else logging.INFO)
    options = CloudOptions(
        stores=store, watch=watch, state=state, broker=broker, fleet=fleet, replica=replica,
        max_payload=max_payload, encoding=encoding, full_if_delta_over=full_if_delta_over,
        retain_blocks=retain_blocks, sign=signing_function(signing_key), max_queue=max_queue,
        max_rate=max_rate, coalesce=coalesce, persistent=persistent,
        grace_s=grace / NS_PER_S, metrics_port=metrics_port, metrics_host=metrics_host,
        until_stdin_closes=until_stdin_closes,
    )  # fmt: skip
    serve_stores(options)


def serve_stores(options: CloudOptions) -> None:
    """Serve until SIGTERM, SIGHUP, SIGINT or the end of standard input; answer the accepted reports first.

    Raises:
        InputError: a store is damaged, or standard input is closed already.
        RunError: the broker refuses the service.
    """
    if options.until_stdin_closes and not _has_input():
        raise InputError("--until-stdin-closes: standard input is closed already")
    if options.watch is not None and not options.watch.is_dir():
        raise InputError(f"--watch: {options.watch} must be a folder")
    versions, watched = _served_stores(options)
    # The colon cannot stand in a name: fleet a-b alone is not replica b of fleet a.
    client_id = f"cloud:{options.fleet}" + (f":{options.replica}" if options.replica else "")
    connection = replace(options.broker.connection(Role.CLOUD, client_id), persistent=options.persistent)
    config = ServiceConfig(
        options.fleet,
        shared=options.replica is not None,
        replica=options.replica or "main",
        retain_blocks=options.retain_blocks,
        sign=options.sign,
        limits=AdmissionLimits(
            options.max_queue,
            rate=options.max_rate,
            burst=max(int(BURST_S * options.max_rate), 1),
            coalesce=options.coalesce,
        ),
        grace_s=options.grace_s,
        state=options.state,
    )
    run_event_loop(_serve(versions, watched, connection, config, options))


async def _serve(
    versions: ModelVersions,
    watched: StoreFolder | None,
    connection: Connection,
    config: ServiceConfig,
    options: CloudOptions,
) -> None:
    counts, draw = ServiceStatistics(), random.Random().random
    service = Service(versions, connection, config, counts, draw)
    loop = asyncio.get_running_loop()
    call_on_signals(SIGNALS, service.stop)
    if options.until_stdin_closes:
        threading.Thread(target=_wait_for_end, args=(loop, service), daemon=True).start()
    with _metrics_server(options, versions, counts, service):
        watching = asyncio.create_task(_watch_stores(watched, service)) if watched is not None else None
        try:
            await service.serve()
        finally:
            if watching is not None:
                watching.cancel()
    totals = {result.value: counts.total(result) for result in MessageOutcome}
    words = ", ".join(f"{count} {result}" for result, count in totals.items())
    LOG.info(
        "stopped: it received %d messages (%s) and published %d, %d bytes in all, the largest of %d bytes",
        counts.received.messages, words, counts.sent.messages, counts.sent.bytes, counts.sent.largest_bytes,
        extra={"received": counts.received.messages, **totals},
    )  # fmt: skip


@contextlib.contextmanager
def _metrics_server(
    options: CloudOptions, versions: ModelVersions, counts: ServiceStatistics, service: Service
) -> Iterator[None]:
    """Serve metrics and health, if they have a port; a used port is found before the service connects."""

    def labels() -> dict[str, str]:
        version = versions.first.store.version
        return {"fleet": options.fleet, "replica": options.replica or "", "version": version}

    collector = CloudCollector(
        counts, lambda: service.queued, lambda: service.in_flight, labels, service.rollout.figures
    )
    loop = asyncio.get_running_loop()
    health = Health(alive=lambda: is_responsive(loop), ready=lambda: counts.ready)
    with serve_metrics(options.metrics_host, options.metrics_port, collector, health):
        yield


async def _watch_stores(folder: StoreFolder, service: Service) -> None:
    """Serve what appears in the watched folder, and no more what has gone from it."""
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        change = await asyncio.to_thread(folder.look)  # a large store takes seconds to read
        _log_problems(change)
        for responder in change.come:
            service.rollout.add_version(responder)
        for version in change.gone:
            if not service.rollout.remove_version(version):
                LOG.warning("the store of model %s is gone; it is served until another is announced", version)


def _served_stores(options: CloudOptions) -> tuple[ModelVersions, StoreFolder | None]:
    """Return the versions served at the start, those of the watched folder included, and that folder."""
    responders = {folder: _responder(options, folder) for folder in options.stores}
    versions = ModelVersions(list(responders.values()))
    if options.watch is None:
        return versions, None
    known = {folder: responder.store.version for folder, responder in responders.items()}
    watched = StoreFolder(options.watch, partial(_responder, options), known)
    change = watched.look()
    _log_problems(change)
    for responder in change.come:
        versions.add(responder)
    return versions, watched


def _log_problems(change: StoreChange) -> None:
    for problem in change.problems:
        LOG.error("%s", problem)


def _responder(options: CloudOptions, folder: Path) -> Responder:
    responder = Responder(
        load_store(folder),
        options.max_payload,
        always_full=options.encoding == "full",
        full_above=options.full_if_delta_over,
        cache_bytes=CACHE_BYTES,
    )
    if options.retain_blocks:
        responder.check_layers_fit()
    return responder


def _has_input() -> bool:
    """Return whether there is a standard input; Python has none if it was closed before the start."""
    try:
        return sys.stdin is not None and sys.stdin.fileno() >= 0
    except (OSError, ValueError):
        return False


def _wait_for_end(loop: asyncio.AbstractEventLoop, service: Service) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop has ended by itself
        loop.call_soon_threadsafe(service.stop)


def start_logging(log_format: Literal["text", "json"], level: int = logging.INFO) -> None:
    """Write log records of a level and above to standard error, as text or as JSON lines."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if log_format == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=level, handlers=[handler])


_USUAL_FIELDS = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """A formatter of JSON lines: time, level, logger, message, and the extra fields of the record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        extra = {key: value for key, value in vars(record).items() if key not in _USUAL_FIELDS}
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **extra,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()
