"""The difference between the event logs of two runs, row by row.

Rows are paired by what they tell of: a report by its number, all else by its moment and, where a device has
several rows at one moment, by their order. The wall clock is left out, and so is the number of a device's
row: one more row would change all that follow it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from emulator.run_directory.event_log import WALL, Tables
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
"""What a row of a table tells of."""
_ANY_KEY: Final = ("device", "t_ns")
"""The same for a table that is not among them."""

MOST_SAMPLES: Final = 1000
"""No more differences of a table than this are put into words."""
MOST_COLUMNS: Final = 4
"""Nor more columns of a row."""

_OUT: Final = (WALL, "order")
"""Columns that are not compared."""


@dataclass(frozen=True)
class TableDiff:
    """How one table differs."""

    name: str
    equal: int
    """Rows."""
    changed: int
    only_before: int
    only_after: int
    samples: tuple[str, ...]
    """The first differences, in words."""

    @property
    def same(self) -> bool:
        """Whether every row has its equal."""
        return not (self.changed or self.only_before or self.only_after)


def diff_tables(before: Tables, after: Tables, most: int = 5) -> tuple[TableDiff, ...]:
    """Return how the tables that both have differ.

    Args:
        before: the tables of a run, by name.
        after: those of another.
        most: how many differences of a table to put into words.
    """
    return tuple(_diff_table(name, before[name], after[name], most) for name in before if name in after)


def _diff_table(name: str, before: pa.Table, after: pa.Table, most: int) -> TableDiff:
    keys = _KEYS.get(name, _ANY_KEY)
    before, after = _comparable(before), _comparable(after)
    here, there = _places(before, after, keys)
    found, at_before, at_after = np.intersect1d(here, there, assume_unique=True, return_indices=True)
    both = [column for column in before.column_names if column in after.column_names]
    columns = [column for column in both if column not in (*_OUT, *keys)]
    one, other = before.take(pa.array(at_before)), after.take(pa.array(at_after))
    wrong = {column: _unequal(one[column], other[column]) for column in columns}
    changed = np.logical_or.reduce([np.zeros(len(found), dtype=bool), *wrong.values()])
    only = _others(here, at_before), _others(there, at_after)
    told = [
        *_changes(name, one, other, wrong, changed),
        *_lone(name, before, only[0], "only in the first"),
        *_lone(name, after, only[1], "only in the second"),
    ]
    told.sort(key=lambda sample: sample[0])
    counts = int(np.count_nonzero(~changed)), int(np.count_nonzero(changed)), len(only[0]), len(only[1])
    return TableDiff(name, *counts, tuple(text for _, text in told[:most]))


def _comparable(table: pa.Table) -> pa.Table:
    """Return *table* with text in place of lists, maps and words that are numbered."""
    for at, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(at, field.name, table[field.name].cast(pa.string()))
        elif pa.types.is_nested(field.type):
            texts = [None if each is None else str(each) for each in table[field.name].to_pylist()]
            table = table.set_column(at, field.name, pa.array(texts, pa.string()))
    return table


def _places(
    before: pa.Table, after: pa.Table, keys: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a number for each row of both tables: rows of the same number tell of the same thing."""
    group = np.zeros(before.num_rows + after.num_rows, dtype=np.int64)
    for key in keys:
        values = pa.chunked_array([*before[key].chunks, *after[key].chunks], before[key].type)
        if pa.types.is_string(values.type):
            values = pc.rank(values, tiebreaker="dense")
        _, code = np.unique(values.to_numpy(), return_inverse=True)
        _, group = np.unique(group * (code.max(initial=0) + 1) + code, return_inverse=True)
    most = len(group) + 1
    here, there = group[: before.num_rows], group[before.num_rows :]
    return here * most + _nth(here), there * most + _nth(there)


def _others(places: NDArray[np.int64], found: NDArray[np.intp]) -> NDArray[np.int64]:
    """Return which rows are not among those *found*."""
    return np.setdiff1d(np.arange(len(places)), found)


def _nth(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each row how many rows of its group come before it."""
    order = np.argsort(group, kind="stable")
    ordered = group[order]
    first = np.searchsorted(ordered, ordered)
    nth = np.empty(len(group), dtype=np.int64)
    nth[order] = np.arange(len(group)) - first
    return nth


def _unequal(one: pa.ChunkedArray, other: pa.ChunkedArray) -> NDArray[np.bool_]:
    one_null, other_null = pc.is_null(one), pc.is_null(other)
    unequal = pc.fill_null(pc.not_equal(one, other), False)
    found: NDArray[np.bool_] = pc.or_(unequal, pc.xor(one_null, other_null)).to_numpy().astype(bool)
    return found


Sample = tuple[tuple[int, str], str]
"""Where a difference stands among the others, by time and device, and its words."""


def _changes(
    name: str, one: pa.Table, other: pa.Table, wrong: dict[str, NDArray[np.bool_]], changed: NDArray[np.bool_]
) -> Iterator[Sample]:
    for at in _earliest(one, np.flatnonzero(changed)):
        pairs = [
            f"{column} {one[column][at].as_py()} -> {other[column][at].as_py()}"
            for column, unequal in wrong.items()
            if unequal[at]
        ]
        more = [f"and {len(pairs) - MOST_COLUMNS} more"] if len(pairs) > MOST_COLUMNS else []
        yield _sample(name, one, at, ", ".join([*pairs[:MOST_COLUMNS], *more]))


def _lone(name: str, table: pa.Table, places: NDArray[np.int64], words: str) -> Iterator[Sample]:
    for at in _earliest(table, places):
        yield _sample(name, table, at, words)


def _earliest(table: pa.Table, places: NDArray[np.int64]) -> list[int]:
    """Return *places* in the order of time, at most as many as anybody reads."""
    if "t_ns" not in table.column_names:
        return [int(place) for place in places[:MOST_SAMPLES]]
    t_ns = table["t_ns"].to_numpy()[places]
    found: list[int] = places[np.argsort(t_ns, kind="stable")][:MOST_SAMPLES].tolist()
    return found


def _sample(name: str, table: pa.Table, at: int, words: str) -> Sample:
    if "t_ns" not in table.column_names:
        named = " ".join(str(table[key][at]) for key in _KEYS.get(name, _ANY_KEY) if str(table[key][at]))
        return (at, named), f"{name}: {named}: {words}"
    t_ns, device = table["t_ns"][at].as_py(), table["device"][at].as_py()
    seq = f", report {table['seq'][at]}" if "seq" in table.column_names else ""
    return (t_ns, device), f"{name}: {device} at {t_ns / NS_PER_S:g} s{seq}: {words}"
