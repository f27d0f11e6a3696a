"""``peelfleet cloud``: block stores served over MQTT until it is told to stop."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path

from broker_config.launch import parse_url
from cloud.responder import Responder
from cloud.service import Counts, serve
from cloud.store import load_store
from cloud.versions import Versions
from wire.errors import InputError
from wire.topics import Role, valid_name
from wire.units import parse_bytes, parse_share


@dataclass(frozen=True)
class Serving:
    """What to serve and how, as the command line says it."""

    stores: Sequence[Path]
    """Folders with block stores; the first one's model serves whoever asks for none."""
    max_payload: str
    encoding: str
    full_if_delta_over: str
    retain_blocks: bool


def serve_stores(serving: Serving, broker: str, fleet: str, *, until_stdin_closes: bool) -> None:
    """Serve until SIGTERM, SIGINT or, if wanted, the end of standard input.

    Raises:
        InputError: an argument is wrong, or a store is damaged.
    """
    if not valid_name(fleet):
        raise InputError(f"--fleet {fleet!r}: must be 1 to 64 letters, digits, '.', '_' or '-'")
    versions = _versions(serving)
    connection = parse_url(broker).connection(Role.CLOUD, f"cloud-{fleet}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    service = serve(versions, connection, fleet, counts := Counts(), retain_blocks=serving.retain_blocks)
    asyncio.run(_serve(service, counts, until_stdin_closes=until_stdin_closes))


def _versions(serving: Serving) -> Versions:
    if serving.encoding not in ("delta", "full"):
        raise InputError(f"--encoding {serving.encoding!r}: must be delta or full")
    try:
        max_payload = parse_bytes(serving.max_payload)
    except ValueError as error:
        raise InputError(f"--max-payload: {error}") from None
    try:
        full_above = parse_share(_number_or_text(serving.full_if_delta_over))
    except ValueError as error:
        raise InputError(f"--full-if-delta-over: {error}") from None
    full = serving.encoding == "full"
    stores = map(load_store, serving.stores)
    return Versions(
        [Responder(each, max_payload, always_full=full, full_above=full_above) for each in stores]
    )


def _number_or_text(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


async def _serve(service: Coroutine[None, None, None], counts: Counts, *, until_stdin_closes: bool) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.create_task(service)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    if until_stdin_closes:
        threading.Thread(target=_wait_for_end, args=(loop, task), daemon=True).start()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    logging.getLogger("peelfleet.cloud").info("served: %s", counts)


def _wait_for_end(loop: asyncio.AbstractEventLoop, task: asyncio.Task[None]) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    with contextlib.suppress(RuntimeError):  # the loop has ended by itself
        loop.call_soon_threadsafe(task.cancel)
