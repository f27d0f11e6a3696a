"""``peelfleet cloud``: block stores served over MQTT until it is told to stop."""

import asyncio
import contextlib
import logging
import math
import os
import random
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from broker_config.endpoint import check_host, parse_url
from cloud.blocks.store import load_store
from cloud.service.model_versions import ModelVersions
from cloud.service.mqtt_service import Service, ServiceConfig
from cloud.service.outcomes import Outcome
from cloud.service.prometheus import CloudCollector, Health, is_responsive, serve_metrics
from cloud.service.report_queue import AdmissionLimits
from cloud.service.responder import Responder
from cloud.service.statistics import ServiceStatistics
from emulator.processes.interrupts import SIGNALS
from wire.errors import InputError
from wire.mqtt.connection import Connection
from wire.topics import Role, valid_name
from wire.units import parse_bytes, parse_duration, read_share

LOG = logging.getLogger("peelfleet.cloud")

CACHE_BYTES = 16 * 2**20
"""What a model version may keep of its answers: a service's memory is to be flat, and slicing is cheap."""
HIGHEST_RATE = 1e9
"""Reports a second and device: more than anybody can count."""
BURST_S = 5.0
"""A device may send as much at once as its rate allows in this time."""
TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@dataclass(frozen=True)
class Serving:
    """What to serve, to whom and how, as the command line says it."""

    stores: Sequence[Path]
    """Folders with block stores; the first one's model serves whoever asks for none."""
    broker: str
    fleet: str
    max_payload: str
    encoding: str
    full_if_delta_over: str
    retain_blocks: bool
    replica: str | None
    max_queue: int
    max_rate: float
    coalesce: bool
    persistent: bool
    grace: str
    metrics_host: str
    metrics_port: int | None
    log_format: str
    until_stdin_closes: bool


def serve_stores(serving: Serving) -> None:
    """Serve until SIGTERM, SIGHUP, SIGINT or, if wanted, the end of standard input; finish what was taken.

    Raises:
        InputError: an argument is wrong, or a store is damaged.
        RunError: the broker refuses us.
    """
    for option, name in (
        ("--fleet", serving.fleet),
        ("--replica", "one" if serving.replica is None else serving.replica),
    ):
        if not valid_name(name):
            raise InputError(f"{option} {name!r}: must be 1 to 64 letters, digits, '.', '_' or '-'")
    if not (math.isfinite(serving.max_rate) and 0 < serving.max_rate <= HIGHEST_RATE):
        raise InputError(f"--max-rate {serving.max_rate}: must be above 0 and at most {HIGHEST_RATE:g}")
    if serving.until_stdin_closes and not _has_input():
        raise InputError("--until-stdin-closes: standard input is closed already")
    _log(serving.log_format)
    versions = _versions(serving)
    # A colon, which no name has: fleet a-b alone is not replica b of fleet a.
    client_id = f"cloud:{serving.fleet}" + (f":{serving.replica}" if serving.replica else "")
    connection = parse_url(serving.broker).connection(Role.CLOUD, client_id)
    check_host(connection.host)
    config = ServiceConfig(
        serving.fleet,
        shared=serving.replica is not None,
        retain_blocks=serving.retain_blocks,
        limits=AdmissionLimits(
            serving.max_queue,
            rate=serving.max_rate,
            burst=max(int(BURST_S * serving.max_rate), 1),
            coalesce=serving.coalesce,
        ),
        grace_s=_duration("--grace", serving.grace),
    )
    asyncio.run(_serve(versions, replace(connection, persistent=serving.persistent), config, serving))


async def _serve(
    versions: ModelVersions, connection: Connection, config: ServiceConfig, serving: Serving
) -> None:
    counts, draw = ServiceStatistics(), random.Random().random
    service = Service(versions, connection, config, counts, draw)
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, service.stop)
    if serving.until_stdin_closes:
        threading.Thread(target=_wait_for_end, args=(loop, service), daemon=True).start()
    with _watched(serving, versions, counts, service):
        await service.serve()
    came_of = {result.value: counts.total(result) for result in Outcome}
    words = ", ".join(f"{count} {result}" for result, count in came_of.items())
    LOG.info(
        "stopped: it received %d messages (%s) and published %d, %d bytes in all, the largest of %d bytes",
        counts.received.messages, words, counts.sent.messages, counts.sent.bytes, counts.sent.largest_bytes,
        extra={"received": counts.received.messages, **came_of},
    )  # fmt: skip


@contextlib.contextmanager
def _watched(
    serving: Serving, versions: ModelVersions, counts: ServiceStatistics, service: Service
) -> Iterator[None]:
    """Expose figures and health, if wanted, before anything is connected: the port may be taken."""
    if serving.metrics_port is None:
        yield
        return
    labels = {
        "fleet": serving.fleet, "replica": serving.replica or "", "version": versions.first.store.version
    }  # fmt: skip
    collector = CloudCollector(counts, lambda: service.queued, lambda: service.in_flight, labels)
    loop = asyncio.get_running_loop()
    health = Health(alive=lambda: is_responsive(loop), ready=lambda: counts.ready)
    with serve_metrics(serving.metrics_host, serving.metrics_port, collector, health) as port:
        LOG.info("metrics on http://%s:%d/metrics", serving.metrics_host, port, extra={"port": port})
        yield


def _versions(serving: Serving) -> ModelVersions:
    if serving.encoding not in ("delta", "full"):
        raise InputError(f"--encoding {serving.encoding!r}: must be delta or full")
    try:
        max_payload = parse_bytes(serving.max_payload)
    except ValueError as error:
        raise InputError(f"--max-payload: {error}") from None
    try:
        full_above = read_share(serving.full_if_delta_over)
    except ValueError as error:
        raise InputError(f"--full-if-delta-over: {error}") from None
    full = serving.encoding == "full"
    stores = map(load_store, serving.stores)
    responders = [
        Responder(each, max_payload, always_full=full, full_above=full_above, cache_bytes=CACHE_BYTES)
        for each in stores
    ]
    if serving.retain_blocks:
        for each in responders:
            each.check_layers_fit()
    return ModelVersions(responders)


def _duration(option: str, text: str) -> float:
    try:
        return int(parse_duration(text)) / 1e9
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None


def _has_input() -> bool:
    """Tell whether there is a standard input; Python has none where it was closed before the start."""
    try:
        return sys.stdin is not None and sys.stdin.fileno() >= 0
    except (OSError, ValueError):
        return False


def _wait_for_end(loop: asyncio.AbstractEventLoop, service: Service) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop has ended by itself
        loop.call_soon_threadsafe(service.stop)


def _log(form: str) -> None:
    if form not in ("text", "json"):
        raise InputError(f"--log-format {form!r}: must be text or json")
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if form == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])


_USUAL = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and what else was said of it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        said = {key: value for key, value in vars(record).items() if key not in _USUAL}
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **said,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()
