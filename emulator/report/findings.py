"""One sentence for each figure of a report on what is seen in it, with its numbers."""

from collections.abc import Sequence

import numpy as np

from emulator.report.axes import format_seconds
from emulator.report.budget_quality import QualityByBudget
from emulator.report.example_devices import DeviceTrajectory
from emulator.report.state_series import FleetSeries
from emulator.report.update_sums import LatencyDistribution, TrafficSeries
from wire.units import approximate_bytes

_NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six")


def budget_finding(fleet: FleetSeries) -> str:
    """Return the part of the budgets that embeddings took."""
    budget = float(np.nansum(fleet.total_budget))
    if not budget:
        return "No device had a budget."
    return f"Embeddings took {_percent(float(np.nansum(fleet.total_resident)) / budget)} of the budgets."


def quality_finding(fleet: FleetSeries) -> str:
    """Return between which values the mean quality was."""
    first = fleet.settled_at
    if first is None:
        return "Quality never came to half of that of the full table."
    held, full = fleet.ndcg[first:], float(np.nanmean(fleet.full[first:]))
    return (
        f"After the first updates, mean NDCG@10 was between {held.min():.3f} and {held.max():.3f}; "
        f"the full table has {full:.3f}."
    )


def device_finding(trajectories: Sequence[DeviceTrajectory]) -> str:
    """Return the number of devices that are shown."""
    count = len(trajectories)
    if count == 1:
        return "One device shows how budget, bytes held and quality went together."
    return f"{_NUMBERS[count]} devices show the extremes of the fleet, and its middle."


def traffic_finding(traffic: TrafficSeries) -> str:
    """Return the bytes that were sent, and their share of full pushes."""
    sent, full = int(traffic.sent_bytes.sum()), int(traffic.full_bytes.sum())
    if not full:
        return "No update was sent."
    return f"Updates took {approximate_bytes(sent)}, {_percent(sent / full)} of what full pushes cost."


def latency_finding(fleet: LatencyDistribution) -> str:
    """Return the time within which nearly all updates were in use."""
    if not fleet.count:
        return "No update was applied."
    p50, p95 = (format_seconds(fleet.percentiles[name]) for name in ("p50", "p95"))
    return f"Half of the updates were in use within {p50} of the budget change, 95 % within {p95}."


def elasticity_finding(fleet: QualityByBudget) -> str:
    """Return the quality with the smallest and with the largest budgets."""
    if not len(fleet.ratio):
        return "The full table recommends nothing of use to these devices."
    points = [
        (_percent(float(ratio)), approximate_bytes(float(budget)))
        for ratio, budget in zip(fleet.ratio, fleet.budget_bytes, strict=True)
    ]
    (low, smallest), (high, largest) = points[0], points[-1]
    first = f"Devices had {low} of full quality at budgets of {smallest}"
    return f"{first}." if len(points) == 1 else f"{first}, and {high} at {largest}."


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
