"""The runs and sweeps below a folder."""

import functools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from emulator.metrics.per_device import MeasuredRun
from emulator.run_directory.layout import PARTIAL, SUMMARY, read_summary
from emulator.sweep.table import TABLE
from wire.errors import InputError

DEEPEST: Final = 3
"""Levels below the folder at which runs are looked for: those of a sweep lie in folders of their own."""
KEPT_RUNS: Final = 8
"""Runs whose values by device stay in memory."""


@dataclass(frozen=True)
class ListedRun:
    """A finished run."""

    name: str
    """Its path below the library's folder, with slashes."""
    summary: dict[str, object]
    finished: datetime


class RunLibrary:
    """The runs and sweeps below a folder.

    Args:
        folder: it need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._summaries: dict[tuple[str, int], dict[str, object] | None] = {}
        self._measured = functools.lru_cache(maxsize=KEPT_RUNS)(self._measure)
        self._lock = threading.Lock()

    def runs(self) -> list[ListedRun]:
        """Return all runs that can be read, the newest first."""
        found = [run for path in self._paths(self.folder, 0) if (run := self._listed(path)) is not None]
        return sorted(found, key=lambda run: run.finished, reverse=True)

    def sweeps(self) -> list[str]:
        """Return the names of the folders of sweeps."""
        if not self.folder.is_dir():
            return []
        return sorted(path.name for path in self.folder.iterdir() if (path / f"{TABLE}.parquet").is_file())

    def run_folder(self, name: str) -> Path:
        """Return the folder of the run *name*.

        Raises:
            InputError: there is no such run below the folder.
        """
        return self._inside(name, SUMMARY, "run")

    def sweep_folder(self, name: str) -> Path:
        """Return the folder of the sweep *name*.

        Raises:
            InputError: there is no such sweep in the folder.
        """
        return self._inside(name, f"{TABLE}.parquet", "sweep")

    def measured(self, name: str) -> MeasuredRun:
        """Return a run with its values by device; the last few are kept.

        Raises:
            InputError: there is no such run, or it is damaged.
        """
        folder = self.run_folder(name)
        with self._lock:  # two pages that ask at once must not measure twice
            measured = self._measured(name, (folder / SUMMARY).stat().st_mtime_ns)
            measured.sums  # noqa: B018  # computes, and keeps
        return measured

    def _measure(self, name: str, _: int) -> MeasuredRun:
        return MeasuredRun(self.folder / name)

    def _inside(self, name: str, file: str, kind: str) -> Path:
        parts = Path(name).parts
        folder = self.folder / name
        if Path(name).is_absolute() or ".." in parts or not (folder / file).is_file():
            raise InputError(f"{kind}(={name!r}) is not below {self.folder}")
        return folder

    def _paths(self, folder: Path, depth: int) -> Iterator[Path]:
        if not folder.is_dir():
            return
        for path in folder.iterdir():
            if not path.is_dir() or path.name.endswith(PARTIAL) or path.name.startswith("."):
                continue
            if (path / SUMMARY).is_file():
                yield path
            elif depth + 1 < DEEPEST:
                yield from self._paths(path, depth + 1)

    def _listed(self, path: Path) -> ListedRun | None:
        """Return the run at *path*; None if it cannot be read: another one may be."""
        try:
            changed_ns = (path / SUMMARY).stat().st_mtime_ns
        except OSError:
            return None  # removed meanwhile
        name = path.relative_to(self.folder).as_posix()
        key = (name, changed_ns)
        if key not in self._summaries:
            try:
                self._summaries[key] = read_summary(path)
            except InputError:
                self._summaries[key] = None
        summary = self._summaries[key]
        finished = datetime.fromtimestamp(changed_ns / 1e9)
        return None if summary is None else ListedRun(name, summary, finished)
