"""The effect of each fault and each action on the fleet, and when the fleet had recovered.

A device is **whole** at a moment if it is connected and holds the best PEE for its budget, or if an exchange
ends then in which what it requested was applied or confirmed. (With a report policy such as hysteresis,
headroom or rounded budgets a device may rightly hold less than its budget allows.) The fleet is whole again
when each affected device has been whole at least once since it was affected *last*. The fleet's mean quality
is known at the end of every clock second.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from devices.event_log import ExchangeResult, MessageFault
from devices.timeline.actions import ACTION_TYPES
from devices.timeline.connectivity import ConnectivityCause
from devices.timeline.faults import FAULT_TYPES, NO_FAULT, BrokerFault, CloudFault
from emulator.metrics.exact_sums import exact_sum
from emulator.metrics.frame import Frame
from emulator.metrics.quality_recovery import RECOVERED_SHARE, QualitySums
from emulator.metrics.row_index import BoolArray, Columns, FloatArray, IntArray, RowIndex, order_by_device
from emulator.metrics.timeline import RunTimeline, Span
from wire.units import NS_PER_S

Impact = Mapping[str, str | int | float | None]

NEVER = np.iinfo(np.int64).max
MESSAGE_COUNTS = {
    "messages_lost": (MessageFault.REPORT_LOST, MessageFault.PART_LOST),
    "messages_corrupted": (MessageFault.REPORT_CORRUPTED, MessageFault.PART_CORRUPTED),
    "messages_duplicated": (MessageFault.REPORT_DUPLICATED, MessageFault.PART_DUPLICATED),
    "messages_reordered": (MessageFault.PART_REORDERED,),
    "messages_cut_off": (MessageFault.REPORT_CUT_OFF, MessageFault.PART_CUT_OFF),
    "messages_refused": (MessageFault.REPORT_REFUSED,),
}


@dataclass(frozen=True)
class Affected:
    """Devices that were affected, and when; a device may be in it several times."""

    device: IntArray
    t_ns: IntArray


@dataclass(frozen=True)
class SpanSums:
    """Messages and devices that a fault or an action affected."""

    messages: Mapping[str, int]
    """Number of messages by key of the summary."""
    harmed_bytes: int
    affected: int
    recovered: int
    last_whole_ns: int
    """Time at which the last of the recovered devices had recovered; 0 if there is none."""

    def merged(self, other: Self) -> Self:
        """Return the sums of both."""
        return type(self)(
            {name: count + other.messages[name] for name, count in self.messages.items()},
            self.harmed_bytes + other.harmed_bytes,
            self.affected + other.affected,
            self.recovered + other.recovered,
            max(self.last_whole_ns, other.last_whole_ns),
        )


@dataclass(frozen=True, eq=False)
class ImpactSums:
    """The impact of the faults and actions of a run."""

    faults: Sequence[SpanSums]
    actions: Sequence[SpanSums]
    quality: QualitySums

    def merged(self, other: Self) -> Self:
        """Return the sums of both."""
        return type(self)(
            [one.merged(two) for one, two in zip(self.faults, other.faults, strict=True)],
            [one.merged(two) for one, two in zip(self.actions, other.actions, strict=True)],
            self.quality.merged(other.quality),
        )

    def summaries(self, timeline: RunTimeline) -> tuple[list[Impact], list[Impact]]:
        """Return the impact of each fault and of each action for the summary, in their order."""
        means = self.quality.means()
        faults, actions = (
            [_summary(span, each, means, timeline.stop_ns) for span, each in zip(spans, sums, strict=True)]
            for spans, sums in ((timeline.faults, self.faults), (timeline.actions, self.actions))
        )
        return faults, actions


def _summary(span: Span, sums: SpanSums, means: tuple[IntArray, FloatArray], stop_ns: int) -> Impact:
    again = max(sums.last_whole_ns - span.end_ns, 0) / NS_PER_S
    return {
        "type": span.type,
        "at": span.at,
        "start_seconds": span.start_ns / NS_PER_S,
        "end_seconds": span.end_ns / NS_PER_S,
        **sums.messages,
        "harmed_bytes": sums.harmed_bytes,
        "devices_affected": sums.affected,
        "devices_recovered": sums.recovered,
        "devices_not_whole": sums.affected - sums.recovered,
        "whole_again_seconds": again if sums.affected == sums.recovered else None,
        **(_quality_around(span, means, stop_ns) if span.start_ns < stop_ns else _NO_QUALITY),
    }


def _quality_around(span: Span, means: tuple[IntArray, FloatArray], stop_ns: int) -> Impact:
    """Return the fleet's mean NDCG@10 before, the lowest until it recovered, and the time that took."""
    times, values = means
    first = int(np.searchsorted(times, span.start_ns - NS_PER_S, side="right"))
    if first == 0:
        return _NO_QUALITY
    before = float(values[first - 1])
    end = max(int(np.searchsorted(times, span.end_ns - NS_PER_S, side="right")) - 1, first - 1)
    recovered = np.flatnonzero((values[end:] >= RECOVERED_SHARE * before) & (times[end:] <= stop_ns))
    until = end + int(recovered[0]) if len(recovered) else len(times)
    took = max(int(times[until]) - span.end_ns, 0) / NS_PER_S if len(recovered) else None
    return {
        "quality_before": before,
        "quality_lowest": float(values[first - 1 : until + 1].min()),
        "quality_recovery_seconds": took,
    }


class FaultImpact:
    """Computes the impact of the faults and actions on a range of devices.

    Args:
        frame: the devices and their states.
        tables: the columns of the event tables.
    """

    def __init__(self, frame: Frame, tables: Mapping[str, Columns]) -> None:
        self._frame = frame
        self._tables = tables
        states = frame.states
        self._whole = (states["layer"] == states["best_layer"]) & states["online"].astype(np.bool_)
        self._at_best = RowIndex(states["device"][self._whole], states["t_ns"][self._whole])
        updates = tables["update"]
        order = order_by_device(updates)
        served = order[np.isin(updates["result"][order], [ExchangeResult.APPLIED, ExchangeResult.CONFIRMED])]
        self._served = RowIndex(updates["device"][served], updates["t_ns"][served])
        self._faults = _devices_by_index(frame.devices.faults)
        self._actions = _devices_by_index(frame.devices.actions)

    def sums(self) -> ImpactSums:
        """Return the impact of each fault and each action."""
        timeline = self._frame.timeline
        if not timeline.faults and not timeline.actions:
            return ImpactSums((), (), QualitySums({}, {}))
        rows = self._tables["fault"]
        faults = [
            self._impact(self._affected_by_fault(index, span), rows["place"] == index)
            for index, span in enumerate(timeline.faults)
        ]
        actions = [self._action(index, span) for index, span in enumerate(timeline.actions)]
        return ImpactSums(faults, actions, QualitySums.from_states(self._frame.states))

    def _action(self, index: int, span: Span) -> SpanSums:
        """Return the impact of an action; its messages are those cut off on its devices meanwhile."""
        rows = self._tables["fault"]
        affected = self._affected_by_action(index, span)
        meanwhile = (rows["t_ns"] >= span.start_ns) & (rows["t_ns"] <= span.end_ns)
        of_devices = np.isin(rows["device"], affected.device) & (rows["place"] == NO_FAULT)
        return self._impact(affected, meanwhile & of_devices)

    def _impact(self, affected: Affected, rows: BoolArray) -> SpanSums:
        faults = self._tables["fault"]
        kinds = faults["harm"][rows]
        device, last = _last_by_device(affected)
        whole = self._whole_from(device, last)
        recovered = whole < NEVER
        return SpanSums(
            {name: int(np.isin(kinds, counted).sum()) for name, counted in MESSAGE_COUNTS.items()},
            exact_sum(faults["bytes"][rows]),
            len(device),
            int(recovered.sum()),
            int(whole[recovered].max(initial=0)),
        )

    def _affected_by_fault(self, index: int, span: Span) -> Affected:
        """Return devices whose messages were impaired or delayed, and devices that an outage cut off."""
        faults = self._tables["fault"]
        rows = faults["place"] == index
        parts = [Affected(faults["device"][rows], faults["t_ns"][rows])]
        kind = FAULT_TYPES[span.type]
        if kind.slows:
            parts.append(self._slowed(index, span))
        if issubclass(kind, BrokerFault):
            parts.append(self._cut_off(span))
        return Affected(
            np.concatenate([part.device for part in parts]), np.concatenate([part.t_ns for part in parts])
        )

    def _slowed(self, index: int, span: Span) -> Affected:
        """Return devices with an exchange on the fault's links, or in the cloud, while the fault lasted."""
        updates = self._tables["update"]
        cloud = issubclass(FAULT_TYPES[span.type], CloudFault)
        begin, end = updates["arrived_ns" if cloud else "sent_ns"], updates["left_ns" if cloud else "t_ns"]
        overlaps = (begin >= 0) & (begin < span.end_ns) & (end > span.start_ns)
        if not cloud:
            overlaps &= np.isin(updates["device"], self._faults.get(index, _NO_DEVICES))
        return Affected(updates["device"][overlaps], np.maximum(begin[overlaps], span.start_ns))

    def _cut_off(self, span: Span) -> Affected:
        """Return devices that an outage of the broker disconnected, or kept from connecting."""
        faults = self._frame.timeline.faults
        others = (fault.start_ns for fault in faults if issubclass(FAULT_TYPES[fault.type], BrokerFault))
        until = min((start for start in others if start > span.start_ns), default=NEVER)
        rows = self._tables["connection"]
        own = (
            (rows["why"] == ConnectivityCause.BROKER_DOWN)
            & (rows["t_ns"] >= span.start_ns)
            & (rows["t_ns"] < until)
        )
        return Affected(rows["device"][own], np.full(int(own.sum()), span.start_ns))

    def _affected_by_action(self, index: int, span: Span) -> Affected:
        """Return the devices to which an action was applied, without those that had not started."""
        device = self._actions.get(index, _NO_DEVICES)
        kind = ACTION_TYPES[span.type]
        if kind.reassigns_users:
            changes = self._frame.devices.user_changes
            within = (changes.t_ns >= span.start_ns) & (changes.t_ns <= span.end_ns)
            within &= np.isin(changes.device, device)
            affected = Affected(changes.device[within], changes.t_ns[within])
        else:
            t_ns = span.start_ns if kind.affects_from_start else span.end_ns
            affected = Affected(device, np.full(len(device), t_ns))
        started = self._frame.index.last(affected.device, affected.t_ns) >= 0
        started &= affected.t_ns < self._frame.timeline.stop_ns
        return Affected(affected.device[started], affected.t_ns[started])

    def _whole_from(self, device: IntArray, t_ns: IntArray) -> IntArray:
        """Return the first time from *t_ns* on at which each device was whole; `NEVER` if it never was."""
        state = self._frame.index.last(device, t_ns)
        now = np.where(state >= 0, self._whole[state], False) if len(self._whole) else state >= 0
        later = [_first_time(rows, device, t_ns) for rows in (self._at_best, self._served)]
        return np.where(now, t_ns, np.minimum(*later))


_NO_QUALITY: Impact = {"quality_before": None, "quality_lowest": None, "quality_recovery_seconds": None}
_NO_DEVICES = np.empty(0, dtype=np.int64)


def _first_time(rows: RowIndex, device: IntArray, t_ns: IntArray) -> IntArray:
    """Return the time of each device's first row at or after *t_ns*; `NEVER` if there is none."""
    row = rows.first(device, t_ns)
    return np.where(row >= 0, rows.t_ns[row], NEVER) if len(rows.t_ns) else np.full(len(device), NEVER)


def _last_by_device(affected: Affected) -> tuple[IntArray, IntArray]:
    """Return each affected device once, with the last time at which it was affected."""
    device, number = np.unique(affected.device, return_inverse=True)
    last = np.full(len(device), -1, dtype=np.int64)
    np.maximum.at(last, number, affected.t_ns)
    return device.astype(np.int64), last


def _devices_by_index(of_devices: Sequence[Sequence[int]]) -> dict[int, IntArray]:
    """Return the devices of each fault or action, from the faults or actions of each device."""
    devices: dict[int, list[int]] = {}
    for number, indices in enumerate(of_devices):
        for index in indices:
            devices.setdefault(index, []).append(number)
    return {index: np.array(numbers, dtype=np.int64) for index, numbers in devices.items()}
