"""Fleets that both engines simulate, and the comparison of their rows."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.kernel.engine import Kernel
from devices.simulated.roster import DeviceSpec
from emulator.simulation.job import Job, fleet_config, prepare
from emulator.simulation.kernel_run import make_kernel
from emulator.simulation.simulation import Simulation
from emulator.simulation.trace_files import read_trace_files
from scenarios.language.scenario import Scenario

Rows = Mapping[str, NDArray[Any]]


def job_of(scenario: Scenario, stores: Path, folder: Path) -> Job:
    """Return the job of a scenario whose models are cached in *stores*."""
    traces = read_trace_files(scenario.fleet, scenario.stop_time)
    return prepare(scenario, stores, folder / "journal", on_training=lambda *_: None, traces=traces).job


class BothEngines:
    """A fleet in both engines."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._simulation = Simulation(job, lambda _: None)
        self.qualities = self._simulation.qualities[job.store.version]
        self._simulation.writer.close(self._simulation.log)  # the rows are not written

    def kernel(self) -> Kernel:
        """Return the kernel."""
        job, simulation = self.job, self._simulation
        version = job.store.version
        config = fleet_config(job.scenario, job.fleet)
        return make_kernel(job, config, simulation.prefixes[version], simulation.qualities[version])

    def kernel_rows(self) -> tuple[Rows, list[int]]:
        """Return the kernel's rows, and the numbers of the devices that it leaves to SimPy."""
        rows, left = self.kernel().simulate(self.job.devices)
        return rows, [spec.number for spec in left]

    def simpy_rows(self) -> Rows:
        """Return SimPy's rows by device and order."""
        return self.simpy_rows_of(self.job.devices)

    def simpy_rows_of(self, devices: Sequence[DeviceSpec]) -> Rows:
        """Return SimPy's rows of some devices by device and order."""
        tables = self._simulation.simulate_in_simpy(devices).tables
        rows = {name: table.drain() for name, table in tables.items()}
        return {name: table[np.lexsort((table["order"], table["device"]))] for name, table in rows.items()}


def differences(one: Rows, other: Rows) -> list[str]:
    """Return the tables and columns in which two logs differ, with the first row that does."""
    found = []
    for table, rows in one.items():
        others = other[table]
        if len(rows) != len(others):
            found.append(f"{table}: {len(rows)} rows and {len(others)}")
        common = min(len(rows), len(others))
        for column in rows.dtype.names or ():
            at = np.flatnonzero(rows[column][:common] != others[column][:common])
            if column != "wall_s" and len(at):
                found.append(f"{table}.{column}: row {at[0]}: {rows[at[0]]} and {others[at[0]]}")
    return found
