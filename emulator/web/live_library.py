"""The runs below a folder that are under way, or have ended without results."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from emulator.live.live_folder import LIVE, LiveFolder, LiveState
from emulator.run_directory.layout import PARTIAL, SUMMARY
from wire.errors import InputError

SILENT_AFTER_S: Final = 8.0
"""A run writes its state each second; one that does not for so long was killed, or its machine is asleep."""


@dataclass(frozen=True)
class RunningRun:
    """A run that has no results yet."""

    name: str
    status: str
    """``running``, ``failed`` or ``silent``."""
    state: LiveState


class LiveLibrary:
    """The runs under way below a folder.

    Args:
        folder: it need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def running(self) -> list[RunningRun]:
        """Return the runs under way, and those that have failed while they were watched, the newest first."""
        found = []
        for path in self.folder.glob(f"*{PARTIAL}/{LIVE}"):
            try:
                content, written_s = LiveFolder(path.parent).read_state()
                state = msgspec.json.decode(content, type=LiveState)
            except (OSError, msgspec.DecodeError):
                continue  # it has ended meanwhile
            name = path.parent.name.removesuffix(PARTIAL)
            found.append((written_s, RunningRun(name, status_of(state.error, written_s), state)))
        return [run for _, run in sorted(found, key=lambda pair: pair[0], reverse=True)]

    def live_folder(self, name: str) -> LiveFolder:
        """Return the folder of the run *name*, which need not exist.

        Raises:
            InputError: it is no name of a run.
        """
        if Path(name).name != name or name.startswith("."):
            raise InputError(f"run(={name!r}) is not below {self.folder}")
        return LiveFolder(self.folder / f"{name}{PARTIAL}")

    def time_of(self, name: str) -> float:
        """Return the end of the figures of a run under way: the simulated time reached, in seconds.

        Raises:
            InputError: there is no such run.
        """
        try:
            state = msgspec.json.decode(self.live_folder(name).read_state()[0], type=LiveState)
        except OSError:
            raise InputError(f"run(={name!r}) is not under way, or nobody watches it") from None
        return state.stop_s if state.by_ranges else state.t_s

    def message(self, name: str) -> bytes:
        """Return the message for a page about the run *name*: its status, and its state if there is one."""
        try:
            content, written_s = self.live_folder(name).read_state()
        except OSError:
            status = "finished" if (self.folder / name / SUMMARY).is_file() else "gone"
            return b'{"status":"%s"}' % status.encode()
        # The state is passed on as it is: only its error is looked at.
        error = msgspec.json.decode(content, type=_StateError).error
        status = status_of(error, written_s)
        return b'{"status":"%s","state":%s}' % (status.encode(), content)


class _StateError(msgspec.Struct):
    error: str | None = None


def status_of(error: str | None, written_s: float) -> str:
    """Return the status of a run: running, silent or failed, by its error and the time of its last word."""
    if error is not None:
        return "failed"
    return "running" if time.time() - written_s < SILENT_AFTER_S else "silent"
