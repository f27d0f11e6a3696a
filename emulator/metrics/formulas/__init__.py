"""The formulas of all metrics. `scenarios.catalogue.metrics` has their names, kinds, units and meanings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from emulator.metrics.aggregates import Aggregate
from emulator.metrics.formulas import below_best, budgets, events, exchanges, interactions, states
from emulator.metrics.inputs import MetricInputs
from scenarios.catalogue.metrics import METRIC_PLUGINS
from wire.plugins.registry import WithPlugins

Formula = Callable[[MetricInputs], Aggregate]

_OWN: Final[dict[str, Formula]] = {
    **exchanges.FORMULAS,
    **budgets.FORMULAS,
    **states.FORMULAS,
    **below_best.FORMULAS,
    **events.FORMULAS,
}


def _find_other(name: str) -> Formula | None:
    """Return the formula of a metric of interactions or of a plug-in."""
    if name in interactions.FORMULAS:
        return interactions.FORMULAS[name]
    plugin = METRIC_PLUGINS.find(name)
    return None if plugin is None else plugin.formula


FORMULAS: Final[Mapping[str, Formula]] = WithPlugins(_OWN, _find_other)
"""The formula of each metric of the catalogue."""


def all_formulas(more: Sequence[str]) -> Iterator[tuple[str, Formula]]:
    """Yield each metric of every run with its formula, then the others, called *more*."""
    yield from FORMULAS.items()
    yield from ((name, FORMULAS[name]) for name in more)
