"""Connectivity: when a device is connected.

Several causes keep a device offline: it has not started, its stage has not connected it yet, it churns, a
trace says so, an action cut it off, the broker is down. Each cause gives spans of time offline. A device is
connected when it is in none of them. Its memory changes all the time.
"""

import heapq
import itertools
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

import msgspec
import numpy as np

from devices.distributions import normal_before_cut
from devices.timeline.schedule import Stage
from wire.units import TIME_UNITS, Duration, Share, format_duration

FOREVER = 2**62
"""Later than any moment of a run, in nanoseconds."""
_LEAST_NS = TIME_UNITS["ms"]
_AT_ONCE = 64


class ConnectivityCause(IntEnum):
    """The cause that keeps a device offline, or has kept it offline until now."""

    START = 0
    STAGE = 1
    CHURN = 2
    TRACE = 3
    ACTION = 4
    BROKER_DOWN = 5
    BROKEN = 6  # its own connection broke, and no fault of the scenario did it
    RESUMED = 7  # the process that runs it was started again


class OfflineSpan(NamedTuple):
    """A span of time in which a device is not connected."""

    start_ns: int
    end_ns: int
    why: ConnectivityCause


class ConnectivityChange(NamedTuple):
    """The time at which a device connects or is cut off."""

    t_ns: int
    online: bool
    why: ConnectivityCause


class Churn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Devices that come and go by themselves."""

    intermittent_share: Share = Share(1.0)
    """The share of the group's devices that do, drawn device by device; the others stay."""
    uptime_mean: Duration = Duration(10 * TIME_UNITS["min"])
    """Mean time for which a device is connected."""
    downtime_mean: Duration = Duration(40 * TIME_UNITS["s"])
    """Mean time for which it is offline."""
    deviation: Share | None = None
    """Standard deviation of both as a share of their means: normal, at least 1 ms; null: exponential.

    A device starts somewhere in a time of being connected, so that the fleet is not cut off in step.
    """

    def __post_init__(self) -> None:
        for name, span in (("uptime_mean", self.uptime_mean), ("downtime_mean", self.downtime_mean)):
            if span <= 0:
                raise ValueError(f"{name}(={format_duration(span)}) must be > 0")

    def offline_spans(self, rng: np.random.Generator, start_ns: int) -> Iterator[OfflineSpan]:
        """Yield the spans offline of one device from *start_ns* on, endless; none if it stays connected."""
        if rng.random() >= self.intermittent_share:
            return
        now = start_ns
        # With a deviation, all devices would be cut off at nearly one time, so each starts within a span.
        # Exponential spans need no such start: the rest of one is distributed as a whole one.
        rest = None if self.deviation is None else self._rest(rng, int(self.uptime_mean))
        while True:
            ups, downs = (self._spans(rng, int(mean)) for mean in (self.uptime_mean, self.downtime_mean))
            if rest is not None:
                ups[0], rest = rest, None
            for up, down in zip(ups, downs, strict=True):
                yield OfflineSpan(now + up, now + up + down, ConnectivityCause.CHURN)
                now += up + down

    def _rest(self, rng: np.random.Generator, mean: int) -> int:
        """Draw the rest of the span that a device is in at its start, as in the long run.

        The chance to be in a span is in proportion to its length.
        """
        spans = np.maximum(rng.normal(*self._normal(mean), 4 * _AT_ONCE), _LEAST_NS)
        ends = np.cumsum(spans)
        at = rng.random() * ends[-1]
        return int(np.clip(ends[np.searchsorted(ends, at, side="right")] - at, _LEAST_NS, FOREVER))

    def _normal(self, mean: int) -> tuple[float, float]:
        """Return the mean and deviation to draw with, so that they are as stated after the cut at 0."""
        return normal_before_cut(mean, mean * float(self.deviation or 0))

    def _spans(self, rng: np.random.Generator, mean: int) -> list[int]:
        if self.deviation is None:
            drawn = rng.exponential(mean, _AT_ONCE)
        else:
            drawn = rng.normal(*self._normal(mean), _AT_ONCE)
        spans: list[int] = np.clip(drawn, _LEAST_NS, FOREVER).astype(np.int64).tolist()
        return spans


def stage_offline_spans(
    stages: Sequence[Stage], rank: int, count: int, ramps: Sequence[np.ndarray]
) -> Iterator[OfflineSpan]:
    """Yield when the stages keep a device offline.

    A stage with target s has the first ``round(s * count)`` devices connected. The devices that a stage adds
    connect during its ramp in the order of their rank; those that it removes leave in reverse order.

    Args:
        stages: of the scenario.
        rank: the device's rank in the order of arrival, from 0.
        count: the number of devices.
        ramps: for each stage the offsets from its start, in nanoseconds, at which the 1st, 2nd, ... device
            connects or leaves (`ramp_offsets`).
    """
    begin, now, before = 0, 0, 0
    offline = True
    for stage, offsets in zip(stages, ramps, strict=True):
        target = target_count(stage, count)
        if offline and rank < target:
            yield OfflineSpan(begin, now + int(offsets[rank - before]), ConnectivityCause.STAGE)
            offline = False
        elif not offline and rank >= target:
            begin, offline = now + int(offsets[before - 1 - rank]), True
        now, before = now + stage.duration, target
    if offline and stages:
        yield OfflineSpan(begin, FOREVER, ConnectivityCause.STAGE)


def target_count(stage: Stage, count: int) -> int:
    """Return how many of *count* devices are connected at the end of *stage*."""
    return round(stage.target * count)


def ramp_offsets(stage: Stage, moving: int, rng: np.random.Generator) -> np.ndarray:
    """Return when each of *moving* devices connects or leaves, in nanoseconds from the stage's start, rising.

    Linear: the first at once, the last one step before the end of the ramp. Uniform: drawn evenly. Poisson:
    gaps drawn from an exponential distribution whose mean fits the ramp, cut off at the end of the stage.
    """
    ramp = stage.ramp_ns
    if stage.spread == "linear":
        return np.arange(moving, dtype=np.int64) * ramp // max(moving, 1)
    if stage.spread == "uniform":
        return np.sort(rng.integers(0, max(ramp, 1), moving))
    gaps = rng.exponential(ramp / max(moving, 1), moving)
    return np.minimum(np.cumsum(gaps), stage.duration - 1).astype(np.int64)


def connectivity_changes(sources: Iterable[Iterator[OfflineSpan]]) -> Iterator[ConnectivityChange]:
    """Yield when a device is cut off and when it connects again, in the order of time.

    The first change of a device that is offline at 0 connects it. Spans that overlap or touch are one.

    Args:
        sources: spans offline; within a source they are in the order of time and do not overlap.
    """
    spans = heapq.merge(*sources)
    current = next(spans, None)
    if current is None or current.start_ns > 0:
        yield ConnectivityChange(0, True, ConnectivityCause.START)
    while current is not None:
        start_ns, end_ns, first = current
        last = first
        following = next(spans, None)
        # A device that is offline for good asks its sources for no more: some of them have no end.
        while following is not None and following.start_ns <= end_ns < FOREVER:
            if following.end_ns >= end_ns:
                end_ns, last = following.end_ns, following.why
            following = next(spans, None)
        if start_ns > 0:
            yield ConnectivityChange(start_ns, False, first)
        if end_ns >= FOREVER:
            return
        yield ConnectivityChange(end_ns, True, last)
        current = following


def offline_until(start_ns: int) -> Iterator[OfflineSpan]:
    """Yield the span before a device starts, if it does not start at 0."""
    return itertools.repeat(OfflineSpan(0, start_ns, ConnectivityCause.START), 1 if start_ns else 0)


def resume_at(changes: Iterable[ConnectivityChange], since_ns: int) -> Iterator[ConnectivityChange]:
    """Yield *changes* from *since_ns* on; the first one connects a device that is connected at that time."""
    coming = iter(changes)
    current, online = next(coming, None), False
    while current is not None and current.t_ns <= since_ns:
        online = current.online
        current = next(coming, None)
    if online:
        yield ConnectivityChange(since_ns, True, ConnectivityCause.RESUMED)
    if current is not None:
        yield current
    yield from coming
