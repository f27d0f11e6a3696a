"""The metrics of a run by every dimension: one tidy table, and the worst value of each dimension."""

from collections.abc import Iterator, Mapping

import pyarrow as pa

from emulator.metrics.compute import RunMetrics
from emulator.metrics.slices import TRANSIENT
from emulator.metrics.sums import Number, Stats
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
    for name in (*METRICS, *metrics.timeline.more_metrics):
        metric = METRICS[name]
        yield from _statistics(name, ALL, {"": metrics.stats(name)})
        for dimension in metrics.slices.dimensions_of(metric):
            yield from _statistics(name, dimension, metrics.split(name, dimension))


def _statistics(name: str, dimension: str, by_value: Mapping[str, Stats]) -> Iterator[Row]:
    for value, statistics in by_value.items():
        for statistic, number in statistics.items():
            yield name, dimension, value, statistic, number


def find_worst(metrics: RunMetrics) -> dict[str, dict[str, str | None]]:
    """Return the worst value of each dimension, by each metric in `_RANKED_BY`.

    It is None if fewer than two values have the metric, or all have the same number.
    """
    return {
        dimension: {
            metric: _worst(
                {value: stats[statistic] for value, stats in metrics.split(metric, dimension).items()},
                lowest=choose is min,
            )
            for metric, (statistic, choose) in _RANKED_BY.items()
        }
        for dimension in metrics.slices.dimensions
        if dimension not in TRANSIENT
    }


def _worst(numbers: Mapping[str, Number], *, lowest: bool) -> str | None:
    number_of = {value: number for value, number in numbers.items() if number is not None}
    if len(set(number_of.values())) < 2:
        return None
    return (min if lowest else max)(number_of, key=lambda value: number_of[value])
