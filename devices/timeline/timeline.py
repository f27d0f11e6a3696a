"""The timeline of a run: its stages, actions and faults, and which of them affect one device.

Which devices an action or a fault affects, and when exactly, depends only on the seed, its place in the
scenario's list and the device's id.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TypeVar

import numpy as np

from devices.timeline.actions import Action, ScheduledAction
from devices.timeline.connectivity import (
    FOREVER,
    ConnectivityCause,
    OfflineSpan,
    ramp_offsets,
    stage_offline_spans,
    target_count,
)
from devices.timeline.faults import BrokerFault, CloudFault, Fault, FaultWindow, LinkFault
from devices.timeline.schedule import DeviceSelector, Stage, parse_moment, stage_starts
from wire.random_streams import draw, stream

F = TypeVar("F", bound=Fault)


@dataclass(frozen=True)
class DeviceAttributes:
    """The attributes of a device by which actions and faults select it."""

    name: str
    group: str
    labels: Mapping[str, str]
    node: str
    network: str


@dataclass(frozen=True)
class Timeline:
    """The stages, actions and faults of a scenario."""

    seed: int = 0
    stages: Sequence[Stage] = ()
    actions: Sequence[Action] = ()
    faults: Sequence[Fault] = ()
    names: Sequence[str] = field(default=(), repr=False)
    """The ids of all devices, for the order in which stages connect them."""
    stop_ns: int = FOREVER
    """The stop time. Faults end then too: otherwise messages under way could never arrive."""

    @cached_property
    def windows(self) -> tuple[FaultWindow[Fault], ...]:
        """The windows in which faults are active, in the order of their start."""
        windows = []
        for number, fault in enumerate(self.faults):
            start_ns = self.moment(fault.at)
            end_ns = min(start_ns + fault.duration, self.stop_ns)
            windows.append(FaultWindow(start_ns, end_ns, number, fault))
        return tuple(sorted(windows, key=lambda window: window[:3]))

    @cached_property
    def cloud_windows(self) -> tuple[FaultWindow[CloudFault], ...]:
        """The windows in which the cloud is down or slow."""
        return self.windows_of(CloudFault)

    @cached_property
    def outages(self) -> tuple[FaultWindow[BrokerFault], ...]:
        """The windows in which the broker is down."""
        return self.windows_of(BrokerFault)

    def moment(self, at: str) -> int:
        """Return the time *at* in nanoseconds since the start."""
        return parse_moment(at).resolve(self._starts)

    def link_windows(self, device: DeviceAttributes, stream: str) -> tuple[FaultWindow[LinkFault], ...]:
        """Return the faults of a device's *stream*: ``uplink`` or ``downlink``."""
        return tuple(
            window
            for window in self.windows_of(LinkFault)
            if window.fault.stream in ("both", stream)
            and self._selects(window.fault.select, device, "fault", window.number)
        )

    def actions_for(self, device: DeviceAttributes) -> tuple[ScheduledAction, ...]:
        """Return the actions on a device, in the order of time."""
        scheduled = []
        for number, action in enumerate(self.actions):
            if self._selects(action.select, device, "action", number):
                t_ns = self.moment(action.at)
                if action.spread_ns:
                    t_ns += int(action.spread_ns * draw(self.seed, "within", number, device.name))
                scheduled.append(ScheduledAction(t_ns, number, action))
        return tuple(sorted(scheduled, key=lambda action: action[:2]))

    def offline_spans(
        self, device: DeviceAttributes, actions: Iterable[ScheduledAction]
    ) -> list[Iterator[OfflineSpan]]:
        """Return when stages, *actions* and outages of the broker keep a device offline."""
        sources: list[Iterator[OfflineSpan]] = []
        if self.stages:
            rank = self._arrival_ranks[device.name]
            sources.append(stage_offline_spans(self.stages, rank, len(self.names), self._ramps))
        for t_ns, number, action in actions:
            offline_ns = action.offline_ns(partial(draw, self.seed, "reconnect", number, device.name))
            if offline_ns is not None:
                # Two actions may overlap, so each is a source of its own.
                sources.append(iter([OfflineSpan(t_ns, t_ns + offline_ns, ConnectivityCause.ACTION)]))
        sources += [iter([self._outage(window, device.name)]) for window in self.outages]
        return sources

    @cached_property
    def _starts(self) -> dict[str, int]:
        return stage_starts(self.stages)

    @cached_property
    def _arrival_ranks(self) -> dict[str, int]:
        """The order in which devices arrive: by a hash of seed and id, so that groups mix."""

        def key(name: str) -> bytes:
            return hashlib.blake2b(f"{self.seed}\x1farrival\x1f{name}".encode(), digest_size=16).digest()

        return {name: rank for rank, name in enumerate(sorted(self.names, key=key))}

    @cached_property
    def _ramps(self) -> list[np.ndarray]:
        """For each stage, when each device that it adds or removes connects or leaves."""
        offsets, before = [], 0
        for stage in self.stages:
            target = target_count(stage, len(self.names))
            offsets.append(ramp_offsets(stage, abs(target - before), stream(self.seed, "stage", stage.name)))
            before = target
        return offsets

    def windows_of(self, kind: type[F]) -> tuple[FaultWindow[F], ...]:
        """Return the times at which faults of one kind are active, in the order of their start."""
        return tuple(
            FaultWindow(start_ns, end_ns, number, fault)
            for start_ns, end_ns, number, fault in self.windows
            if isinstance(fault, kind)
        )

    def _selects(self, select: DeviceSelector, device: DeviceAttributes, kind: str, number: int) -> bool:
        fits = select.fits(group=device.group, labels=device.labels, node=device.node, network=device.network)
        if not fits or select.share >= 1.0:
            return fits
        return draw(self.seed, "select", kind, number, device.name) < select.share

    def _outage(self, window: FaultWindow[BrokerFault], name: str) -> OfflineSpan:
        late = window.fault.reconnect_within * draw(self.seed, "back", window.number, name)
        return OfflineSpan(window.start_ns, window.end_ns + int(late), ConnectivityCause.BROKER_DOWN)
