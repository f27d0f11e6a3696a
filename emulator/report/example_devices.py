"""Example devices with their trajectories: chosen by rules that merge, and kept whole.

A range keeps the few devices with the highest scores of each rule, and an even sample of the fleet, of which
the device of median quality is one. Merging keeps the highest scores of both and the sample of both.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from emulator.metrics.row_index import Columns
from emulator.report.fleet_views import RangeDevices
from emulator.report.keyed_sums import FloatArray, IntArray
from emulator.report.state_series import QUALITIES, SIZES, time_grid
from wire.units import NS_PER_S, approximate_bytes

MAX_POINTS = 600
"""Largest number of points of one device's trajectory."""
SAMPLE_DEVICES = 128
"""The median quality's example is the nearest of so many devices."""
_HIGHEST: Final = 6
"""Devices that a rule keeps: one for each rule, since no device is shown twice."""
_STEP: Final = np.uint64(0x9E37_79B9_7F4A_7C15)
"""2^64 times the golden ratio: multiples of it are even, whatever the number of devices."""
_RATIO_BUCKETS: Final = 4096
_BUCKETS_PER_UNIT: Final = 2048
"""Buckets of quality as a share of full quality: the last one also has what is above 2."""


@dataclass(frozen=True)
class DeviceTrajectory:
    """One device over time; a point lasts until the next, and the last one is at the stop time."""

    device: str
    group: str
    reason: str
    seconds: FloatArray
    budget_bytes: FloatArray
    resident_bytes: FloatArray
    ndcg: FloatArray
    best: FloatArray
    full: FloatArray
    sampled: bool
    """True if there were too many states to show all."""


@dataclass(frozen=True)
class DeviceTotals:
    """Sums over the run by device."""

    number: IntArray
    """Of each device in the fleet, rising."""
    seconds: FloatArray
    over_seconds: FloatArray
    ndcg: FloatArray
    """NDCG@10 times seconds; so are the two below."""
    best: FloatArray
    full: FloatArray
    changes: FloatArray
    update_bytes: FloatArray

    @property
    def ratio(self) -> FloatArray:
        """Quality as a share of that of the full table; NaN if the full table has none."""
        return _ratio(self.ndcg, self.full)

    @property
    def regret(self) -> FloatArray:
        """Mean over time of the NDCG@10 that the best PEE for the budget would have had more."""
        return _ratio(self.best - self.ndcg, self.seconds)

    def scores(self) -> Iterator[FloatArray]:
        """Yield the scores of each rule but the median; a device with -inf is not shown for it."""
        ratio, regret = self.ratio, self.regret
        yield np.where(np.isfinite(ratio), -ratio, -np.inf)
        yield self.changes
        for positive in (self.update_bytes, regret, self.over_seconds):
            yield np.where(positive > 0, positive, -np.inf)

    def select(self, chosen: NDArray[np.bool_]) -> Self:
        """Return the sums of some devices."""
        columns = {name: getattr(self, name)[chosen] for name in self.__dataclass_fields__}
        return type(self)(**columns)

    def joined(self, other: Self) -> Self:
        """Return the sums of both, each device once."""
        _, first = np.unique(np.concatenate([self.number, other.number]), return_index=True)
        columns = {
            name: np.concatenate([getattr(self, name), getattr(other, name)])[first]
            for name in self.__dataclass_fields__
        }
        return type(self)(**columns)


@dataclass(frozen=True, eq=False)
class ExampleDevices:
    """The devices of which one may become an example, and the qualities of all."""

    totals: DeviceTotals
    trajectories: Mapping[int, DeviceTrajectory]
    """By number, with no reason yet."""
    ratios: IntArray
    """Number of devices by bucket of quality as a share of full quality."""

    def merged(self, other: "ExampleDevices") -> "ExampleDevices":
        """Return the examples of both."""
        joined = self.totals.joined(other.totals)
        totals = joined.select(_is_kept(joined))
        both = {**self.trajectories, **other.trajectories}
        kept = {number: both[number] for number in totals.number.tolist()}
        return ExampleDevices(totals, kept, self.ratios + other.ratios)

    def chosen(self) -> list[DeviceTrajectory]:
        """Return the examples with their reasons; no device twice, among equals the first."""
        return [
            replace(self.trajectories[number], reason=reason)
            for number, reason in choose_devices(self.totals, self.ratios)
        ]


def sum_by_device(tables: Mapping[str, Columns], states: Columns, devices: RangeDevices) -> DeviceTotals:
    """Return the sums of the devices of a range.

    Args:
        tables: the columns of the event tables; a device is its index in the range.
        states: the quality table with ``seconds``, see `DeviceStates.with_seconds`.
        devices: the range.
    """
    device, seconds, count = states["device"], states["seconds"], len(devices.names)
    updates, changes = tables["update"], tables["budget"]

    def weigh(values: NDArray[np.generic]) -> FloatArray:
        return np.bincount(device, seconds * values, count).astype(np.float64)

    return DeviceTotals(
        number=devices.first + np.arange(count),
        seconds=weigh(np.ones(len(device))),
        over_seconds=weigh(states["resident_bytes"] > states["budget_bytes"]),
        ndcg=weigh(states["ndcg_at_10"]),
        best=weigh(states["best_ndcg_at_10"]),
        full=weigh(states["full_ndcg_at_10"]),
        changes=np.bincount(changes["device"], minlength=count).astype(np.float64),
        update_bytes=np.bincount(updates["device"], updates["update_bytes"], count).astype(np.float64),
    )


def find_examples(
    tables: Mapping[str, Columns], states: Columns, devices: RangeDevices, stop_ns: int
) -> ExampleDevices:
    """Return the examples of a range, see `sum_by_device`; the states are by device and time."""
    totals = sum_by_device(tables, states, devices)
    totals = totals.select(totals.seconds > 0)
    kept = totals.select(_is_kept(totals))
    place = kept.number - devices.first
    ends = (np.searchsorted(states["device"], numbers).tolist() for numbers in (place, place + 1))
    trajectories = {
        number: _trajectory(states, slice(first, stop), devices, number, stop_ns)
        for number, first, stop in zip(kept.number.tolist(), *ends, strict=True)
    }
    return ExampleDevices(kept, trajectories, count_ratios(totals.ratio))


def count_ratios(ratio: FloatArray) -> IntArray:
    """Return the number of devices by bucket of quality; those with no quality at all are left out."""
    ratio = ratio[np.isfinite(ratio)]
    bucket = np.clip((ratio * _BUCKETS_PER_UNIT).astype(np.int64), 0, _RATIO_BUCKETS - 1)
    return np.bincount(bucket, minlength=_RATIO_BUCKETS).astype(np.int64)


def _is_kept(totals: DeviceTotals) -> NDArray[np.bool_]:
    """Return a mask of the devices that may become examples once others are added."""
    kept = np.zeros(len(totals.number), dtype=np.bool_)
    for scores in totals.scores():
        best = np.argsort(-scores, kind="stable")[:_HIGHEST]
        kept[best[scores[best] > -np.inf]] = True
    with np.errstate(over="ignore"):
        order = np.argsort(totals.number.astype(np.uint64) * _STEP, kind="stable")
    kept[order[:SAMPLE_DEVICES]] = True
    return kept


def choose_devices(totals: DeviceTotals, ratios: IntArray) -> list[tuple[int, str]]:
    """Return device numbers with the reasons for showing them; no device twice, among equals the first."""
    chosen: dict[int, str] = {}
    for scores, reason in zip((*totals.scores(), _nearness(totals, ratios)), _REASONS, strict=True):
        scores = np.where((totals.seconds > 0) & np.isfinite(scores), scores, -np.inf)
        scores[np.isin(totals.number, list(chosen))] = -np.inf
        best = int(scores.argmax()) if len(scores) else 0
        if len(scores) and scores[best] > -np.inf:
            chosen[int(totals.number[best])] = _text(reason, totals, best)
    return list(chosen.items())


_REASONS = ("lowest quality", "most budget changes", "most update bytes", "highest regret",
            "longest over budget", "median quality")  # fmt: skip


def _nearness(totals: DeviceTotals, ratios: IntArray) -> FloatArray:
    """Return minus the distance of each device's quality from the median."""
    done = np.cumsum(ratios)
    if not done[-1]:
        return np.full(len(totals.number), -np.inf)
    median = (int(np.searchsorted(done, (int(done[-1]) + 1) // 2)) + 0.5) / _BUCKETS_PER_UNIT
    ratio = totals.ratio
    return np.where(np.isfinite(ratio), -np.abs(ratio - median), -np.inf)


def _text(reason: str, totals: DeviceTotals, at: int) -> str:
    if "quality" in reason:
        return f"{reason}: {100 * totals.ratio[at]:.1f} % of full"
    match reason:
        case "most budget changes":
            return f"{reason}: {totals.changes[at]:,.0f}"
        case "most update bytes":
            return f"{reason}: {approximate_bytes(totals.update_bytes[at])}"
        case "highest regret":
            return f"{reason}: {totals.regret[at]:.2g} NDCG@10 on average"
    return f"{reason}: {totals.over_seconds[at]:,.3g} s"


def _trajectory(
    states: Columns, own: slice, devices: RangeDevices, number: int, stop_ns: int
) -> DeviceTrajectory:
    at = states["t_ns"][own]
    rows = np.flatnonzero(at <= stop_ns)
    sampled = len(rows) > MAX_POINTS
    if sampled:
        grid = time_grid(stop_ns, MAX_POINTS)
        after = np.searchsorted(at, grid, side="right")
        rows, times = np.maximum(after - 1, 0)[after > 0], grid[after > 0]
    else:
        rows, times = np.append(rows, rows[-1:]), np.append(at[rows], stop_ns)
    budget, held, ndcg, best, full = (
        states[name][own][rows].astype(np.float64) for name in (*SIZES, *QUALITIES)
    )
    place = number - devices.first
    return DeviceTrajectory(
        devices.names[place],
        devices.groups[place],
        "",
        times / NS_PER_S,
        budget,
        held,
        ndcg,
        best,
        full,
        sampled,
    )


def _ratio(values: FloatArray, totals: FloatArray) -> FloatArray:
    ratio = np.full(len(values), np.nan)
    np.divide(values, totals, out=ratio, where=totals > 0)
    return ratio
