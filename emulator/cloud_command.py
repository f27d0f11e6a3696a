"""``peelfleet cloud``: a block store served over MQTT until it is told to stop."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from broker_config.launch import parse_url
from cloud.responder import Responder
from cloud.service import Counts, serve
from cloud.store import load_store
from wire.connection import Connection
from wire.errors import InputError
from wire.topics import Role, valid_name
from wire.units import parse_bytes


def serve_store(store: Path, broker: str, fleet: str, max_payload: str, *, until_stdin_closes: bool) -> None:
    """Serve the store in the folder *store* until SIGTERM, SIGINT or, if wanted, the end of standard input.

    Raises:
        InputError: an argument is wrong, or the store is damaged.
    """
    if not valid_name(fleet):
        raise InputError(f"--fleet {fleet!r}: must be 1 to 64 letters, digits, '.', '_' or '-'")
    try:
        responder = Responder(load_store(store), parse_bytes(max_payload))
    except ValueError as error:
        raise InputError(f"--max-payload: {error}") from None
    connection = parse_url(broker).connection(Role.CLOUD, f"cloud-{fleet}")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(_serve(responder, connection, fleet, until_stdin_closes=until_stdin_closes))


async def _serve(
    responder: Responder, connection: Connection, fleet: str, *, until_stdin_closes: bool
) -> None:
    counts = Counts()
    loop, task = asyncio.get_running_loop(), asyncio.create_task(serve(responder, connection, fleet, counts))
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
