"""The difference between the event logs of two runs, row by row.

A report is paired by its number, any other row by its device and time, and rows of equal device and time by
their order. Wall-clock columns are not compared, nor is the running number of a device's rows: one more row
would change all rows after it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from devices.event_log import WALL
from emulator.run_directory.run_tables import Tables
from wire.units import NS_PER_S

_KEYS: Final = {
    "budget": ("device", "t_ns"),
    "update": ("device", "seq"),
    "quality": ("device", "t_ns"),
    "connection": ("device", "t_ns"),
    "fault": ("device", "t_ns", "seq", "harm"),
    "rollout": ("device", "step"),
    "devices": ("device",),
    "metrics": ("metric", "dimension", "value", "statistic"),
}
"""Columns that identify a row of each table."""
_ANY_KEY: Final = ("device", "t_ns")
"""The same for any other table."""

MAX_COLUMNS: Final = 4
"""Largest number of columns of a row that are written as text."""

_OUT: Final = (WALL, "order")
"""Columns that are not compared."""


Sample = tuple[tuple[int, str], str]
"""A difference: time and device, by which it is sorted, and its text."""


@dataclass(frozen=True)
class TableDiff:
    """Differences of one table."""

    name: str
    equal: int
    """Number of equal rows; the next three are numbers of rows, too."""
    changed: int
    only_before: int
    only_after: int
    first: tuple[Sample, ...] = field(repr=False)
    """The first differences."""

    @property
    def same(self) -> bool:
        """True if all rows are equal."""
        return not (self.changed or self.only_before or self.only_after)

    @property
    def samples(self) -> tuple[str, ...]:
        """The first differences as text."""
        return tuple(text for _, text in self.first)

    def merged(self, other: "TableDiff", most: int) -> "TableDiff":
        """Return the differences of the rows of both, which are of different devices; *most* as text."""
        return TableDiff(
            self.name,
            self.equal + other.equal,
            self.changed + other.changed,
            self.only_before + other.only_before,
            self.only_after + other.only_after,
            _first((*self.first, *other.first), most),
        )


def _first(samples: Iterable[Sample], most: int) -> tuple[Sample, ...]:
    return tuple(sorted(samples, key=lambda sample: sample[0])[:most])


def diff_tables(before: Tables, after: Tables, most: int = 5) -> tuple[TableDiff, ...]:
    """Return the differences of the tables that both runs have.

    Args:
        before: the tables of a run, by name.
        after: those of another.
        most: number of differences of a table that are written as text.
    """
    return tuple(_diff_table(name, before[name], after[name], most) for name in before if name in after)


def _diff_table(name: str, before: pa.Table, after: pa.Table, most: int) -> TableDiff:
    keys = _KEYS.get(name, _ANY_KEY)
    before, after = _comparable(before), _comparable(after)
    first, second = _row_ids(before, after, keys)
    common, at_before, at_after = np.intersect1d(first, second, assume_unique=True, return_indices=True)
    both = [column for column in before.column_names if column in after.column_names]
    columns = [column for column in both if column not in (*_OUT, *keys)]
    one, other = before.take(pa.array(at_before)), after.take(pa.array(at_after))
    wrong = {column: _unequal(one[column], other[column]) for column in columns}
    changed = np.logical_or.reduce([np.zeros(len(common), dtype=bool), *wrong.values()])
    only = _others(first, at_before), _others(second, at_after)
    samples = (
        *_changes(name, one, other, wrong, _earliest(one, np.flatnonzero(changed), most)),
        *_unpaired(name, before, _earliest(before, only[0], most), "only in the first"),
        *_unpaired(name, after, _earliest(after, only[1], most), "only in the second"),
    )
    counts = int(np.count_nonzero(~changed)), int(np.count_nonzero(changed)), len(only[0]), len(only[1])
    return TableDiff(name, *counts, _first(samples, most))


def _comparable(table: pa.Table) -> pa.Table:
    """Return *table* with text in place of lists, maps and encoded labels."""
    for at, (name, kind) in enumerate(zip(table.column_names, table.schema.types, strict=True)):
        if pa.types.is_dictionary(kind):
            table = table.set_column(at, name, table[name].cast(pa.string()))
        elif pa.types.is_nested(kind):
            texts = [None if value is None else str(value) for value in table[name].to_pylist()]
            table = table.set_column(at, name, pa.array(texts, pa.string()))
    return table


def _row_ids(
    before: pa.Table, after: pa.Table, keys: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return an id for each row of both tables: rows with the same id are a pair."""
    group = np.zeros(before.num_rows + after.num_rows, dtype=np.int64)
    for key in keys:
        values = pa.chunked_array([*before[key].chunks, *after[key].chunks], before[key].type)
        if pa.types.is_string(values.type):
            values = pc.rank(values, tiebreaker="dense")
        _, code = np.unique(values.to_numpy(), return_inverse=True)
        _, group = np.unique(group * (code.max(initial=0) + 1) + code, return_inverse=True)
    size = len(group) + 1
    first, second = group[: before.num_rows], group[before.num_rows :]
    return first * size + _nth(first), second * size + _nth(second)


def _others(ids: NDArray[np.int64], common: NDArray[np.intp]) -> NDArray[np.int64]:
    """Return the rows that are not in *common*."""
    return np.setdiff1d(np.arange(len(ids)), common)


def _nth(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each row the number of rows of its group before it."""
    order = np.argsort(group, kind="stable")
    ordered = group[order]
    first = np.searchsorted(ordered, ordered)
    nth = np.empty(len(group), dtype=np.int64)
    nth[order] = np.arange(len(group)) - first
    return nth


def _unequal(one: pa.ChunkedArray, other: pa.ChunkedArray) -> NDArray[np.bool_]:
    one_null, other_null = pc.is_null(one), pc.is_null(other)
    unequal = pc.fill_null(pc.not_equal(one, other), False)
    mask: NDArray[np.bool_] = pc.or_(unequal, pc.xor(one_null, other_null)).to_numpy().astype(bool)
    return mask


def _changes(
    name: str, one: pa.Table, other: pa.Table, wrong: Mapping[str, NDArray[np.bool_]], rows: Sequence[int]
) -> Iterator[Sample]:
    for row in rows:
        pairs = [
            f"{column} {one[column][row].as_py()} -> {other[column][row].as_py()}"
            for column, unequal in wrong.items()
            if unequal[row]
        ]
        more = [f"and {len(pairs) - MAX_COLUMNS} more"] if len(pairs) > MAX_COLUMNS else []
        yield _sample(name, one, row, ", ".join([*pairs[:MAX_COLUMNS], *more]))


def _unpaired(name: str, table: pa.Table, rows: Sequence[int], text: str) -> Iterator[Sample]:
    for row in rows:
        yield _sample(name, table, row, text)


def _earliest(table: pa.Table, rows: NDArray[np.int64], most: int) -> list[int]:
    """Return the first of *rows*, at *most* so many, in the order of samples."""
    keys = [(key, "ascending") for key in ("t_ns", "device") if key in table.column_names]
    if keys:
        rows = rows[pc.sort_indices(table.select([key for key, _ in keys]).take(pa.array(rows)), keys)]
    earliest: list[int] = rows[:most].tolist()
    return earliest


def _sample(name: str, table: pa.Table, row: int, text: str) -> Sample:
    if "t_ns" not in table.column_names:
        named = " ".join(str(table[key][row]) for key in _KEYS.get(name, _ANY_KEY) if str(table[key][row]))
        return (0 if "device" in table.column_names else row, named), f"{name}: {named}: {text}"
    t_ns, device = table["t_ns"][row].as_py(), table["device"][row].as_py()
    seq = f", report {table['seq'][row]}" if "seq" in table.column_names else ""
    return (t_ns, device), f"{name}: {device} at {t_ns / NS_PER_S:g} s{seq}: {text}"
