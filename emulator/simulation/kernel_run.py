"""A fleet simulated by the compiled kernel, held to SimPy: some devices of each run live in both.

A device that the kernel leaves to SimPy, because something rare happens to it, lives in SimPy alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cloud.service.responder import HEADER_ALLOWANCE
from devices.event_log import FleetLog
from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.quality import UserQuality
from devices.simulated.fleet_config import FleetConfig, TraceSeries
from devices.simulated.roster import DeviceSpec
from emulator.simulation.job import Job
from wire.errors import RunError

if TYPE_CHECKING:
    from devices.kernel.engine import Kernel

KERNEL_DEVICES = 2048
"""Number of devices that the kernel simulates at once."""
AUDIT_EVERY = 256
"""One device in so many also lives in SimPy."""
WALL = "wall_s"
"""The column that depends on the machine."""

Rows = Mapping[str, NDArray[Any]]
"""Rows by table, by device and order."""


def make_kernel(
    job: Job,
    config: FleetConfig,
    prefixes: Mapping[int, BlockPrefix],
    qualities: Mapping[int, UserQuality],
) -> "Kernel":
    """Return the kernel for the fleet of *job*.

    Args:
        job: the inputs.
        config: settings of the fleet.
        prefixes: the complete ranking of each user group.
        qualities: of the fleet's users.

    Raises:
        RunError: the kernel does not fit the version of numpy.
    """
    from devices.kernel.engine import Kernel, KernelFleet
    from devices.kernel.self_check import check_random_numbers, compile_once
    from devices.kernel.tables import CloudAnswers, DeviceRules

    scenario, traces = job.scenario, job.traces
    updates = scenario.updates
    kernel = Kernel(
        KernelFleet(
            config=config,
            rules=DeviceRules(
                stop_ns=int(scenario.stop_time),
                retry_ns=int(updates.retry_after),
                local_eviction=updates.local_eviction,
                supersedes=updates.supersede,
            ),
            answers=CloudAnswers(
                service_ns=int(scenario.cloud.service_time),
                part_room=updates.max_payload - HEADER_ALLOWANCE,
                always_full=updates.encoding == "full",
                full_above=float(updates.full_if_delta_over),
            ),
            version=job.store.version,
            geometry=job.store.geometry,
            prefixes=prefixes,
            qualities=qualities,
            series={
                group.name: TraceSeries(
                    traces.memory.get(group.name, ()), traces.availability.get(group.name, ())
                )
                for group in scenario.fleet
            },
        )
    )

    def compile_all() -> None:
        check_random_numbers()
        kernel.simulate(job.devices[:1])

    compile_once(compile_all)
    return kernel


def simulate_all(
    kernel: "Kernel",
    devices: Sequence[DeviceSpec],
    simulate_in_simpy: Callable[[Sequence[DeviceSpec]], FleetLog],
    log: FleetLog,
) -> Iterator[tuple[int, float]]:
    """Simulate some of *devices* at a time; yield the index of the first of them, and the share that is done.

    Args:
        kernel: the kernel.
        devices: by rising number.
        simulate_in_simpy: simulates some of them, with real bytes.
        log: receives the rows.
    """

    def exact_rows(members: Sequence[DeviceSpec]) -> Rows:
        tables = {name: table.drain() for name, table in simulate_in_simpy(members).tables.items()}
        return {name: _sorted(rows) for name, rows in tables.items()}

    for at in range(0, len(devices), KERNEL_DEVICES):
        members = devices[at : at + KERNEL_DEVICES]
        for name, rows in simulate_audited(kernel, members, exact_rows).items():
            log.tables[name].extend(rows)
        yield at, (at + len(members)) / len(devices)


def simulate_audited(
    kernel: "Kernel", devices: Sequence[DeviceSpec], simulate_in_simpy: Callable[[Sequence[DeviceSpec]], Rows]
) -> Rows:
    """Return the rows of *devices*; some of them also live in SimPy, with real bytes.

    Args:
        kernel: the kernel.
        devices: by rising number.
        simulate_in_simpy: returns the rows of some of them, by device and order.

    Raises:
        RunError: a row of the kernel differs from that of SimPy.
    """
    rows, left = kernel.simulate(devices)
    leaves = {spec.number for spec in left}
    compared = [spec for spec in devices if spec.number % AUDIT_EVERY == 0 and spec.number not in leaves]
    if not compared:
        compared = [spec for spec in devices if spec.number not in leaves][:1]
    names = {spec.number: spec.name for spec in compared}
    twice = sorted([*compared, *left], key=lambda spec: spec.number)
    if not twice:
        return rows
    exact = simulate_in_simpy(twice)
    numbers = np.array(sorted(names), np.int32)
    for table, own in rows.items():
        theirs = exact[table]
        _compare(
            table, own[np.isin(own["device"], numbers)], theirs[np.isin(theirs["device"], numbers)], names
        )
    if not left:
        return rows
    return {
        table: _merge(own, exact[table][np.isin(exact[table]["device"], list(leaves))])
        for table, own in rows.items()
    }


def _merge(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """Return the rows of both, by device and order."""
    return _sorted(np.concatenate([one, other]))


def _sorted(rows: NDArray[Any]) -> NDArray[Any]:
    """Return *rows* by device and order."""
    return rows[np.lexsort((rows["order"], rows["device"]))]


def _compare(table: str, own: NDArray[Any], theirs: NDArray[Any], names: Mapping[int, str]) -> None:
    """Compare the kernel's rows of a table with those of SimPy.

    Raises:
        RunError: they differ; it shows the first difference.
    """
    common = min(len(own), len(theirs))
    first: tuple[int, str] | None = None
    for column in own.dtype.names or ():
        differs = np.flatnonzero(own[column][:common] != theirs[column][:common])
        if column != WALL and len(differs) and (first is None or differs[0] < first[0]):
            first = int(differs[0]), column
    if first is None and len(own) == len(theirs):
        return
    at, column = first or (common, "device")
    some = own if at < len(own) else theirs
    device, order = int(some[at]["device"]), int(some[at]["order"])
    kernel, simpy = (str(rows[at][column]) if at < len(rows) else "no row" for rows in (own, theirs))
    raise RunError(
        f"the kernel and SimPy disagree: device {names[device]}, table {table}, row {order}, {column}: "
        f"{kernel} and {simpy}; this is a bug: please report it, and run with engine=simpy"
    )
