"""What devices hold against what they could: below the best PEE, below full quality, before the first PEE."""

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.metrics.aggregates import Aggregate, Level, Ratio, Time, Trend, WeightedSum
from emulator.metrics.frame import (
    BoolArray,
    Columns,
    FloatArray,
    Frame,
    IntArray,
    RowIndex,
    RowSet,
    order_by_device,
)
from emulator.metrics.quality_recovery import RECOVERED_SHARE
from wire.units import NS_PER_S


class Holding:
    """Metrics of what devices hold.

    Args:
        frame: the devices and their states.
        pieces: the states, cut, and how long each piece held, in seconds.
        since_ns: what was before does not count.
    """

    def __init__(self, frame: Frame, pieces: tuple[RowSet, FloatArray], since_ns: int) -> None:
        self._frame = frame
        self._rows, self._seconds = pieces
        self._since_ns = since_ns

    def forms(self) -> Mapping[str, Callable[[], Aggregate]]:
        """Return how each metric is computed."""
        return {
            "device_seconds": lambda: self._time(np.ones(len(self._seconds), dtype=np.bool_)),
            "below_best_seconds": lambda: self._time(self._piecewise(self._below_best)),
            "below_best_share": lambda: self._share(self._piecewise(self._below_best)),
            "below_best_spell_seconds": lambda: self._spells(self._below_best),
            "below_best_longest_seconds": self._longest,
            "low_quality_seconds": lambda: self._time(self._piecewise(self._low_quality)),
            "low_quality_share": lambda: self._share(self._piecewise(self._low_quality)),
            "low_quality_spell_seconds": lambda: self._spells(self._low_quality),
            "quality_shortfall": partial(self._mean_shortfall, after_first=False),
            "quality_shortfall_after_first": partial(self._mean_shortfall, after_first=True),
            "ndcg_at_10_after_first": self._ndcg_after_first,
            "quality_ratio_to_full_after_first": self._ratio_after_first,
        }

    # Of each state.

    @cached_property
    def _below_best(self) -> BoolArray:
        return self._frame.states["layer"] < self._frame.states["best_layer"]

    @cached_property
    def _low_quality(self) -> BoolArray:
        return self._frame.states["ndcg_at_10"] < RECOVERED_SHARE * self._frame.states["full_ndcg_at_10"]

    @cached_property
    def _after_first(self) -> BoolArray:
        """Tell which states are not before the first PEE that the device held."""
        device = self._frame.states["device"]
        held = self._frame.states["layer"] > 0
        so_far = np.cumsum(held)
        first = np.diff(device, prepend=-1) != 0
        counts = np.diff(np.append(np.flatnonzero(first), len(device)))
        before: IntArray = np.repeat((so_far - held)[first], counts)
        return so_far > before

    # Of each piece of a state.

    def _piecewise(self, of_state: NDArray[Any]) -> NDArray[Any]:  # Any: of whatever type
        return of_state[self._rows.state]

    def _column(self, name: str) -> NDArray[Any]:
        return self._piecewise(self._frame.states[name])

    def _time(self, mask: BoolArray) -> Time:
        return Time(WeightedSum(self._rows, mask * self._seconds), WeightedSum(self._rows, self._seconds))

    def _share(self, mask: BoolArray) -> Ratio:
        return Ratio(WeightedSum(self._rows, mask * self._seconds), WeightedSum(self._rows, self._seconds))

    def _counted(self, values: FloatArray, *, after_first: bool) -> WeightedSum:
        """Return *values* of those pieces that count."""
        if not after_first:
            return WeightedSum(self._rows, values)
        mask = self._piecewise(self._after_first)
        return WeightedSum(self._rows.where(mask), values[mask])

    def _level(self, values: FloatArray, *, after_first: bool) -> Level:
        counted = self._counted(values, after_first=after_first)
        return Level(counted.rows, counted.values, self._counted(self._seconds, after_first=after_first))

    def _mean_shortfall(self, *, after_first: bool) -> Level:
        shortfall = np.maximum(self._column("best_ndcg_at_10") - self._column("ndcg_at_10"), 0.0)
        return self._level(shortfall, after_first=after_first)

    def _ndcg_after_first(self) -> Level:
        return self._level(self._column("ndcg_at_10"), after_first=True)

    def _ratio_after_first(self) -> Ratio:
        names = ("ndcg_at_10", "full_ndcg_at_10")
        above, below = (self._counted(self._column(each) * self._seconds, after_first=True) for each in names)
        return Ratio(above, below)

    # Spells.

    def _spells_of(self, mask: BoolArray) -> tuple[IntArray, IntArray, IntArray]:
        """Return the device, the start and the end of each spell of states for which *mask* holds."""
        device = self._frame.states["device"]
        joined = np.zeros(len(mask) + 1, dtype=np.bool_)
        joined[1:-1] = (device[1:] == device[:-1]) & mask[1:] & mask[:-1]
        begins, ends = np.flatnonzero(mask & ~joined[:-1]), np.flatnonzero(mask & ~joined[1:])
        start = np.maximum(self._frame.start_ns[begins], self._since_ns)
        end = self._frame.end_ns[ends]
        lasted = end > start
        return device[begins][lasted], start[lasted], end[lasted]

    def _spells(self, mask: BoolArray) -> Trend:
        device, start, end = self._spells_of(mask)
        return Trend(RowSet(device, start), end - start, NS_PER_S)

    def _longest(self) -> Trend:
        """Return the longest time of each device below its best PEE, 0 of one that never was."""
        device, first = np.unique(self._rows.device, return_index=True)
        own = np.zeros(len(device), dtype=np.int64)
        begin = self._rows.t_ns[first].copy()
        spells, start, end = self._spells_of(self._below_best)
        place = np.searchsorted(device, spells)
        for at in np.lexsort((start, -(end - start)))[::-1].tolist():  # the longest, and of equals the first
            own[place[at]], begin[place[at]] = end[at] - start[at], start[at]
        return Trend(RowSet(device, begin), own, NS_PER_S)


def connected_ns(connections: Columns, device: IntArray, start: IntArray, end: IntArray) -> IntArray:
    """Return how long each *device* was connected from *start* to *end*, in nanoseconds.

    Args:
        connections: the columns of the connection table. Before a device's first row it is not connected.
        device: of each span.
        start: when it begins.
        end: when it ends.
    """
    order = order_by_device(connections)
    rows = {name: connections[name][order] for name in ("device", "t_ns", "online")}
    online = rows["online"].astype(np.bool_)
    same = np.append(rows["device"][1:] == rows["device"][:-1], False)
    held = np.where(same & online, np.diff(rows["t_ns"], append=0), 0)
    before = np.cumsum(held) - held
    timeline = RowIndex(rows["device"], rows["t_ns"])

    def until(t_ns: IntArray) -> IntArray:
        """Return the time connected up to *t_ns*, from one moment that is the same for all of a device."""
        at = timeline.last(device, t_ns)
        if not len(online):
            return np.zeros(len(device), dtype=np.int64)
        now = before[at] + np.where(online[at], t_ns - rows["t_ns"][at], 0)
        first = timeline.first(device, np.full(len(device), -1, dtype=np.int64))
        return np.where(at >= 0, now, np.where(first >= 0, before[first], 0))

    return until(end) - until(start)
