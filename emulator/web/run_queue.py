"""Runs that a page has started: each is a process of its own, one after the other."""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from scenarios.language.load import check_readable, dump, parse, shipped, with_files_beside
from scenarios.language.scenario import Scenario
from wire.errors import InputError
from wire.plugins.installed import child_environment

TAIL_CHARACTERS: Final = 2_000
_HAS_RESULTS: Final = (0, 99)


@dataclass
class StartedRun:
    """A run that a page has started."""

    number: int
    title: str
    folder: Path
    """Folder of its scenario and its output."""
    process: "subprocess.Popen[bytes] | None" = None
    """None as long as it waits for runs before it."""
    arguments: Sequence[str] = field(default=(), repr=False)

    @property
    def has_ended(self) -> bool:
        """True if its process has ended."""
        return self.process is not None and self.process.poll() is not None

    def run_name(self) -> str | None:
        """Return the name of its run directory, if it has ended with results."""
        if not self.has_ended or self.process is None or self.process.returncode not in _HAS_RESULTS:
            return None
        told = json.loads((self.folder / "out.json").read_bytes())
        return Path(told["run_directory"]).name

    def failure(self) -> str | None:
        """Return the last words of a run that has ended without results; None for any other one."""
        if not self.has_ended or self.run_name() is not None:
            return None
        words = (self.folder / "log.txt").read_text(errors="replace")[-TAIL_CHARACTERS:].strip().splitlines()
        return words[-1] if words else "it said nothing"


class RunQueue:
    """Starts runs one after the other. They go on when this program ends; those that wait are forgotten.

    Args:
        out: the folder for run directories.
        options: more options of ``peelfleet run``.
    """

    def __init__(self, out: Path, options: Sequence[str] = ()) -> None:
        self.started: list[StartedRun] = []
        self._out = out
        self._options = tuple(options)
        self._numbers = itertools.count(1)
        self._waiting: SimpleQueue[StartedRun] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def start(self, scenario: Scenario) -> StartedRun:
        """Start a run, or let it wait for those before it."""
        folder = Path(tempfile.mkdtemp(prefix="peelfleet-started-"))
        file = folder / f"{scenario.name}.yaml"
        file.write_text(dump(scenario), encoding="utf-8")
        arguments = [
            "run",
            str(file),
            "--watched",
            "--json",
            "--out",
            str(self._out.resolve()),
            *self._options,
        ]
        with self._lock:
            begun = StartedRun(next(self._numbers), scenario.name, folder, arguments=arguments)
            self.started.append(begun)
            self._waiting.put(begun)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="runs", daemon=True)
                self._thread.start()
        return begun

    def find(self, number: int) -> StartedRun:
        """Return a run by its number.

        Raises:
            InputError: there is none.
        """
        for begun in self.started:
            if begun.number == number:
                return begun
        raise InputError(f"started(={number}) is no run that this server has started")

    def ahead_of(self, begun: StartedRun) -> int:
        """Return the number of runs that must end before this one begins."""
        return sum(not other.has_ended for other in self.started if other.number < begun.number)

    def under_way(self) -> int:
        """Return the number of runs that have begun and not ended."""
        return sum(begun.process is not None and not begun.has_ended for begun in self.started)

    def _work(self) -> None:
        while True:
            begun = self._waiting.get()
            with (begun.folder / "out.json").open("wb") as out, (begun.folder / "log.txt").open("wb") as log:
                begun.process = subprocess.Popen(
                    [sys.executable, "-m", "emulator.cli", *begun.arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=log,
                    env=child_environment(),
                    start_new_session=os.name == "posix",  # Ctrl-C ends the server, not the run
                )
            begun.process.wait()


def read_typed(text: str, based_on: str, changes: Mapping[str, str]) -> Scenario:
    """Return the scenario that somebody has typed.

    Args:
        text: YAML.
        based_on: the name of the shipped scenario that it came from, whose files it may name; or empty.
        changes: values by key, as after ``--set``; empty ones are left out.

    Raises:
        InputError: it is no valid scenario; the text names the line where there is one.
    """
    overrides = [f"{key}={value}" for key, value in changes.items() if value.strip()]
    scenario = parse(text.replace("\r\n", "\n"), "scenario", overrides)
    folders = {path.stem: path.parent for path in shipped()}
    scenario = with_files_beside(scenario, folders.get(based_on, Path()))
    check_readable(scenario, "scenario")
    return scenario
