"""Quality by budget, as sums that merge: device time and quality by bucket of the budget."""

from dataclasses import dataclass

import numpy as np

from emulator.metrics.row_index import Columns
from emulator.report.fleet_views import FleetViews, RangeDevices
from emulator.report.keyed_sums import (
    BUCKETS,
    LIMBS,
    FloatArray,
    KeyedSums,
    bucket_start,
    byte_bucket,
    from_limbs,
    to_limbs,
)
from emulator.report.state_series import QUALITIES

BUDGET_BINS = 16


@dataclass(frozen=True)
class QualityByBudget:
    """Quality by budget: each point is a mean over the device time in a range of budgets."""

    edges_bytes: FloatArray
    share: FloatArray
    """Share of the device time in each bin."""
    budget_bytes: FloatArray
    """Mean budget of each bin with any device time; so are the three below."""
    weight: FloatArray
    """Share of the device time."""
    ratio: FloatArray
    """NDCG@10 of the PEE held ÷ that of the full table."""
    best_ratio: FloatArray
    """The same for the best PEE for the budget."""


@dataclass(frozen=True, eq=False)
class BudgetQualitySums:
    """Sums by slot and bucket of the budget, in seconds of device time."""

    by_budget: KeyedSums
    """The time, and times it: the budget in units of its bucket's start, and the qualities."""

    def merged(self, other: "BudgetQualitySums") -> "BudgetQualitySums":
        """Return the sums of both."""
        return BudgetQualitySums(self.by_budget.merged(other.by_budget))

    def curves(self, views: FleetViews, bins: int = BUDGET_BINS) -> dict[str, QualityByBudget]:
        """Return quality by budget for each view, with the same edges."""
        sums = self.by_budget
        whole = sums.rekeyed(sums.keys % BUCKETS)
        edges = _edges(whole, bins)
        return {
            name: _curve(whole if slot is None else sums.between(slot * BUCKETS, (slot + 1) * BUCKETS), edges)
            for name, slot in views
        }


def sum_quality_by_budget(states: Columns, devices: RangeDevices) -> BudgetQualitySums:
    """Return the sums of a range of devices.

    Args:
        states: the quality table with ``seconds``, see `DeviceStates.with_seconds`; a device is its index in
            the range.
        devices: the range.
    """
    seconds = states["seconds"]
    # At least 1, since a logarithmic axis has no 0.
    budget = np.maximum(states["budget_bytes"].astype(np.int64), 1)
    bucket = byte_bucket(budget)
    values = (np.ones(len(budget)), budget / bucket_start(bucket), *(states[name] for name in QUALITIES))
    added = np.hstack([to_limbs(seconds * each) for each in values])
    key = devices.slots[states["device"]] * BUCKETS + bucket
    return BudgetQualitySums(KeyedSums.from_rows(key, added, budget, budget))


def _edges(whole: KeyedSums, bins: int) -> FloatArray:
    """Return about evenly spaced edges on the logarithmic axis, each at the start of a bucket."""
    if not len(whole.keys):
        return np.empty(0)
    low, high = float(whole.least.min()), float(whole.most.max())
    if low == high:
        return np.array([low / 1.1, low * 1.1])
    # Sums by bucket cannot be split: an even edge moves to the start of its bucket, by less than 0.8 %.
    inner = bucket_start(byte_bucket(np.rint(np.geomspace(low, high, bins + 1)[1:-1]).astype(np.int64)))
    return np.unique(np.concatenate([[low], inner[(inner > low) & (inner < high)], [high]]))


def _curve(sums: KeyedSums, edges: FloatArray) -> QualityByBudget:
    count = max(len(edges) - 1, 0)
    bin_ = np.clip(np.searchsorted(edges, sums.least, side="right") - 1, 0, max(count - 1, 0))
    start = bucket_start(sums.keys % BUCKETS)
    quantities = from_limbs(sums.sums.reshape(len(sums.keys), sums.sums.shape[1] // LIMBS, LIMBS))

    def total(values: FloatArray) -> FloatArray:
        return np.bincount(bin_, values, count).astype(np.float64)

    time, budget = total(quantities[:, 0]), total(quantities[:, 1] * start)
    ndcg, best, full = (total(quantities[:, column]) for column in (2, 3, 4))
    some = full > 0  # without any quality of the full table a ratio has no meaning
    share = time / max(float(time.sum()), 1e-6)
    return QualityByBudget(
        edges,
        share,
        budget[some] / time[some],
        share[some],
        ndcg[some] / full[some],
        best[some] / full[some],
    )
