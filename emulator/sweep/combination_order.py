"""The order of the combinations of a sweep; the others are compared with the first."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from wire.errors import InputError
from wire.input_files import decode_json, read_at_most
from wire.output_files import write_atomically

ORDER: Final = "combinations.json"
"""File with the names of the combinations in the order of the scenario."""
TABLE: Final = "table.csv"
MOST_BYTES: Final = 2**28
"""Largest accepted size of either file."""


def write_order(names: Sequence[str], folder: Path) -> None:
    """Write the combinations *names* in their order, before those of earlier sweeps into *folder*.

    Raises:
        InputError: it cannot be written.
    """
    order = list(dict.fromkeys([*names, *read_order(folder)]))
    try:
        write_atomically(folder / ORDER, msgspec.json.format(msgspec.json.encode(order), indent=1) + b"\n")
    except OSError as error:
        raise InputError(f"{folder / ORDER}: cannot be written: {error.strerror}") from None


def read_order(folder: Path) -> Sequence[str]:
    """Return the combinations of the sweep folder *folder* in their order; empty if it is not known."""
    try:
        return decode_json(read_at_most(folder / ORDER, MOST_BYTES), list[str])
    except (OSError, InputError, ValueError):
        return _order_of_table(folder / TABLE)


def _order_of_table(file: Path) -> Sequence[str]:
    """Return the combinations in the order of a sweep's table, for a sweep of an older version."""
    try:
        lines = io.StringIO(read_at_most(file, MOST_BYTES).decode(), newline="")
        rows = csv.DictReader(lines)
        return list(dict.fromkeys(row["combination"] for row in rows if row.get("combination")))
    except (OSError, InputError, UnicodeDecodeError, csv.Error):
        return []
