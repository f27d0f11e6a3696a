"""The tidy table of a sweep: a row per run; the same bytes whatever the machine's speed and the jobs.

What differs from one execution of a run to the next (the wall clock) is in a table of its own.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from emulator.run_directory.layout import read_summary
from emulator.sweep.runs import SweepRun
from wire.errors import InputError
from wire.output_files import atomic_file

TABLE, WALL = "table", "wall"
BROKEN = "thresholds_broken"
_OF_THE_RUN = ("combination", "seed", "run")
_WALL_TOO = frozenset({"reports_sent_again"})
"""Columns that depend on the wall clock without saying so."""

Scalar = None | bool | int | float | str
Row = Mapping[str, Scalar]


def table_rows(runs: Sequence[SweepRun], folder: Path) -> list[dict[str, Scalar]]:
    """Return a row per run: combination, swept keys, seed, run folder, every scalar of the summary.

    Args:
        runs: finished ones.
        folder: of the sweep.

    Raises:
        InputError: a run directory is damaged.
    """
    return [_row(each, read_summary(folder / each.place)) for each in runs]


def _row(run: SweepRun, summary: Mapping[str, object]) -> dict[str, Scalar]:
    of_run: dict[str, Scalar] = {"combination": run.combination.name}
    of_run |= {key: _cell(value) for key, value in run.combination.settings.items()}
    of_run |= {"seed": run.seed, "run": run.place}
    figures = {key: value for key, value in flatten(summary) if key not in of_run}
    return of_run | figures | {BROKEN: len(broken_thresholds(summary))}


def broken_thresholds(summary: Mapping[str, object]) -> list[str]:
    """Return the thresholds of a summary that did not hold, as ``metric: rule``."""
    found = summary.get("thresholds")
    entries = found if isinstance(found, list) else []
    return [f"{each.get('metric')}: {each.get('rule')}" for each in entries if each.get("passed") is False]


def flatten(value: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, Scalar]]:
    """Yield every scalar in *value*, with dots in the names of inner ones; lists are left out."""
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from flatten(inner, f"{prefix}{key}.")
        elif inner is None or isinstance(inner, bool | int | float | str):
            yield f"{prefix}{key}", inner


def _cell(value: object) -> Scalar:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return json.dumps(value, ensure_ascii=False)


def write_tables(rows: Sequence[Row], folder: Path) -> Path:
    """Write *rows* as ``table.csv`` and ``table.parquet``; return the first.

    Figures that one execution of a run does not share with the next are in ``wall.csv`` only.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    lasting = [name for name in names if not _on_the_wall(name)]
    passing = [name for name in names if name in _OF_THE_RUN or _on_the_wall(name)]
    table = to_table(rows, lasting)
    with atomic_file(folder / f"{TABLE}.parquet") as draft, draft.open("wb") as file:
        pq.write_table(table, file, compression="zstd")
    for name, columns in ((WALL, to_table(rows, passing)), (TABLE, table)):
        with atomic_file(folder / f"{name}.csv") as draft, draft.open("wb") as file:
            pc.write_csv(columns, file)
    return folder / f"{TABLE}.csv"


def _on_the_wall(name: str) -> bool:
    return name not in _OF_THE_RUN and ("wall" in name or name in _WALL_TOO)


def to_table(rows: Sequence[Row], names: Sequence[str]) -> pa.Table:
    """Return the columns *names* of *rows*; what a row lacks is null."""
    columns = {name: [row.get(name) for row in rows] for name in names}
    return pa.table({name: _column(values) for name, values in columns.items()})


def _column(values: list[Scalar]) -> pa.Array:
    there = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in there) and there:
        return pa.array(values, pa.bool_())
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in there)
    if numbers and there and all(isinstance(value, int) and abs(value) < 2**63 for value in there):
        return pa.array(values, pa.int64())
    if numbers:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else _words(value) for value in values], pa.string())


def _words(value: Scalar) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True)
class SeedStatistics:
    """A metric of one combination over its seeds."""

    mean: float | None
    deviation: float | None
    """The standard deviation between seeds; None for a single one."""
    ratio: float | None
    """To the mean of the first combination."""


def seed_statistics(rows: Sequence[Row], metrics: Sequence[str]) -> dict[str, dict[str, SeedStatistics]]:
    """Return the *metrics* of each combination, combinations in order.

    Raises:
        InputError: a metric is no number of any run.
    """
    _check_metrics(rows, metrics)
    found: dict[str, dict[str, SeedStatistics]] = {}
    first: dict[str, float | None] = {}
    for name in dict.fromkeys(str(row["combination"]) for row in rows):
        own = [row for row in rows if row["combination"] == name]
        found[name] = {metric: _figure([row.get(metric) for row in own], first, metric) for metric in metrics}
    return found


def _figure(values: Sequence[Scalar], first: dict[str, float | None], metric: str) -> SeedStatistics:
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    mean = math.fsum(numbers) / len(numbers) if numbers else None
    base = first.setdefault(metric, mean)
    ratio = mean / base if mean is not None and base else None
    if mean is None or len(numbers) < 2:
        return SeedStatistics(mean, None, ratio)
    square = math.fsum((number - mean) ** 2 for number in numbers) / (len(numbers) - 1)
    return SeedStatistics(mean, math.sqrt(square), ratio)


def _check_metrics(rows: Sequence[Row], metrics: Sequence[str]) -> None:
    known = dict.fromkeys(
        name
        for row in rows
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    )
    for metric in metrics:
        if metric not in known:
            raise InputError(f"metric(={metric!r}) must be a figure of summary.json: {', '.join(known)}")
