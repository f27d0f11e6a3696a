"""Progress of a rollout by group, and bytes sent by the cloud and by the broker: for the summary."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from devices.event_log import RolloutStep, UpdateKind
from emulator.metrics.exact_sums import exact_sum
from emulator.metrics.histogram import Histogram
from emulator.metrics.row_index import Columns
from wire.units import NS_PER_S

_STEPS = {step.name.lower(): step for step in RolloutStep}


@dataclass(frozen=True)
class GroupProgress:
    """Devices of one group of a rollout."""

    steps: Mapping[str, int]
    """Number of devices by step."""
    offered_ns: int | None
    """Time at which its turn began; None: it was offered to no device."""
    took: Histogram
    """Time from the beginning of the turn until each updated device held the new version."""

    def merged(self, other: Self) -> Self:
        """Return the progress of both parts of the group, of which the turn began at one time."""
        steps = {step: count + other.steps[step] for step, count in self.steps.items()}
        return type(self)(steps, self.offered_ns, self.took + other.took)

    def summary(self, number: int) -> dict[str, object]:
        """Return the progress for the summary."""
        offered, seconds = self.steps["offered"], _seconds
        return {
            "group": number,
            "offered_at_seconds": seconds(self.offered_ns),
            **self.steps,
            "updated_share": self.steps["updated"] / offered if offered else None,
            "update_seconds": {
                **{f"p{percent}": seconds(self.took.percentile(percent)) for percent in (50, 95, 100)},
                "max": seconds(self.took.max),
            },
        }


def _seconds(ns: float | None) -> float | None:
    return None if ns is None else ns / NS_PER_S


@dataclass(frozen=True)
class RolloutSums:
    """The progress of each group of a rollout."""

    groups: Mapping[int, GroupProgress]

    @classmethod
    def from_rows(cls, rollout: Columns, offered_ns: Mapping[int, int]) -> Self:
        """Return the progress of a range of devices.

        Args:
            rollout: the columns of the event table.
            offered_ns: time at which the turn of each group began.
        """
        groups = {}
        for number in np.unique(rollout["group"]).tolist():
            own = rollout["group"] == number
            steps, t_ns = rollout["step"][own], rollout["t_ns"][own]
            took = t_ns[steps == RolloutStep.UPDATED] - offered_ns.get(number, 0)
            counts = {name: int((steps == step).sum()) for name, step in _STEPS.items()}
            groups[number] = GroupProgress(counts, offered_ns.get(number), Histogram.from_values(took))
        return cls(groups)

    def merged(self, other: Self) -> Self:
        """Return the progress of both."""
        groups = dict(self.groups)
        for number, progress in other.groups.items():
            groups[number] = groups[number].merged(progress) if number in groups else progress
        return type(self)(dict(sorted(groups.items())))

    def summary(self) -> list[dict[str, object]]:
        """Return the progress of each group for the summary, in their order; nothing without a rollout."""
        return [progress.summary(number) for number, progress in self.groups.items()]


@dataclass(frozen=True)
class EgressSums:
    """Payload of updates that was sent to devices."""

    all_bytes: int
    shared_bytes: int
    """Payload of layers that the broker had retained."""

    @classmethod
    def from_rows(cls, updates: Columns) -> Self:
        """Return the payload of the exchanges of a range of devices."""
        shared = updates["sent"] == UpdateKind.SHARED
        return cls(exact_sum(updates["update_bytes"]), exact_sum(updates["update_bytes"][shared]))

    def merged(self, other: Self) -> Self:
        """Return the payload of both."""
        return type(self)(self.all_bytes + other.all_bytes, self.shared_bytes + other.shared_bytes)

    def summary(self, retained_bytes: int) -> dict[str, int]:
        """Return the payload that the cloud sent, and the payload that the broker sent to devices.

        They differ with shared delivery: the cloud sends each layer once, the broker sends it to all.

        Args:
            retained_bytes: retained messages of the cloud on the topics of layers.
        """
        cloud_bytes = self.all_bytes - self.shared_bytes + retained_bytes
        return {"cloud_egress_bytes": cloud_bytes, "broker_egress_bytes": self.all_bytes}
