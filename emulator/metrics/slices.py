"""Slices of a metric: the whole run, each value of each dimension, and pairs of values.

A metric has a figure for each slice. All ranges of devices have the same slices: their sums can be added.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from devices.event_log import Pressure, labels_of
from emulator.metrics.scales import Scales
from emulator.metrics.timeline import RunTimeline
from scenarios.catalogue.metrics import DECILES, METRICS, Metric
from scenarios.catalogue.summary_keys import PAIRS

WHOLE = 0
"""The slice of the whole run."""
TRANSIENT = ("pressure", "stage", "budget_decile", "budget_range")
"""Dimensions whose values devices pass through during a run."""
_ONE_FOR_ALL = ("pressure", "budget_decile", "user_group")
"""Dimensions that may have a single value without every row having it."""


@dataclass(frozen=True)
class SliceColumn:
    """The slices of a dimension that are computed from rows."""

    dimension: str
    first: int
    """Number of its first slice."""
    size: int
    other: str = ""
    """The second dimension, of pairs of values."""
    width: int = 1
    """Number of values of the second dimension."""


@dataclass(frozen=True, eq=False)
class SliceLayout:
    """The slices of one metric, numbered from 0, the whole run."""

    general: Sequence[SliceColumn] = ()
    """Of dimensions that all rows have."""
    own: Sequence[SliceColumn] = ()
    """Of dimensions, and pairs of them, that only the rows of this metric have."""
    count: int = 1
    numbers: Mapping[str, Sequence[int]] = field(default_factory=dict)
    """Slices of the values of each dimension, in the order of the values."""
    common: "SliceLayout | None" = None
    """The first slices alone, without those of the metric's own dimensions; None: there are no others."""

    def pair(self, first: str, second: str) -> SliceColumn:
        """Return the slices of two of the metric's own dimensions."""
        return next(each for each in self.own if (each.dimension, each.other) == (first, second))


ONLY_WHOLE = SliceLayout()
"""No slice but the whole: for rows that were selected."""


class Slices:
    """The dimensions of a run, their values, and the slices of each metric.

    Args:
        scales: of the run.
        timeline: the stages.
    """

    def __init__(self, scales: Scales, timeline: RunTimeline) -> None:
        self.scales = scales
        stages = [stage.type for stage in timeline.stages]
        self._values: dict[str, Sequence[str]] = {
            **scales.dimensions,
            **({"stage": stages} if stages else {}),
            "pressure": labels_of(Pressure),
            "budget_decile": DECILES,
            "budget_range": scales.ranges,
        }
        self._layouts: dict[str, SliceLayout] = {}
        self._common: dict[tuple[str, ...], SliceLayout] = {}

    @property
    def dimensions(self) -> Sequence[str]:
        """The dimensions of this run that all rows have."""
        return tuple(self._values)

    @property
    def counted(self) -> Sequence[str]:
        """The dimensions that need sums of their own: with one value for all, it is the whole run's."""
        return [
            name
            for name, values in self._values.items()
            if name != "budget_range" and (len(values) > 1 or name in _ONE_FOR_ALL)
        ]

    def dimensions_of(self, metric: Metric) -> Sequence[str]:
        """Return the dimensions of a metric, its own last."""
        general = (name for name in self._values if metric.has_dimension(name))
        return (*general, *metric.own)

    def values(self, dimension: str, metric: Metric | None = None) -> Sequence[str]:
        """Return the values of a dimension of all metrics, or of one that only *metric* has."""
        if metric is not None and dimension in metric.own:
            return metric.own[dimension]
        return self._values.get(dimension, ())

    def layout(self, name: str) -> SliceLayout:
        """Return the slices of the metric called *name*."""
        if name not in self._layouts:
            pairs = [pair[1:] for pair in PAIRS.values() if pair[0] == name]
            self._layouts[name] = self._layout_of(METRICS[name], pairs)
        return self._layouts[name]

    def layout_by(self, dimensions: Iterable[str]) -> SliceLayout:
        """Return the slices by some dimensions that all rows have; the same object each time."""
        names = tuple(dimensions)
        if names not in self._common:
            self._common[names] = self._layout(names, {}, ())
        return self._common[names]

    def _layout_of(self, metric: Metric, pairs: Sequence[tuple[str, str]]) -> SliceLayout:
        general = [name for name in self._values if metric.has_dimension(name)]
        return self._layout(general, metric.own, pairs) if metric.own else self.layout_by(general)

    def _layout(
        self, dimensions: Iterable[str], own: Mapping[str, Sequence[str]], pairs: Sequence[tuple[str, str]]
    ) -> SliceLayout:
        count, counted = 1, self.counted
        general, special = list[SliceColumn](), list[SliceColumn]()
        numbers: dict[str, Sequence[int]] = {}
        for name in dimensions:
            size = len(self._values[name])
            if name in counted:
                general.append(SliceColumn(name, count, size))
                numbers[name] = range(count, count + size)
                count += size
            elif name == "budget_range":
                numbers[name] = [numbers["budget_decile"][tenth] for tenth in self.scales.tenths]
            else:
                numbers[name] = [WHOLE] * size
        for name, values in own.items():
            special.append(SliceColumn(name, count, len(values)))
            numbers[name] = range(count, count + len(values))
            count += len(values)
        for first, second in pairs:
            size, width = len(own[first]) * len(own[second]), len(own[second])
            special.append(SliceColumn(first, count, size, second, width))
            count += size
        return SliceLayout(general, special, count, numbers, self.layout_by(dimensions) if own else None)
