"""What each fault and each action did to the fleet, and when the fleet was whole again.

A device is **whole** at a moment if it is connected and holds the best PEE for its budget, or if an exchange
ends then with what the device asked for applied or confirmed: with policies (hysteresis, headroom, rounded
budgets) a device may rightly rest below what its budget allows. The fleet is whole again when every device
that was affected has been whole at least once since it was affected *last*.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from devices.event_log import Harm, Result
from devices.timeline.connectivity import Why
from devices.timeline.faults import FAULT_TYPES, NO_FAULT, BrokerFault, CloudFault
from emulator.metrics.frame import BoolArray, Columns, Frame, IntArray, RowIndex, order_by_device
from emulator.metrics.quality_recovery import RECOVERED_SHARE, mean_quality_over_time
from emulator.metrics.timeline import DISCONNECT, HANDOVER, Span
from wire.units import NS_PER_S

Impact = Mapping[str, str | int | float | None]

NEVER = np.iinfo(np.int64).max
MESSAGE_COUNTS = {
    "messages_lost": (Harm.REPORT_LOST, Harm.PART_LOST),
    "messages_corrupted": (Harm.REPORT_CORRUPTED, Harm.PART_CORRUPTED),
    "messages_duplicated": (Harm.REPORT_DUPLICATED, Harm.PART_DUPLICATED),
    "messages_reordered": (Harm.PART_REORDERED,),
    "messages_cut_off": (Harm.REPORT_CUT_OFF, Harm.PART_CUT_OFF),
    "messages_refused": (Harm.REPORT_REFUSED,),
}


@dataclass(frozen=True)
class Affected:
    """Devices that were affected, and when."""

    device: IntArray
    t_ns: IntArray


class FaultImpact:
    """Keeps the accounts of one run.

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
        served = order[np.isin(updates["result"][order], [Result.APPLIED, Result.CONFIRMED])]
        self._served = RowIndex(updates["device"][served], updates["t_ns"][served])
        self._quality = mean_quality_over_time(states)
        self._concerned = {
            "faults": _by_place(frame.members.faults),
            "actions": _by_place(frame.members.actions),
        }

    def faults(self) -> list[Impact]:
        """Return an account of each fault, in the order of the scenario."""
        faults = self._tables["fault"]
        return [
            self._account(span, self._hurt_by_fault(place, span), faults["place"] == place)
            for place, span in enumerate(self._frame.plan.faults)
        ]

    def actions(self) -> list[Impact]:
        """Return an account of each action; messages are what broke off on its devices meanwhile."""
        found, faults = [], self._tables["fault"]
        for place, span in enumerate(self._frame.plan.actions):
            hurt = self._hurt_by_action(place, span)
            meanwhile = (faults["t_ns"] >= span.start_ns) & (faults["t_ns"] <= span.end_ns)
            ours = np.isin(faults["device"], hurt.device) & (faults["place"] == NO_FAULT)
            found.append(self._account(span, hurt, meanwhile & ours))
        return found

    def _account(self, span: Span, hurt: Affected, rows: BoolArray) -> Impact:
        faults, stop_ns = self._tables["fault"], self._frame.plan.stop_ns
        harms = faults["harm"][rows]
        device, last = _last(hurt)
        whole = self._whole_since(device, last)
        recovered = whole < NEVER
        again = max(int(whole.max(initial=0)) - span.end_ns, 0) / NS_PER_S if recovered.all() else None
        return {
            "type": span.type,
            "at": span.at,
            "start_seconds": span.start_ns / NS_PER_S,
            "end_seconds": span.end_ns / NS_PER_S,
            **{name: int(np.isin(harms, kinds).sum()) for name, kinds in MESSAGE_COUNTS.items()},
            "harmed_bytes": int(faults["bytes"][rows].sum()),
            "devices_affected": len(device),
            "devices_recovered": int(recovered.sum()),
            "devices_not_whole": int((~recovered).sum()),
            "whole_again_seconds": again,
            **(self._quality_of(span) if span.start_ns < stop_ns else _NO_QUALITY),
        }

    def _hurt_by_fault(self, place: int, span: Span) -> Affected:
        """Return whose messages were harmed or slowed, and whom an outage cut off."""
        faults = self._tables["fault"]
        rows = faults["place"] == place
        parts = [Affected(faults["device"][rows], faults["t_ns"][rows])]
        kind = FAULT_TYPES[span.type]
        if kind.slows:
            parts.append(self._slowed(place, span))
        if issubclass(kind, BrokerFault):
            parts.append(self._cut_off(span))
        return Affected(
            *(np.concatenate([getattr(each, name) for each in parts]) for name in ("device", "t_ns"))
        )

    def _slowed(self, place: int, span: Span) -> Affected:
        """Return who had an exchange under way in the fault: on its links, or in the cloud."""
        updates = self._tables["update"]
        cloud = issubclass(FAULT_TYPES[span.type], CloudFault)
        begin, end = updates["arrived_ns" if cloud else "sent_ns"], updates["left_ns" if cloud else "t_ns"]
        under_way = (begin >= 0) & (begin < span.end_ns) & (end > span.start_ns)
        if not cloud:
            under_way &= np.isin(updates["device"], self._concerned["faults"].get(place, _NOBODY))
        return Affected(updates["device"][under_way], np.maximum(begin[under_way], span.start_ns))

    def _cut_off(self, span: Span) -> Affected:
        """Return whom an outage of the broker cut off, or kept away."""
        faults = self._frame.plan.faults
        others = (fault.start_ns for fault in faults if issubclass(FAULT_TYPES[fault.type], BrokerFault))
        until = min((start for start in others if start > span.start_ns), default=NEVER)
        rows = self._tables["connection"]
        ours = (rows["why"] == Why.BROKER_DOWN) & (rows["t_ns"] >= span.start_ns) & (rows["t_ns"] < until)
        return Affected(rows["device"][ours], np.full(int(ours.sum()), span.start_ns))

    def _hurt_by_action(self, place: int, span: Span) -> Affected:
        """Return the devices that an action was done to, as far as they had started."""
        device = self._concerned["actions"].get(place, _NOBODY)
        if span.type == HANDOVER:
            handed = self._frame.members.handed_over
            within = (handed.t_ns >= span.start_ns) & (handed.t_ns <= span.end_ns)
            hurt = Affected(handed.device[within], handed.t_ns[within])
            ours = np.isin(hurt.device, device)
            hurt = Affected(hurt.device[ours], hurt.t_ns[ours])
        else:
            # A storm hurts at once; a budget, or a network, has changed when the change is over.
            t_ns = span.end_ns if span.type not in (DISCONNECT, "network") else span.start_ns
            hurt = Affected(device, np.full(len(device), t_ns))
        there = self._frame.timeline.last(hurt.device, hurt.t_ns) >= 0
        there &= hurt.t_ns < self._frame.plan.stop_ns
        return Affected(hurt.device[there], hurt.t_ns[there])

    def _whole_since(self, device: IntArray, t_ns: IntArray) -> IntArray:
        """Return when each device was whole first, from *t_ns* on; `NEVER` if it never was."""
        state = self._frame.timeline.last(device, t_ns)
        now = np.where(state >= 0, self._whole[state], False) if len(self._whole) else state >= 0
        later = [_first(rows, device, t_ns) for rows in (self._at_best, self._served)]
        return np.where(now, t_ns, np.minimum(*later))

    def _quality_of(self, span: Span) -> Impact:
        """Return the fleet's mean NDCG@10 before, at its lowest, and how long after the end it was back."""
        times, means = self._quality
        stop_ns = self._frame.plan.stop_ns
        first = int(np.searchsorted(times, span.start_ns, side="left"))
        if first == 0:
            return _NO_QUALITY
        before = float(means[first - 1])
        end = max(int(np.searchsorted(times, span.end_ns, side="right")) - 1, first - 1)
        back = np.flatnonzero((means[end:] >= RECOVERED_SHARE * before) & (times[end:] <= stop_ns))
        until = end + int(back[0]) if len(back) else len(times)
        late = max(int(times[until]) - span.end_ns, 0) / NS_PER_S if len(back) else None
        return {
            "quality_before": before,
            "quality_lowest": float(means[first - 1 : until + 1].min()),
            "quality_recovery_seconds": late,
        }


_NO_QUALITY: Impact = {"quality_before": None, "quality_lowest": None, "quality_recovery_seconds": None}
_NOBODY = np.empty(0, dtype=np.int64)


def _first(rows: RowIndex, device: IntArray, t_ns: IntArray) -> IntArray:
    """Return the time of the first of *rows* of each device from *t_ns* on; `NEVER` if there is none."""
    found = rows.first(device, t_ns)
    return np.where(found >= 0, rows.t_ns[found], NEVER) if len(rows.t_ns) else np.full(len(device), NEVER)


def _last(hurt: Affected) -> tuple[IntArray, IntArray]:
    """Return each affected device once, with the last time at which it was."""
    device, place = np.unique(hurt.device, return_inverse=True)
    last = np.full(len(device), -1, dtype=np.int64)
    np.maximum.at(last, place, hurt.t_ns)
    return device.astype(np.int64), last


def _by_place(places: Sequence[Sequence[int]]) -> dict[int, IntArray]:
    """Return the devices of each fault or action, from the faults or actions of each device."""
    found: dict[int, list[int]] = {}
    for number, each in enumerate(places):
        for place in each:
            found.setdefault(place, []).append(number)
    return {place: np.array(devices, dtype=np.int64) for place, devices in found.items()}
