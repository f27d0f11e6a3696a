"""The metrics of a run by every dimension, as one tidy table, and who fares worst."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa

from emulator.metrics.aggregates import Number, Stats
from emulator.metrics.compute import RunMetrics
from scenarios.catalogue.metrics import METRICS

ALL = "all"
"""The dimension of the figures over the whole run."""
COLUMNS = ("metric", "dimension", "value", "statistic", "number")

_RANKED_BY = {
    "quality_ratio_to_full": ("value", min),
    "over_budget_share": ("value", max),
    "update_latency_seconds": ("p95", max),
}
"""By what the worst of a dimension is found: the statistic, and whether the least or the most is worst."""
_TRANSIENT = ("pressure", "stage", "budget_decile", "budget_range")
"""Dimensions that devices pass through; nobody belongs to one of their values."""

Row = tuple[str, str, str, str, Number]


def metrics_table(measures: RunMetrics) -> pa.Table:
    """Return every metric over the whole run and by each dimension: a row per statistic.

    Columns: ``metric``; ``dimension``, ``all`` for the whole run; ``value`` of the dimension, empty for the
    whole run; ``statistic`` (total, share, value, mean, n, min, p50 ... max); ``number``, null where there is
    nothing to say.
    """
    rows = [*_rows(measures)]
    columns = list(zip(*rows, strict=True))
    numbers = [None if each is None else float(each) for each in columns[4]]
    texts = [pa.array(column, pa.string()).dictionary_encode() for column in columns[:4]]
    return pa.table([*texts, pa.array(numbers, pa.float64())], names=COLUMNS)


def _rows(measures: RunMetrics) -> Iterator[Row]:
    frame = measures.frame
    for name, metric in METRICS.items():
        form = measures.form(name)
        yield from _statistics(name, ALL, [""], [form.stats])
        for dimension in (*frame.dimensions, *metric.own):
            yield from _statistics(name, dimension, frame.words(dimension), form.split(frame, dimension))


def _statistics(name: str, dimension: str, words: Sequence[str], stats: Iterable[Stats]) -> Iterator[Row]:
    for word, each in zip(words, stats, strict=True):
        for statistic, number in each.items():
            yield name, dimension, word, statistic, number


def find_worst(measures: RunMetrics) -> dict[str, dict[str, str | None]]:
    """Return for each dimension that devices belong to which of its values fares worst, and by what.

    None where fewer than two have the metric, or all of them the same.
    """
    frame = measures.frame
    return {
        dimension: {
            metric: _worst(
                frame.words(dimension),
                [each[statistic] for each in measures.form(metric).split(frame, dimension)],
                lowest=choose is min,
            )
            for metric, (statistic, choose) in _RANKED_BY.items()
        }
        for dimension in frame.dimensions
        if dimension not in _TRANSIENT
    }


def _worst(words: Sequence[str], numbers: Sequence[Number], *, lowest: bool) -> str | None:
    found: Mapping[str, float] = {
        word: number for word, number in zip(words, numbers, strict=True) if number is not None
    }
    if len(set(found.values())) < 2:
        return None
    return (min if lowest else max)(found, key=lambda word: found[word])
