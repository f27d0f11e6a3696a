"""The tidy table of a sweep, with a row per run; it does not depend on the speed of the machine.

Columns that differ between two executions of a run (wall-clock times) are in a table of their own.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from emulator.exports.mean_interval import mean_interval
from emulator.report.verdict import list_rules
from emulator.run_directory.layout import read_summary
from emulator.sweep.runs import SweepRun
from scenarios.language.sweep_expansion import TRAINING_SEED
from wire.arrow_input import arrow_input
from wire.errors import InputError
from wire.input_files import open_regular
from wire.output_files import atomic_file, os_error_text

TABLE, WALL = "table", "wall"
VARIANT = "variant"
BROKEN = "thresholds_broken"
_OF_THE_RUN = ("combination", "seed", "run")
_WALL_TOO = frozenset({"reports_sent_again"})
"""Columns that depend on the wall clock, without ``wall`` in their names."""

DEFAULT_METRICS: Final = (
    "ndcg_at_10",
    "quality_regret",
    "over_budget_share",
    "update_bytes",
    "update_latency_seconds.p95",
    "prequential_ndcg_at_10",
)
"""The figures of a sweep that are shown unless others are asked for."""

Scalar = None | bool | int | float | str
Row = Mapping[str, Scalar]


def table_rows(runs: Sequence[SweepRun], folder: Path) -> list[dict[str, Scalar]]:
    """Return a row per run: combination, swept keys, seed, folder, and every scalar of the summary.

    Args:
        runs: finished runs.
        folder: of the sweep.

    Raises:
        InputError: a run directory is damaged.
    """
    return [_row(run, read_summary(folder / run.subfolder)) for run in runs]


def _row(run: SweepRun, summary: Mapping[str, object]) -> dict[str, Scalar]:
    of_run: dict[str, Scalar] = {"combination": run.combination.name, VARIANT: run.combination.variant}
    of_run |= {key: _cell(value) for key, value in run.combination.settings.items()}
    of_run |= {"seed": run.seed, "run": run.subfolder}
    figures = {key: value for key, value in flatten(summary) if key not in of_run}
    return of_run | figures | {BROKEN: len(broken_thresholds(summary))}


def broken_thresholds(summary: Mapping[str, object]) -> list[str]:
    """Return the thresholds of a summary that did not hold, as ``metric: rule``."""
    return [
        f"{rule.get('metric')}: {rule.get('rule')}"
        for rule in list_rules(summary)
        if rule.get("passed") is False
    ]


def flatten(value: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, Scalar]]:
    """Yield every scalar in *value* by its dotted key; lists are left out."""
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

    Columns that differ between two executions of a run are in ``wall.csv`` only.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    logical = [name for name in names if not _is_wall_clock(name)]
    wall = [name for name in names if name in _OF_THE_RUN or _is_wall_clock(name)]
    table = to_table(rows, logical)
    with atomic_file(folder / f"{TABLE}.parquet") as draft, draft.open("wb") as file:
        pq.write_table(table, file, compression="zstd")
    for name, columns in ((WALL, to_table(rows, wall)), (TABLE, table)):
        with atomic_file(folder / f"{name}.csv") as draft, draft.open("wb") as file:
            pc.write_csv(columns, file)
    return folder / f"{TABLE}.csv"


def read_sweep_table(folder: Path) -> pa.Table:
    """Return the table of the sweep in *folder*, a row per run.

    Raises:
        InputError: the folder is no sweep, or the table is damaged.
    """
    path = folder / f"{TABLE}.parquet"
    try:
        with open_regular(path, "the table of a sweep") as file:
            table = pq.ParquetFile(arrow_input(file)).read()
    except (OSError, pa.ArrowException) as error:
        text = os_error_text(error) if isinstance(error, OSError) else str(error).splitlines()[0]
        raise InputError(f"{folder}: no folder of a sweep: {path.name}: {text}") from None
    missing = {*_OF_THE_RUN, BROKEN} - set(table.column_names)
    if missing:
        raise InputError(f"{path}: no table of a sweep: no column {', '.join(sorted(missing))}")
    return table


def _is_wall_clock(name: str) -> bool:
    return name not in _OF_THE_RUN and ("wall" in name or name in _WALL_TOO)


def to_table(rows: Sequence[Row], names: Sequence[str]) -> pa.Table:
    """Return the columns *names* of *rows*; missing values are null."""
    columns = {name: [row.get(name) for row in rows] for name in names}
    return pa.table({name: _column(values) for name, values in columns.items()})


def _column(values: list[Scalar]) -> pa.Array:
    present = [value for value in values if value is not None]
    if all(isinstance(value, bool) for value in present) and present:
        return pa.array(values, pa.bool_())
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in present)
    if numbers and present and all(isinstance(value, int) and abs(value) < 2**63 for value in present):
        return pa.array(values, pa.int64())
    if numbers:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _text(value: Scalar) -> str:
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True)
class SeedStatistics:
    """Statistics of a metric of one variant over its seeds."""

    mean: float | None
    deviation: float | None
    """The standard deviation, between what `seeds_text` says; None for a single seed."""
    ratio: float | None
    """Ratio to the mean of the first variant."""
    half_width: float | None
    """Half the width of the interval of 95 % of the mean, by Student's t; None for a single seed."""
    fleet_seeds: int
    training_seeds: int


def seed_statistics(rows: Sequence[Row], metrics: Sequence[str]) -> dict[str, dict[str, SeedStatistics]]:
    """Return the statistics of *metrics* for each variant, in order.

    With several seeds of training they are over these: the value of one is its mean over seeds of the fleet.

    Raises:
        InputError: a metric has no number in any run.
    """
    _check_metrics(rows, metrics)
    statistics: dict[str, dict[str, SeedStatistics]] = {}
    first: dict[str, float | None] = {}
    for name in dict.fromkeys(map(variant_of, rows)):
        own = [row for row in rows if variant_of(row) == name]
        statistics[name] = {metric: _statistics(own, first, metric) for metric in metrics}
    return statistics


def variant_of(row: Row) -> str:
    """Return the variant of a run; of a table of an older version its combination."""
    return str(row.get(VARIANT) or row["combination"])


def seeds_text(rows: Sequence[Row]) -> str:
    """Name, in words, the seeds of a mean and of a standard deviation."""
    fleet = len({row["seed"] for row in rows})
    trainings = len({row.get(TRAINING_SEED) for row in rows})
    of_the_fleet = f"{fleet} seeds of the fleet" if fleet > 1 else "one seed of the fleet"
    if trainings > 1:
        return f"{trainings} trainings, each with {of_the_fleet}"
    return f"{of_the_fleet}, one training"


def shown_metrics(rows: Sequence[Row]) -> list[str]:
    """Return those of `DEFAULT_METRICS` that some run has."""
    return [name for name in DEFAULT_METRICS if any(row.get(name) is not None for row in rows)]


def _statistics(rows: Sequence[Row], first: dict[str, float | None], metric: str) -> SeedStatistics:
    by_training: dict[Scalar, list[float]] = {}
    seeds = set()
    for row in rows:
        value = row.get(metric)
        if isinstance(value, int | float):
            by_training.setdefault(row.get(TRAINING_SEED), []).append(float(value))
            seeds.add(row["seed"])
    values = [math.fsum(numbers) / len(numbers) for numbers in by_training.values()]
    mean = math.fsum(values) / len(values) if values else None
    base = first.setdefault(metric, mean)
    ratio = mean / base if mean is not None and base else None
    if len(by_training) == 1:
        (values,) = by_training.values()
    spread = mean_interval(values) if len(values) > 1 else None
    return SeedStatistics(
        mean,
        None if spread is None else spread.deviation,
        ratio,
        None if spread is None else spread.half_width,
        len(seeds),
        len(by_training),
    )


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
