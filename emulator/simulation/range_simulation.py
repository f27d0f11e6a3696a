"""The simulation of a fleet under the virtual clock, one range of devices after the other, in any process.

Memory is that of a range: its devices live and end, its rows go to its parts, and a leaf is left. Leaves and
parts depend on the scenario and the range only.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from devices.simulated.clock import Clock
from devices.simulated.roster import DeviceRange, DeviceSpec
from emulator.live.range_watch import RangeWatch
from emulator.run_directory.event_parts import Leaf, RangeWriter
from emulator.run_directory.run_tables import write_table
from emulator.simulation.abort_monitor import AbortedError
from emulator.simulation.clocks import InMemoryTransport, run_virtual
from emulator.simulation.device_rows import device_rows
from emulator.simulation.engines import uses_kernel
from emulator.simulation.job import Job
from emulator.simulation.kernel_run import KERNEL_DEVICES, simulate_all
from emulator.simulation.simulation import VIRTUAL_CELL, Simulation

DEVICES = "devices"
"""Folder beside the parts with the rows of devices, by range."""


class RangeSimulator:
    """Simulates ranges of a fleet whose devices share nothing.

    Args:
        job: the inputs.
        folder: gets the parts; all workers of a run have the same.
        watch: shows the ranges to those who watch the run; None: nobody does.
    """

    def __init__(self, job: Job, folder: Path, watch: RangeWatch | None = None) -> None:
        self._job = job
        self._folder = folder
        self._watch = watch
        folder.mkdir(parents=True, exist_ok=True)
        self.simulation = Simulation(job, lambda _: None)

    def simulate(self, devices: DeviceRange, on_share: Callable[[float], None] = lambda _: None) -> Leaf:
        """Simulate a range, write its parts and the rows of its devices, and return its leaf.

        Args:
            devices: the range.
            on_share: receives the share of the range's device time that is simulated.
        """
        specs = self._job.devices[devices.first : devices.stop]
        leaf = self.simulate_devices(devices, specs, on_share)
        simulation = self.simulation
        rows = device_rows(
            specs,
            self._job.store,
            list(simulation.qualities.values()),
            simulation.timeline,
            self._job.scenario.sample,
        )
        path = self._folder / DEVICES / f"{devices.index:05d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_table(rows, path)
        return leaf

    def simulate_devices(
        self,
        devices: DeviceRange,
        specs: Sequence[DeviceSpec],
        on_share: Callable[[float], None] = lambda _: None,
    ) -> Leaf:
        """Simulate the devices of a range, and write its parts.

        If it fails or is interrupted, the parts have the rows logged until then.
        """
        writer = RangeWriter(self._folder, devices, wall=False)
        transport = InMemoryTransport(self.simulation.versions)
        try:
            if uses_kernel(self._job.scenario, is_replay=self._job.replay is not None):
                simulation = self.simulation
                for first, share in simulate_all(
                    simulation.kernel, specs, simulation.simulate_in_simpy, simulation.log
                ):
                    self._add(writer, devices, specs, slice(first, first + KERNEL_DEVICES))
                    on_share(share)
                return writer.close()
            for first in range(0, len(specs), VIRTUAL_CELL):
                cell, clock = specs[first : first + VIRTUAL_CELL], Clock()
                self.simulation.start_devices(clock, transport, cell)
                report = partial(self._report, on_share, first, len(cell), len(specs))
                with suppress(AbortedError):  # a replay ends where the recorded run was stopped by hand
                    run_virtual([clock], report, None if self._watch is None else self._watch.pause)
                self._add(writer, devices, specs, slice(first, first + VIRTUAL_CELL))
            return writer.close()
        except BaseException:
            with suppress(Exception):
                writer.add(self.simulation.drain())
            with suppress(Exception):
                writer.abandon()
            raise

    def _add(
        self, writer: RangeWriter, devices: DeviceRange, specs: Sequence[DeviceSpec], part: slice
    ) -> None:
        """Write the rows of a part of the range, and show them to those who watch."""
        rows, watch = self.simulation.drain(), self._watch
        if watch is None:
            writer.add(rows)
            return
        watch.add_devices(specs[part])
        writer.add(rows, watch.add_rows)
        watch.tell(devices, is_last=part.stop >= len(specs))
        watch.pause.wait()

    def _report(
        self, on_share: Callable[[float], None], done: int, cell: int, devices: int, now_ns: int
    ) -> None:
        stop_ns = int(self._job.scenario.stop_time)
        on_share((done + cell * min(now_ns, stop_ns) / stop_ns) / devices)
