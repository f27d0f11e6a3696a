"""The watch over ranges of a fleet: their figures go to a file, and a paused run waits between two steps."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from devices.simulated.roster import DeviceRange, DeviceSpec
from emulator.live.live_folder import LiveFolder, replace_file
from emulator.live.pause import Pause
from emulator.live.range_figures import Columns, RangeFigures

WRITE_EVERY_S: Final = 1.0


class RangeWatch:
    """Watches the ranges that one process simulates.

    Args:
        run: the run directory.
        stop_ns: the end of simulated time.
        groups: the names of the groups of the fleet.
    """

    def __init__(self, run: Path, stop_ns: int, groups: Sequence[str]) -> None:
        self._folder = LiveFolder(run)
        self._stop_ns, self._groups = stop_ns, tuple(groups)
        self._figures = RangeFigures(stop_ns, groups)
        self._written_s = 0.0
        self.pause = Pause(self._folder)

    def add_devices(self, specs: Sequence[DeviceSpec]) -> None:
        """Count some devices of a range; their rows come next."""
        self._figures.add_devices({spec.number: spec.group.name for spec in specs})

    def add_rows(self, name: str, columns: Columns) -> None:
        """Count all rows of a table of these devices."""
        self._figures.add_rows(name, columns)

    def tell(self, devices: DeviceRange, *, is_last: bool) -> None:
        """Tell the run from time to time, and at the end of a range.

        Args:
            devices: the range.
            is_last: whether all its devices are counted.
        """
        now_s = time.monotonic()
        if is_last or now_s - self._written_s >= WRITE_EVERY_S:
            self._written_s = now_s
            name = f"{devices.index:06d}" + (".done" if is_last else "")
            replace_file(self._folder.ranges / name, self._figures.as_bytes())
        if is_last:
            self._figures = RangeFigures(self._stop_ns, self._groups)


class RangeReports:
    """Reads what the watches over the ranges of a run have written.

    Args:
        folder: of the run.
        stop_ns: the end of simulated time.
        groups: the names of the groups of the fleet.
    """

    def __init__(self, folder: LiveFolder, stop_ns: int, groups: Sequence[str]) -> None:
        self._folder = folder.ranges
        self._stop_ns, self._groups = stop_ns, tuple(groups)
        self._done = RangeFigures(stop_ns, groups)
        self._finished: set[str] = set()

    def read(self) -> RangeFigures:
        """Return the sums over all devices that are done. A range that is done is read once."""
        total = RangeFigures(self._stop_ns, self._groups)
        for file in sorted(self._folder.glob("[0-9]*")):
            index = file.name.removesuffix(".done")
            is_done = file.name != index
            try:
                figures = total.with_content(file.read_bytes())
            except (OSError, ValueError):
                continue  # its range has ended meanwhile
            if not is_done and index not in self._finished and not (self._folder / f"{index}.done").exists():
                total.merge(figures)
            elif is_done:
                file.unlink(missing_ok=True)
                if index not in self._finished:
                    self._finished.add(index)
                    self._done.merge(figures)
        total.merge(self._done)
        return total
