"""``peelfleet agent``: this machine as a device of a fleet."""

import logging
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from devices.memory.budget import Budget
from devices.recommender.interactions_file import read_interactions
from devices.standalone.device import RealDevice
from devices.standalone.saved_state import check_files
from devices.standalone.settings import DeviceSettings
from devices.traces.procfs import read_proc
from emulator.cli.options import (
    default,
    duration_option,
    name_option,
    path_option,
    quiet_option,
    share_option,
    size_option,
)
from emulator.cli.service_options import (
    BrokerUrl,
    FleetName,
    MetricsHost,
    MetricsPort,
    PublicKey,
    verifying_function,
)
from emulator.processes.interrupts import SIGNALS
from wire.errors import InputError
from wire.event_loops import call_on_signals, run_event_loop
from wire.mqtt.connection import Connection
from wire.topics import Role
from wire.units import NS_PER_S, Bytes, Duration, Share

LOG: Final = logging.getLogger("peelfleet.agent")
LOG_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"


Interval = Annotated[Duration, duration_option("Time between two samples of the memory.")]
MaxPart = Annotated[
    Bytes | None, size_option("Largest update part to ask for, where memory is short; default: any.")
]
Deltas = Annotated[
    bool, typer.Option("--deltas", help="Take new model versions as deltas; the cloud must know them.")
]
Names = Annotated[Path | None, path_option("The file of `catalogue`: names for the items in --pee.")]
Interactions = Annotated[
    Path | None, path_option("Learn from the item numbers that are appended to this file.")
]


def agent(
    broker: BrokerUrl,
    fleet: FleetName,
    device: Annotated[str, name_option("The device's id, which is also its user name at the broker.")],
    user: Annotated[int | None, typer.Option(min=0, help="Number of the user whose PEE it holds.")] = None,
    group: Annotated[
        int | None, typer.Option(min=0, help="Instead of --user: only the user's group.")
    ] = None,
    budget: Annotated[Bytes | None, size_option("A fixed budget, such as 64KiB.")] = None,
    budget_share: Annotated[
        Share, share_option("Without --budget: share of the available memory.")
    ] = default("0.01 %"),
    proc: Annotated[Path, path_option("The folder of `meminfo`.")] = Path("/proc"),
    interval: Interval = default("5 s"),
    retry_after: Annotated[Duration, duration_option("Time to wait for an answer.")] = default("30 s"),
    pee: Annotated[Path | None, path_option("Keep the PEE in this file, for `recommend`.")] = None,
    state: Annotated[Path | None, path_option("File of the saved state, for a restart.")] = None,
    max_part: MaxPart = None,
    deltas: Deltas = False,
    public_key: PublicKey = None,
    interactions: Interactions = None,
    names: Names = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
    once: Annotated[bool, typer.Option("--once", help="End when the first PEE is held.")] = False,
    give_up_after: Annotated[
        Duration, duration_option("With --once: longest time to wait for it.")
    ] = default("45 s"),
    quiet: Annotated[bool, quiet_option("Log warnings and errors only.")] = False,
) -> None:
    """Run as one device: keep this machine's PEE inside its own memory; see docs/agent.md."""
    if (user is None) == (group is None):
        raise InputError("one of --user and --group is needed")
    if group is not None and pee is not None and interactions is None:
        raise InputError(
            "--pee needs --user, or --interactions: without the user's vector nothing can be ranked"
        )
    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, format=LOG_FORMAT)
    check_files(pee, state)
    if interactions is not None:
        check_interactions(interactions, pee)
    settings = DeviceSettings(
        fleet=fleet,
        device=device,
        user=user,
        group=group,
        interval_s=interval / NS_PER_S,
        retry_s=retry_after / NS_PER_S,
        pee=pee,
        state=state,
        max_part_bytes=int(max_part or 0),
        deltas=deltas,
        verify=verifying_function(public_key),
        interactions=interactions,
        names=names,
        once=once,
        give_up_s=give_up_after / NS_PER_S,
    )
    budget_now = budget_source(budget, budget_share, proc)
    run_agent(settings, broker.connection(Role.DEVICE, device), budget_now, metrics_host, metrics_port)


def check_interactions(path: Path, pee: Path | None) -> None:
    """Check that a device can learn from the file *path*, which may not exist yet.

    Raises:
        InputError: there is no PEE file for the result, or the file is not valid.
    """
    if pee is None:
        raise InputError("--interactions needs --pee: the learned vector is in that file")
    if path.exists():
        read_interactions(path)


def run_agent(
    settings: DeviceSettings,
    connection: Connection,
    current_budget: Callable[[], int],
    metrics_host: str,
    metrics_port: int | None,
) -> None:
    """Run a device until SIGTERM, SIGHUP or SIGINT; with ``once``, until it holds its first PEE.

    Raises:
        InputError: the memory cannot be read.
        RunError: the broker refuses the device, or no PEE came in time.
    """
    current_budget()  # an error shows now, and not only when the broker answers
    device = RealDevice(
        settings, replace(connection, persistent=True), current_budget, random.Random().random
    )
    try:
        run_event_loop(_run(device, settings, metrics_host, metrics_port))
    finally:
        LOG.info("%s", device.counts.words())


def budget_source(budget: Bytes | None, budget_share: Share, proc: Path) -> Callable[[], int]:
    """Return a function that returns the current budget of the item embeddings, in bytes.

    Args:
        budget: a fixed budget; None: a share of the available memory.
        budget_share: the share of the available memory.
        proc: the folder of ``meminfo``.
    """
    if budget is not None:
        return lambda: int(budget)
    rule = Budget(share=budget_share)
    return lambda: rule.of(read_proc(proc).available_bytes)


async def _run(device: RealDevice, settings: DeviceSettings, host: str, port: int | None) -> None:
    call_on_signals(SIGNALS, device.stop)
    if port is None:
        await device.run()
        return
    try:
        from emulator.cli.agent_metrics import device_metrics
    except ModuleNotFoundError as error:
        raise InputError(f"--metrics-port needs {error.name}, which is not installed") from None
    with device_metrics(device, settings, host, port):
        await device.run()
