"""Deeds: commands to a run in real time that took effect; the run directory has each with its moment."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from emulator.live.live_folder import LiveCommand
from wire.errors import InputError
from wire.input_files import decode_json, read_at_most
from wire.output_files import write_atomically
from wire.units import NS_PER_S

DEEDS: Final = "deeds.json"
MOST_BYTES: Final = 2**26


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """A command that was carried out."""

    number: int
    at_s: float
    """Seconds since 1970."""
    at_ns: int
    """Simulated time."""
    command: LiveCommand

    def new_speed(self, before: float) -> float | None:
        """Return the speed of time from now on; None if the deed is about something else.

        Args:
            before: the speed at last, pauses left out.
        """
        match self.command.kind:
            case "pause":
                return 0.0
            case "resume":
                return before
            case "speed":
                return self.command.speed
        return None


def deed_text(deed: Deed) -> str:
    """Return a deed in words: ``12.5 s: squeeze group phone to 30 % of its budget``."""
    return f"{deed.at_ns / NS_PER_S:,.1f} s: {_command_text(deed.command)}"


def write_deeds(path: Path, deeds: Sequence[Deed]) -> None:
    """Replace the file of deeds."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(deeds), indent=1) + b"\n")


def read_deeds(path: Path) -> list[Deed]:
    """Return the deeds in a file; none without one.

    Raises:
        InputError: the file is damaged.
    """
    try:
        return decode_json(read_at_most(path, MOST_BYTES, "the deeds of a run"), list[Deed])
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the run directory is damaged: {error}") from None


def _command_text(command: LiveCommand) -> str:
    devices = f"group {command.group}" if command.group else command.device or "all devices"
    match command.kind:
        case "speed":
            return f"speed {command.speed:g}"
        case "squeeze":
            share = 100 * (command.share or 0.0)
            return f"squeeze {devices} to {share:g} % of the budget"
        case "cut_off":
            return f"cut off {devices} for {command.seconds:g} s"
    return command.kind
