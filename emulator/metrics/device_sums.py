"""Metrics of a range of devices, split into two sums by device."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.metrics.aggregates import Aggregate, Counter, Level, Ratio, Time, Trend, WeightedSum
from emulator.metrics.formulas import FORMULAS
from emulator.metrics.frame import RowSet
from emulator.metrics.inputs import MetricInputs
from wire.ranking_metrics import FloatArray


class DeviceSums:
    """Splits metrics of a range of devices into two sums by device.

    Args:
        inputs: the rows of the range.
        count: number of its devices.
    """

    def __init__(self, inputs: MetricInputs, count: int) -> None:
        self._inputs = inputs
        self._count = count

    def total(self, name: str) -> FloatArray:
        """Return by device the values of a counter or a time that add up to its total."""
        aggregate = FORMULAS[name](self._inputs)
        if isinstance(aggregate, Time):
            return self._sum(aggregate.held)
        assert isinstance(aggregate, Counter)
        return self._by_device(aggregate.rows, aggregate.values)

    def mean(self, name: str) -> tuple[FloatArray, FloatArray]:
        """Return by device the sum and the number of the values of a trend."""
        trend = FORMULAS[name](self._inputs)
        assert isinstance(trend, Trend)
        values = trend.values / trend.scale
        return self._by_device(trend.rows, values), self._by_device(trend.rows, np.ones(len(values)))

    def ratio(self, name: str) -> tuple[FloatArray, FloatArray]:
        """Return by device numerator and denominator of a mean over time or a ratio."""
        return self._ratio(FORMULAS[name](self._inputs))

    @cached_property
    def seconds(self) -> FloatArray:
        """Device time of each device."""
        return self._sum(self._inputs.device_time)

    def _ratio(self, aggregate: Aggregate) -> tuple[FloatArray, FloatArray]:
        match aggregate:
            case Level():
                return self._sum(aggregate.weighted), self._sum(aggregate.time)
            case Ratio():
                return self._sum(aggregate.above), self._sum(aggregate.below)
            case Time():
                return self._sum(aggregate.held), self._sum(aggregate.all)
        raise TypeError(f"{aggregate!r} is not a ratio of sums over devices")

    def _sum(self, part: WeightedSum) -> FloatArray:
        return self._by_device(part.rows, part.values) / part.per_unit

    def _by_device(self, rows: RowSet, values: NDArray[Any]) -> FloatArray:  # Any: numbers or truth values
        return np.bincount(rows.device, values, self._count).astype(np.float64)
