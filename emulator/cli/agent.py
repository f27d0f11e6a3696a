"""``peelfleet agent``: this machine as a device of a fleet."""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from broker_config.endpoint import check_host, parse_url
from devices.memory.budget import Budget
from devices.standalone.device import Standalone
from devices.standalone.saved_state import check_files
from devices.standalone.settings import Settings
from devices.traces.procfs import read_proc
from emulator.processes.interrupts import SIGNALS
from wire.errors import InputError
from wire.topics import Role, valid_name
from wire.units import parse_bytes, parse_duration, read_share

LOG = logging.getLogger("peelfleet.agent")


@dataclass(frozen=True)
class Wanted:
    """What the command line says."""

    broker: str
    fleet: str
    device: str
    user: int | None
    group: int | None
    budget: str | None
    budget_share: str
    proc: Path
    interval: str
    retry_after: str
    pee: Path | None
    state: Path | None
    once: bool
    give_up_after: str = "45 s"


def run_agent(wanted: Wanted) -> None:
    """Be a device until SIGTERM, SIGHUP or SIGINT; with ``once``, until it holds its first PEE.

    Raises:
        InputError: an argument is wrong.
        RunError: the broker refuses us, or no PEE came in time where it was to live once.
    """
    for option, name in (("--fleet", wanted.fleet), ("--device", wanted.device)):
        if not valid_name(name):
            raise InputError(f"{option} {name!r}: must be 1 to 64 letters, digits, '.', '_' or '-'")
    if (wanted.user is None) == (wanted.group is None):
        raise InputError("one of --user and --group is needed")
    if wanted.group is not None and wanted.pee is not None:
        raise InputError("--pee needs --user: without the user's vector nothing can be ranked")
    check_files(wanted.pee, wanted.state)
    connection = parse_url(wanted.broker).connection(Role.DEVICE, wanted.device)
    check_host(connection.host)
    settings = Settings(
        wanted.fleet,
        wanted.device,
        wanted.user,
        wanted.group,
        interval_s=_seconds("--interval", wanted.interval),
        retry_s=_seconds("--retry-after", wanted.retry_after),
        pee=wanted.pee,
        state=wanted.state,
        once=wanted.once,
        give_up_s=_seconds("--give-up-after", wanted.give_up_after),
    )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    budget = budget_of(wanted)
    budget()  # a mistake shows now, not when the broker is there
    device = Standalone(settings, replace(connection, persistent=True), budget, random.Random().random)
    try:
        asyncio.run(_live(device))
    finally:
        LOG.info("%s", device.counts.words())


def budget_of(wanted: Wanted) -> Callable[[], int]:
    """Return what tells how many bytes the item embeddings may take now."""
    if wanted.budget is not None:
        try:
            fixed = int(parse_bytes(wanted.budget))
        except ValueError as error:
            raise InputError(f"--budget: {error}") from None
        return lambda: fixed
    try:
        rule = Budget(share=read_share(wanted.budget_share))
    except ValueError as error:
        raise InputError(f"--budget-share: {error}") from None
    return lambda: rule.of(read_proc(wanted.proc).available_bytes)


async def _live(device: Standalone) -> None:
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, device.stop)
    await device.live()


def _seconds(option: str, text: str) -> float:
    try:
        seconds = int(parse_duration(text)) / 1e9
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None
    if seconds <= 0:
        raise InputError(f"{option} {text}: must be above 0 s")
    return seconds
