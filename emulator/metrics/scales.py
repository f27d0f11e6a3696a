"""Scales that all ranges of devices share: the values of dimensions, and the tenths of device time by budget.

They are fixed by a first pass: `scan` takes from the tables of a range what the scales need, the results are
merged, and `ScaleSums.scales` fixes the scales by which `emulator.metrics.measure` splits its sums.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from devices.event_log import RolloutStep
from emulator.metrics.device_table import DeviceTable, TimeVarying
from emulator.metrics.histogram import bucket_numbers
from emulator.metrics.row_index import Columns, DeviceStates, IntArray
from emulator.metrics.timeline import RunTimeline
from scenarios.catalogue.metrics import DECILES, LABEL, UNLABELLED

NO_CODE = -1


BUDGETS_PER_DOUBLING = 2**15
"""Buckets of budgets per doubling; budgets below twice this number of bytes have one each."""
_LOW_BITS = 31
SCANNED = ("quality", "rollout")
"""The event tables that `scan` takes."""


@dataclass(frozen=True, eq=False)
class BudgetTimes:
    """Device time by bucket of the budget, with the least and the greatest budget in each bucket."""

    bucket: IntArray
    """The buckets that are not empty, rising."""
    high: IntArray
    """Device time in each bucket: units of 2^31 ns, and the rest in ns; together they cannot overflow."""
    low: IntArray
    least: IntArray
    most: IntArray

    @classmethod
    def from_states(cls, budget: IntArray, held_ns: IntArray) -> "BudgetTimes":
        """Return the device time of states, each with a budget."""
        buckets = bucket_numbers(budget, BUDGETS_PER_DOUBLING)
        return _by_bucket(buckets, held_ns >> _LOW_BITS, held_ns & ((1 << _LOW_BITS) - 1), budget, budget)

    def merged(self, other: "BudgetTimes") -> "BudgetTimes":
        """Return the device time of both."""
        fields = ("bucket", "high", "low", "least", "most")
        return _by_bucket(*(np.concatenate([getattr(self, name), getattr(other, name)]) for name in fields))

    @property
    def held_ns(self) -> Sequence[int]:
        """Device time in each bucket, in nanoseconds."""
        pairs = zip(self.high.tolist(), self.low.tolist(), strict=True)
        return [(high << _LOW_BITS) + low for high, low in pairs]


def _by_bucket(
    bucket: IntArray, high: IntArray, low: IntArray, least: IntArray, most: IntArray
) -> BudgetTimes:
    """Return the sums and the extremes of each bucket."""
    order = np.argsort(bucket, kind="stable")
    sorted_ = bucket[order]
    first = np.flatnonzero(np.append(True, sorted_[1:] != sorted_[:-1])[: len(order)])
    if not len(first):
        return BudgetTimes(bucket, high, low, least, most)
    low = np.add.reduceat(low[order], first)
    return BudgetTimes(
        sorted_[first],
        np.add.reduceat(high[order], first) + (low >> _LOW_BITS),
        low & ((1 << _LOW_BITS) - 1),
        np.minimum.reduceat(least[order], first),
        np.maximum.reduceat(most[order], first),
    )


@dataclass(frozen=True)
class Scales:
    """The scales of a run."""

    dimensions: Mapping[str, Sequence[str]]
    """Values of the dimensions of devices: group, labels, node, network, user group."""
    edges: Sequence[int]
    """The greatest budget of each tenth of device time but the last."""
    ranges: Sequence[str]
    """Names of the ranges of budgets: the tenths that are not empty, by their least and greatest budget."""
    tenths: Sequence[int]
    """Tenth of each range, from 0."""
    offered_ns: Mapping[int, int]
    """Time at which each group of a rollout was first offered the new model version."""

    def tenth_of(self, budget: IntArray) -> IntArray:
        """Return the tenth of each budget, from 0."""
        return np.searchsorted(np.array(self.edges, dtype=np.int64), budget, side="left").astype(np.int64)

    def codes_of(self, dimension: str, property_: TimeVarying) -> IntArray:
        """Return the code of each value of a range's *property_*, an index into `dimensions`."""
        code_of = {value: code for code, value in enumerate(self.dimensions[dimension])}
        return np.array([code_of[value] for value in property_.values], dtype=np.int64)


@dataclass(frozen=True)
class ScaleSums:
    """Parts of the scales that can be merged."""

    devices: int
    values: Mapping[str, frozenset[str]]
    """Values of the dimensions of devices."""
    labelled: Mapping[str, int]
    """Number of devices with each label."""
    budgets: BudgetTimes
    offered_ns: Mapping[int, int] = field(default_factory=dict)

    def merged(self, other: "ScaleSums") -> "ScaleSums":
        """Return the sums of both; their devices follow each other."""
        names = dict.fromkeys([*self.values, *other.values])
        none = frozenset[str]()
        labels = dict.fromkeys([*self.labelled, *other.labelled])
        groups = sorted({*self.offered_ns, *other.offered_ns})
        return ScaleSums(
            self.devices + other.devices,
            {name: self.values.get(name, none) | other.values.get(name, none) for name in names},
            {label: self.labelled.get(label, 0) + other.labelled.get(label, 0) for label in labels},
            self.budgets.merged(other.budgets),
            {
                group: min(times[group] for times in (self.offered_ns, other.offered_ns) if group in times)
                for group in groups
            },
        )

    def scales(self) -> Scales:
        """Return the scales."""
        labels = sorted(self.labelled)
        fixed = [name for name in ("group", *labels, "node", "network", "user_group") if name in self.values]
        return Scales(
            {name: self._values_of(name) for name in fixed}, *self._split_by_budget(), self.offered_ns
        )

    def _values_of(self, name: str) -> Sequence[str]:
        values = self.values[name]
        if name == "user_group":
            return sorted(values, key=int)
        missing = name in self.labelled and self.labelled[name] < self.devices
        return [*sorted(values - {UNLABELLED} if missing else values), *([UNLABELLED] if missing else [])]

    def _split_by_budget(self) -> tuple[Sequence[int], Sequence[str], Sequence[int]]:
        """Return the edges of the tenths, and the ranges with their tenths.

        Budgets in one bucket are in the same tenth. If one bucket takes more than a tenth of the time, some
        tenths are empty, and there are fewer ranges than ten.
        """
        times, edges = self.budgets, list[int]()
        done = list(accumulate(times.held_ns))
        if done and done[-1]:
            for tenth in range(1, len(DECILES)):
                at = bisect_left(done, -(-done[-1] * tenth // len(DECILES)))
                edges.append(int(times.most[at]))
        tenths = np.searchsorted(np.array(edges, dtype=np.int64), times.most, side="left")
        used = sorted(set(tenths.tolist()))
        names = [
            f"{int(times.least[tenths == tenth].min())} to {int(times.most[tenths == tenth].max())} bytes"
            for tenth in used
        ]
        return edges, names, used


def scan(tables: Mapping[str, Columns], devices: DeviceTable, timeline: RunTimeline) -> ScaleSums:
    """Return the part of one range of devices in the scales.

    Args:
        tables: columns of the event tables, as `DeviceTable.encode` returns them; of ``quality`` it takes
            ``device``, ``t_ns``, ``budget_bytes`` and ``user_group``, and it takes ``rollout``.
        devices: the devices of the range.
        timeline: the end of the run.
    """
    states = DeviceStates.from_rows(tables["quality"], timeline.stop_ns)
    values = {
        name: frozenset(each.values) - ({UNLABELLED} if name.startswith(LABEL) else frozenset())
        for name, each in devices.dimensions.items()
    }
    if "user_group" in values and "user_group" in states.columns:
        values["user_group"] |= {str(group) for group in np.unique(states.columns["user_group"]).tolist()}
    labelled = {
        name: int((np.array(each.values)[each.first] != UNLABELLED).sum())
        for name, each in devices.dimensions.items()
        if name.startswith(LABEL)
    }
    budgets = BudgetTimes.from_states(states.columns["budget_bytes"], states.end_ns - states.start_ns)
    return ScaleSums(
        len(devices.names),
        values,
        labelled,
        budgets,
        _offers(tables["rollout"]) if "rollout" in tables else {},
    )


def _offers(rollout: Columns) -> dict[int, int]:
    offered = rollout["step"] == RolloutStep.OFFERED
    groups, t_ns = rollout["group"][offered], rollout["t_ns"][offered]
    return {group: int(t_ns[groups == group].min()) for group in np.unique(groups).tolist()}
