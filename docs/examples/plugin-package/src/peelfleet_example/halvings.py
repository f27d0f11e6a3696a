"""Metric `budget_halvings`: sudden losses of memory."""

import numpy as np

from emulator.metrics.aggregates import Counter
from emulator.metrics.inputs import MetricInputs
from scenarios.catalogue.metrics import DIRECTIONS, Kind, Metric, MetricPlugin, Unit


def count_halvings(inputs: MetricInputs) -> Counter:
    """Count the changes that leave at most half of the budget before."""
    changes = inputs.budget_changes
    falls = changes.rows.own["direction"] == DIRECTIONS.index("down")
    halved = falls & (changes.step >= changes.columns["budget_bytes"])
    return Counter(changes.rows, halved.astype(np.int64))


BUDGET_HALVINGS = MetricPlugin(
    Metric(
        name="budget_halvings",
        kind=Kind.COUNTER,
        unit=Unit.NUMBER,
        table="budget",
        meaning="changes that leave at most half of the budget before",
        own={"direction": DIRECTIONS},
    ),
    count_halvings,
)
