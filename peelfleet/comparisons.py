"""Comparisons of runs with a baseline: effects, intervals and verdicts."""

import os
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

import pyarrow as pa

from emulator.compare.compare_runs import compare_runs, compare_sets, list_notes
from emulator.compare.descriptions import (
    conclusion,
    headlines,
    list_warnings,
    metric_cells,
    metric_rows,
    title,
    verdict,
)
from emulator.compare.run_sets import Comparison, RunSet, read_run_set, read_runs
from peelfleet.arguments import Name, to_path
from peelfleet.html import html_table
from peelfleet.progress import warn

Side = Name | Iterable[Name]
"""A run directory, a folder of runs, or several of them."""
_NUMBER = pa.float64()
_SCHEMA = pa.schema(
    {
        "baseline": pa.string(),
        "compared": pa.string(),
        "metric": pa.string(),
        "baseline_value": _NUMBER,
        "compared_value": _NUMBER,
        "difference": _NUMBER,
        "relative_difference": _NUMBER,
        "low": _NUMBER,
        "high": _NUMBER,
        "differing_units": pa.int64(),
        "verdict": pa.string(),
        "chance": _NUMBER,
        "enough_seeds": pa.bool_(),
        "unit": pa.string(),
    }
)


class Comparisons:
    """The comparisons of runs with a baseline, one for each other side. `compare` returns them."""

    def __init__(self, comparisons: Sequence[Comparison]) -> None:
        self._comparisons = tuple(comparisons)

    @property
    def table(self) -> pa.Table:
        """A row per side and metric: both values, difference, interval (``low`` to ``high``) and verdict."""
        rows = [row for comparison in self._comparisons for row in metric_rows(comparison)]
        return pa.Table.from_pylist(rows, _SCHEMA)

    @property
    def differs(self) -> bool:
        """True if any metric of any side differs from the baseline, at least in these runs."""
        return any(comparison.differs for comparison in self._comparisons)

    def __str__(self) -> str:
        return "\n\n".join("\n".join(_lines(comparison)) for comparison in self._comparisons)

    def __repr__(self) -> str:
        words = [f"{each.second.name}: {conclusion(each)}" for each in self._comparisons]
        return f"<Comparisons with {self._comparisons[0].first.name}: {'; '.join(words)}>"

    def _repr_html_(self) -> str:
        return "".join(map(_html, self._comparisons))


def compare_sides(sides: Sequence[Side]) -> Comparisons:
    """Compare the runs of each of *sides* with those of the first; of one sweep, its combinations.

    Raises:
        InputError: a side has no run, or no runs can be paired.
    """
    if len(sides) == 1 and isinstance(sides[0], str | os.PathLike):
        found = compare_runs([str(to_path(sides[0]))])
    else:
        found = compare_sets(list(map(_read, sides)))
    for note in list_notes(found):
        warn(note)
    return Comparisons(found)


def _read(side: Side) -> RunSet:
    if isinstance(side, str | os.PathLike):
        return read_run_set(str(to_path(side)))
    paths: list[Path] = list(map(to_path, side))
    return read_runs(",".join(map(str, paths)), paths)


def _lines(comparison: Comparison) -> Iterator[str]:
    """Yield a comparison as lines for people."""
    yield from headlines(comparison)
    yield from list_warnings(comparison)
    yield title(comparison)
    for name, judged in comparison.metrics.items():
        first, second, difference, relative, _ = metric_cells(name, judged)
        yield f"  {name}: {first} -> {second} ({difference}, {relative}): {verdict(name, judged)}"
    yield conclusion(comparison)


def _html(comparison: Comparison) -> str:
    texts = [*headlines(comparison), *list_warnings(comparison), title(comparison)]
    head = ["metric", "baseline", "compared", "difference", "relative", "interval", "verdict"]
    rows = [
        (name, *metric_cells(name, judged), verdict(name, judged))
        for name, judged in comparison.metrics.items()
    ]
    return (
        f"<p>{'<br>'.join(map(escape, texts))}</p>{html_table(head, rows)}"
        f"<p><b>{escape(conclusion(comparison))}</b></p>"
    )
