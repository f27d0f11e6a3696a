"""The program of a run: its stages, actions and faults, and what of them concerns one device.

Whom an action or a fault concerns, and when exactly, depends on the seed, its place in the list and the
device's id only.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np

from devices.timeline.actions import Actions, Deed, Disconnect, NewUsers, SwapNetwork
from devices.timeline.connectivity import FOREVER, Absence, Why, placed, ramp_offsets, staged
from devices.timeline.faults import BrokerFault, CloudFault, Fault, FaultWindow, LinkFault
from devices.timeline.schedule import Select, Stage, parse_moment, stage_starts
from wire.random_streams import draw, stream

F = TypeVar("F", bound=Fault)


@dataclass(frozen=True)
class Member:
    """What of a device decides whether something concerns it."""

    name: str
    group: str
    labels: Mapping[str, str]
    node: str
    network: str


@dataclass(frozen=True)
class Program:
    """What a scenario says will happen."""

    seed: int = 0
    stages: Sequence[Stage] = ()
    actions: Sequence[Actions] = ()
    faults: Sequence[Fault] = ()
    names: Sequence[str] = field(default=(), repr=False)
    """The ids of all devices, for the order in which stages bring them in."""
    stop_ns: int = FOREVER
    """When memory stops moving; so do the faults, or what is still under way could never arrive."""

    @cached_property
    def windows(self) -> tuple[FaultWindow[Fault], ...]:
        """When each fault is in force, in the order of their start."""
        found = []
        for number, fault in enumerate(self.faults):
            start_ns = self.moment(fault.at)
            end_ns = min(start_ns + fault.duration, self.stop_ns)
            found.append(FaultWindow(start_ns, end_ns, number, fault))
        return tuple(sorted(found, key=lambda window: window[:3]))

    @cached_property
    def cloud_windows(self) -> tuple[FaultWindow[CloudFault], ...]:
        """When the cloud is down or slow."""
        return self._windows_of(CloudFault)

    @cached_property
    def outages(self) -> tuple[FaultWindow[BrokerFault], ...]:
        """When the broker is down."""
        return self._windows_of(BrokerFault)

    def moment(self, at: str) -> int:
        """Return when *at* is, in nanoseconds since the start."""
        return parse_moment(at).resolve(self._starts)

    def link_windows(self, member: Member, stream: str) -> tuple[FaultWindow[LinkFault], ...]:
        """Return the faults of a device's *stream*: ``uplink`` or ``downlink``."""
        return tuple(
            window
            for window in self._windows_of(LinkFault)
            if window.fault.stream in ("both", stream)
            and self._concerns(window.fault.select, member, "fault", window.number)
        )

    def deeds(self, member: Member) -> tuple[Deed, ...]:
        """Return what is done to a device, in time order."""
        found = []
        for place, action in enumerate(self.actions):
            if self._concerns(action.select, member, "action", place):
                t_ns = self.moment(action.at)
                if isinstance(action, NewUsers):
                    t_ns += int(action.within * draw(self.seed, "within", place, member.name))
                found.append(Deed(t_ns, place, action))
        return tuple(sorted(found, key=lambda deed: deed[:2]))

    def absences(self, member: Member, deeds: Iterable[Deed]) -> list[Iterator[Absence]]:
        """Return what keeps a device from being connected: stages, actions, outages of the broker."""
        sources: list[Iterator[Absence]] = []
        if self.stages:
            place = self._arrivals[member.name]
            sources.append(staged(self.stages, place, len(self.names), self._ramps))
        cut_off = [
            Absence(deed.t_ns, deed.t_ns + self._away_ns(deed, member.name), Why.ACTION)
            for deed in deeds
            if isinstance(deed.action, Disconnect)
        ]
        # Two actions may overlap, so each is a source of its own.
        sources += [iter([absence]) for absence in cut_off]
        sources += [iter([self._outage(window, member.name)]) for window in self.outages]
        return sources

    @cached_property
    def _starts(self) -> dict[str, int]:
        return stage_starts(self.stages)

    @cached_property
    def _arrivals(self) -> dict[str, int]:
        """The order in which devices come: by a hash of seed and id, so that groups mix."""

        def key(name: str) -> bytes:
            return hashlib.blake2b(f"{self.seed}\x1farrival\x1f{name}".encode(), digest_size=16).digest()

        return {name: place for place, name in enumerate(sorted(self.names, key=key))}

    @cached_property
    def _ramps(self) -> list[np.ndarray]:
        """For each stage, when each device that it brings in or lets go moves."""
        offsets, before = [], 0
        for stage in self.stages:
            wanted = placed(stage, len(self.names))
            offsets.append(ramp_offsets(stage, abs(wanted - before), stream(self.seed, "stage", stage.name)))
            before = wanted
        return offsets

    def _windows_of(self, kind: type[F]) -> tuple[FaultWindow[F], ...]:
        """Return when faults of one kind are active."""
        return tuple(
            FaultWindow(start_ns, end_ns, number, fault)
            for start_ns, end_ns, number, fault in self.windows
            if isinstance(fault, kind)
        )

    def _concerns(self, select: Select, member: Member, kind: str, place: int) -> bool:
        fits = select.fits(group=member.group, labels=member.labels, node=member.node, network=member.network)
        if not fits or select.share >= 1.0:
            return fits
        return draw(self.seed, "select", kind, place, member.name) < select.share

    def _away_ns(self, deed: Deed, name: str) -> int:
        assert isinstance(deed.action, Disconnect)
        late = deed.action.reconnect_within * draw(self.seed, "reconnect", deed.place, name)
        return int(deed.action.duration) + int(late)

    def _outage(self, window: FaultWindow[BrokerFault], name: str) -> Absence:
        late = window.fault.reconnect_within * draw(self.seed, "back", window.number, name)
        return Absence(window.start_ns, window.end_ns + int(late), Why.BROKER_DOWN)


def network_changes(deeds: Iterable[Deed], own: str) -> list[tuple[int, str]]:
    """Return (t_ns, network) of the moves among *deeds*, back to *own* where they end by themselves."""
    moves: list[tuple[int, str]] = []
    for deed in deeds:
        if isinstance(deed.action, SwapNetwork):
            moves = [move for move in moves if move[0] < deed.t_ns]  # a later move ends an earlier one
            moves.append((deed.t_ns, deed.action.to))
            if deed.action.duration is not None:
                moves.append((deed.t_ns + deed.action.duration, own))
    return moves
