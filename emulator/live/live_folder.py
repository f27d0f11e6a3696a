"""The folder through which a run and its watchers talk: the state that the run writes, and commands to it.

It lies in the run directory as long as the run lasts. Files need no connection: a page of a server that was
killed, and of one that is started later, finds the run again.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import msgspec

from wire.errors import InputError

LIVE: Final = ".live"
"""Name of the folder in the run directory."""
_STATE, _COMMANDS, _PAUSED = "state.json", "commands", "paused"
MOST_BYTES: Final = 4 * 2**20
MOST_COMMANDS: Final = 1000
"""Commands that may wait at once; a run takes them several times a second."""

Kind = Literal["pause", "resume", "speed", "squeeze", "cut_off", "stop"]
SpanKind = Literal["stage", "fault", "action"]


class LiveCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A command to a run."""

    kind: Kind
    speed: float | None = None
    """Simulated seconds in a second, for ``speed``."""
    share: float | None = None
    """The share of its budget that a device keeps, for ``squeeze``; 1 ends an earlier squeeze."""
    seconds: float | None = None
    """Simulated seconds without a connection, for ``cut_off``."""
    group: str | None = None
    """The group of devices; None with no device: all devices."""
    device: str | None = None

    def __post_init__(self) -> None:
        for name, kind, least, most in (
            ("speed", "speed", 0.01, 10_000.0),
            ("share", "squeeze", 0.0, 10.0),
            ("seconds", "cut_off", 0.001, 1e9),
        ):
            value = getattr(self, name)
            if self.kind == kind and (value is None or not least <= value <= most):
                raise ValueError(f"{name}(={value}) must be a number from {least:g} to {most:g}")
            if self.kind != kind and value is not None:
                raise ValueError(f"{name}(={value}) must be left out: it does not belong to {self.kind}")
        if self.group is not None and self.device is not None:
            raise ValueError(f"group(={self.group!r}) must be left out where a device is named")

    @property
    def is_of_devices(self) -> bool:
        """True if it is about devices, not about the run."""
        return self.kind in ("squeeze", "cut_off")


class LiveSpan(msgspec.Struct, frozen=True):
    """A stage, a fault or an action of the scenario."""

    kind: SpanKind
    name: str
    start_s: float
    end_s: float


class LiveState(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a page shows of a run; replaced about once a second."""

    scenario: str
    clock: str
    pid: int
    phase: str
    """The part of the run: its training, its simulation, its tables."""
    note: str
    progress: float
    """Share of the phase that is done."""
    t_s: float
    """Simulated time, in seconds."""
    stop_s: float
    devices: int
    """Devices of the fleet."""
    shown_devices: int
    """Devices that the figures cover."""
    by_ranges: bool
    """True where one range of devices is simulated after the other: figures are those of the whole time."""
    is_paused: bool
    speed: float | None
    """Simulated seconds in a second; None: as fast as possible."""
    can_steer: bool
    """True in real time: speed, squeezes and cut-offs are taken, too."""
    groups: Sequence[Sequence[object]]
    """By group: name, devices, online, budget, bytes held, over budget, share of the best quality."""
    columns: Mapping[str, Sequence[float | None]]
    """Figures over simulated time; ``t_s`` has the times."""
    spans: Sequence[LiveSpan]
    deeds: Sequence[str]
    """Deeds of those who watch, in words."""
    refusal: str = ""
    """The reason why the last command was refused."""
    error: str | None = None
    """The reason, if the run has failed or was stopped."""


class LiveFolder:
    """The folder of one run.

    Args:
        run: the run directory.
    """

    def __init__(self, run: Path) -> None:
        self.path = run / LIVE
        self.ranges = self.path / "ranges"
        """For the ranges of a fleet that are simulated one after the other."""

    def create(self) -> None:
        """Make the folder."""
        (self.path / _COMMANDS).mkdir(parents=True)
        self.ranges.mkdir()

    def remove(self) -> None:
        """Remove the folder: the run is over, and its results are there."""
        shutil.rmtree(self.path, ignore_errors=True)

    def write_state(self, state: LiveState) -> None:
        """Replace the state."""
        replace_file(self.path / _STATE, msgspec.json.encode(state))

    def read_state(self) -> tuple[bytes, float]:
        """Return the state as JSON, and when it was written, in seconds since 1970.

        Raises:
            OSError: there is none.
        """
        with (self.path / _STATE).open("rb") as file:
            return file.read(MOST_BYTES), os.fstat(file.fileno()).st_mtime

    def send(self, command: LiveCommand) -> None:
        """Leave a command for the run.

        Raises:
            InputError: the run has ended, or takes no commands any more.
        """
        folder = self.path / _COMMANDS
        try:
            numbers = [int(file.stem) for file in folder.iterdir() if file.stem.isdecimal()]
            if len(numbers) >= MOST_COMMANDS:
                raise InputError(f"the run does not take its commands: {len(numbers)} wait")
            # Two pages may send at once: the name of one of them exists then.
            for number in range(max(numbers, default=0) + 1, max(numbers, default=0) + MOST_COMMANDS):
                with suppress(FileExistsError):
                    self._leave(folder / f"{number:09d}.json", msgspec.json.encode(command))
                    return
        except OSError as error:
            raise InputError(f"the run has ended: {error.strerror}") from None

    def take(self) -> Iterator[LiveCommand]:
        """Yield the commands that wait, and remove them."""
        with suppress(OSError):
            for file in sorted((self.path / _COMMANDS).glob("*.json")):
                content = file.read_bytes()
                file.unlink()
                with suppress(msgspec.DecodeError):
                    yield msgspec.json.decode(content, type=LiveCommand)

    @property
    def is_paused(self) -> bool:
        """True while the simulation is to wait."""
        return (self.path / _PAUSED).exists()

    def set_paused(self, paused: bool) -> None:
        """Let the simulation wait, or go on."""
        if paused:
            (self.path / _PAUSED).touch()
        else:
            (self.path / _PAUSED).unlink(missing_ok=True)

    @staticmethod
    def _leave(path: Path, content: bytes) -> None:
        """Write a file that does not exist yet, in one step."""
        handle, name = tempfile.mkstemp(dir=path.parent.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        try:
            os.link(name, path)
        finally:
            os.unlink(name)


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file in one step; a power cut may leave the old one, which does not matter here."""
    draft = path.with_name(f".{path.name}-{os.getpid()}")
    draft.write_bytes(content)
    draft.replace(path)
