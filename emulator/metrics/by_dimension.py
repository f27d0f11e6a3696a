"""The metrics of a run by every dimension: one tidy table, and the worst value of each dimension."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa

from emulator.metrics.aggregates import Number, Stats
from emulator.metrics.compute import RunMetrics
from scenarios.catalogue.metrics import METRICS

ALL = "all"
"""The dimension of statistics over the whole run."""
COLUMNS = ("metric", "dimension", "value", "statistic", "number")

_RANKED_BY = {
    "quality_ratio_to_full": ("value", min),
    "over_budget_share": ("value", max),
    "update_latency_seconds": ("p95", max),
}
"""Metrics that rank the values of a dimension: the statistic, and whether the least or the most is worst."""
_TRANSIENT = ("pressure", "stage", "budget_decile", "budget_range")
"""Dimensions whose values devices pass through during a run; they are not ranked."""

Row = tuple[str, str, str, str, Number]


def metrics_table(metrics: RunMetrics) -> pa.Table:
    """Return every metric over the whole run and by each dimension: a row per statistic.

    Columns: ``metric``; ``dimension``, ``all`` for the whole run; ``value`` of the dimension, empty for the
    whole run; ``statistic`` (total, share, value, mean, n, min, p50 ... max); ``number``, null without rows.
    """
    rows = [*_rows(metrics)]
    columns = list(zip(*rows, strict=True))
    numbers = [None if number is None else float(number) for number in columns[4]]
    texts = [pa.array(column, pa.string()).dictionary_encode() for column in columns[:4]]
    return pa.table([*texts, pa.array(numbers, pa.float64())], names=COLUMNS)


def _rows(metrics: RunMetrics) -> Iterator[Row]:
    frame = metrics.frame
    for name, metric in METRICS.items():
        aggregate = metrics.aggregate(name)
        yield from _statistics(name, ALL, [""], [aggregate.stats])
        for dimension in (*frame.dimensions, *metric.own):
            yield from _statistics(
                name, dimension, frame.values(dimension), aggregate.split(frame, dimension)
            )


def _statistics(name: str, dimension: str, values: Sequence[str], stats: Iterable[Stats]) -> Iterator[Row]:
    for value, statistics in zip(values, stats, strict=True):
        for statistic, number in statistics.items():
            yield name, dimension, value, statistic, number


def find_worst(metrics: RunMetrics) -> dict[str, dict[str, str | None]]:
    """Return the worst value of each dimension, by each metric in `_RANKED_BY`.

    It is None if fewer than two values have the metric, or all have the same number.
    """
    frame = metrics.frame
    return {
        dimension: {
            metric: _worst(
                frame.values(dimension),
                [stats[statistic] for stats in metrics.aggregate(metric).split(frame, dimension)],
                lowest=choose is min,
            )
            for metric, (statistic, choose) in _RANKED_BY.items()
        }
        for dimension in frame.dimensions
        if dimension not in _TRANSIENT
    }


def _worst(values: Sequence[str], numbers: Sequence[Number], *, lowest: bool) -> str | None:
    number_of: Mapping[str, float] = {
        value: number for value, number in zip(values, numbers, strict=True) if number is not None
    }
    if len(set(number_of.values())) < 2:
        return None
    return (min if lowest else max)(number_of, key=lambda value: number_of[value])
