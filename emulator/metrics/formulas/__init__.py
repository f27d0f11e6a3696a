"""The formulas of all metrics. `scenarios.catalogue.metrics` has their names, kinds, units and meanings."""

from collections.abc import Callable

from emulator.metrics.aggregates import Aggregate
from emulator.metrics.formulas import below_best, budgets, events, exchanges, states
from emulator.metrics.inputs import MetricInputs

Formula = Callable[[MetricInputs], Aggregate]

FORMULAS: dict[str, Formula] = {
    **exchanges.FORMULAS,
    **budgets.FORMULAS,
    **states.FORMULAS,
    **below_best.FORMULAS,
    **events.FORMULAS,
}
"""The formula of each metric of the catalogue."""
