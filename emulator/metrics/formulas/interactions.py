"""Metrics of interactions: how well the items that users met were ranked before, and what that cost."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from devices.event_log import InteractionEvent
from emulator.metrics.aggregates import Aggregate, Counter, Largest, Ratio, Trend, WeightedSum
from emulator.metrics.frame import RowSet
from emulator.metrics.inputs import MetricInputs
from emulator.metrics.row_index import Columns, IntArray
from scenarios.catalogue.visit_classes import AGES, KNOWN
from wire.units import NS_PER_S

Values = NDArray[Any]  # Any: whole numbers or floats


def _visits(inputs: MetricInputs) -> tuple[RowSet, Columns]:
    """Return the visits with their own dimensions."""
    rows, of = inputs.rows("interaction", newcomer="newcomer")
    mask = of["event"] == InteractionEvent.VISIT
    age_s = of["age_ns"][mask] // NS_PER_S
    ages = np.where(age_s < 0, -1, _class(age_s, AGES))
    known = _class(of["known"][mask].astype(np.int64), KNOWN)
    visits = rows.select(mask, age=ages, known=known)
    return visits, {name: values[mask] for name, values in of.items()}


def _class(values: IntArray, ends: Mapping[str, int]) -> IntArray:
    """Return the class of each value: those below the first end are 0."""
    return np.searchsorted(np.array([*ends.values()]), values, side="right").astype(np.int64)


def _count(inputs: MetricInputs) -> Counter:
    rows, of = _visits(inputs)
    return Counter(rows, np.ones(len(of["t_ns"]), dtype=np.int64))


def _items(inputs: MetricInputs) -> Counter:
    rows, of = _visits(inputs)
    return Counter(rows, of["items"].astype(np.int64))


def _mean(column: str, inputs: MetricInputs) -> Ratio:
    rows, of = _visits(inputs)
    return Ratio(WeightedSum(rows, of[column]), WeightedSum(rows, np.ones(len(of["t_ns"]), dtype=np.bool_)))


def _of_cloud(inputs: MetricInputs) -> Ratio:
    rows, of = _visits(inputs)
    return Ratio(WeightedSum(rows, of["ndcg_at_10"]), WeightedSum(rows, of["cloud_ndcg_at_10"]))


def _exchanges(inputs: MetricInputs) -> Counter:
    rows, of = inputs.rows("interaction")
    return Counter(rows, (of["event"] == InteractionEvent.EXCHANGE).astype(np.int64))


def _bytes(column: str, inputs: MetricInputs) -> Counter:
    rows, of = inputs.rows("interaction")
    return Counter(rows, of[column].astype(np.int64))


def _bytes_per_visit(inputs: MetricInputs) -> Ratio:
    rows, of = inputs.rows("interaction")
    both = of["down_bytes"].astype(np.int64) + of["up_bytes"]
    return Ratio(WeightedSum(rows, both), WeightedSum(rows, of["event"] == InteractionEvent.VISIT))


def _most_kept(inputs: MetricInputs) -> Largest:
    rows, of = inputs.rows("interaction")
    return Largest(rows, of["learning_bytes"].astype(np.int64))


def _age(inputs: MetricInputs) -> Trend:
    rows, of = _visits(inputs)
    there = of["age_ns"] >= 0
    return Trend(rows.select(there), of["age_ns"][there], NS_PER_S)


FORMULAS: Final[Mapping[str, Callable[[MetricInputs], Aggregate]]] = {
    "visits": _count,
    "items_met": _items,
    "prequential_ndcg_at_10": partial(_mean, "ndcg_at_10"),
    "prequential_recall_at_20": partial(_mean, "recall_at_20"),
    "prequential_hit_rate_at_10": partial(_mean, "hit_rate_at_10"),
    "prequential_ndcg_at_10_in_cloud": partial(_mean, "cloud_ndcg_at_10"),
    "prequential_ndcg_at_10_of_cloud": _of_cloud,
    "recommender_exchanges": _exchanges,
    "recommender_bytes_down": partial(_bytes, "down_bytes"),
    "recommender_bytes_up": partial(_bytes, "up_bytes"),
    "recommender_bytes_per_visit": _bytes_per_visit,
    "learning_bytes_max": _most_kept,
    "recommender_age_seconds": _age,
}
