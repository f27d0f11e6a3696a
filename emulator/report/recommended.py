"""Titles that are recommended to the users of a report's example devices: a file of the run directory.

A run has it only if the items of its data have titles.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from emulator.run_directory.run_tables import damaged
from wire.input_files import decode_json, read_at_most
from wire.output_files import write_atomically

RECOMMENDED: Final = "recommended.json"
_MOST_BYTES: Final = 2**20

Recommender = Callable[[Mapping[str, int]], Mapping[str, Sequence[str]]]
"""From devices, by name with their numbers, to titles that are recommended to their users, best first."""


def write_recommended(folder: Path, titles: Mapping[str, Sequence[str]]) -> None:
    """Write *titles* by device into the run directory *folder*."""
    write_atomically(folder / RECOMMENDED, msgspec.json.format(msgspec.json.encode(titles), indent=1) + b"\n")


def read_recommended(folder: Path) -> Mapping[str, Sequence[str]]:
    """Return the titles by device; nothing if the run has none.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / RECOMMENDED
    try:
        return decode_json(read_at_most(path, _MOST_BYTES), dict[str, tuple[str, ...]])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise damaged(path, str(error)) from None
