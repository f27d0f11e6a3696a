"""Presence: when a device is connected.

Several things keep a device off the network: it has not started, its stage of the ramp has not come, it
churns, a trace says so, an action cut it off, the broker is down. Each gives spans of absence; a device is
connected when none of them holds. Its memory moves all the while.
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


class Why(IntEnum):
    """What keeps a device away, or has kept it away until now."""

    START = 0
    STAGE = 1
    CHURN = 2
    TRACE = 3
    ACTION = 4
    BROKER_DOWN = 5
    BROKEN = 6  # its own connection broke; by itself, not by a fault of the scenario
    RESUMED = 7  # the process that runs it was started again


class Absence(NamedTuple):
    """A span of time in which a device is not connected."""

    start_ns: int
    end_ns: int
    why: Why


class Toggle(NamedTuple):
    """A moment at which a device connects or is cut off."""

    t_ns: int
    online: bool
    why: Why


class Churn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Devices that come and go by themselves."""

    intermittent_share: Share = Share(1.0)
    """The share of the group's devices that do, drawn device by device; the others stay."""
    uptime_mean: Duration = Duration(10 * TIME_UNITS["min"])
    """How long a device is connected, on average."""
    downtime_mean: Duration = Duration(40 * TIME_UNITS["s"])
    """How long it is away, on average."""
    deviation: Share | None = None
    """Standard deviation of both as a share of their means: normal, at least 1 ms; null: exponential.

    A device starts somewhere in a time of being connected, so that the fleet is not cut off in step.
    """

    def __post_init__(self) -> None:
        for name, span in (("uptime_mean", self.uptime_mean), ("downtime_mean", self.downtime_mean)):
            if span <= 0:
                raise ValueError(f"{name}(={format_duration(span)}) must be > 0")

    def absences(self, rng: np.random.Generator, start_ns: int) -> Iterator[Absence]:
        """Yield the absences of one device from *start_ns* on, without end; none if it stays."""
        if rng.random() >= self.intermittent_share:
            return
        now = start_ns
        # With a deviation, all devices would be cut off at nearly the same time; without, what is left of a
        # time is distributed as the whole.
        rest = None if self.deviation is None else self._rest(rng, int(self.uptime_mean))
        while True:
            ups, downs = (self._spans(rng, int(mean)) for mean in (self.uptime_mean, self.downtime_mean))
            if rest is not None:
                ups[0], rest = rest, None
            for up, down in zip(ups, downs, strict=True):
                yield Absence(now + up, now + up + down, Why.CHURN)
                now += up + down

    def _rest(self, rng: np.random.Generator, mean: int) -> int:
        """Return what is left of a time that began before now, as long as such a time is in the long run.

        A long time is more likely to be the one at hand, in proportion to its length.
        """
        spans = np.maximum(rng.normal(*self._normal(mean), 4 * _AT_ONCE), _LEAST_NS)
        ends = np.cumsum(spans)
        at = rng.random() * ends[-1]
        return int(np.clip(ends[np.searchsorted(ends, at, side="right")] - at, _LEAST_NS, FOREVER))

    def _normal(self, mean: int) -> tuple[float, float]:
        """Return mean and deviation of what is drawn, so that they are as stated after the cut at 0."""
        return normal_before_cut(mean, mean * float(self.deviation or 0))

    def _spans(self, rng: np.random.Generator, mean: int) -> list[int]:
        if self.deviation is None:
            drawn = rng.exponential(mean, _AT_ONCE)
        else:
            drawn = rng.normal(*self._normal(mean), _AT_ONCE)
        spans: list[int] = np.clip(drawn, _LEAST_NS, FOREVER).astype(np.int64).tolist()
        return spans


def staged(stages: Sequence[Stage], place: int, count: int, spans: Sequence[np.ndarray]) -> Iterator[Absence]:
    """Yield when the stages keep a device away.

    A stage with target s has the first ``round(s * count)`` devices connected. Those that a stage adds come
    over its ramp in their order, those that it takes away go in their reverse order.

    Args:
        stages: of the scenario.
        place: the device's place in the fleet's order of arrival, from 0.
        count: how many devices there are.
        spans: for each stage the offsets into its ramp, in nanoseconds, of the 1st, 2nd, ... device that
            comes or goes (`ramp_offsets`).
    """
    begin, now, before = 0, 0, 0
    away = True
    for stage, offsets in zip(stages, spans, strict=True):
        wanted = placed(stage, count)
        if away and place < wanted:
            yield Absence(begin, now + int(offsets[place - before]), Why.STAGE)
            away = False
        elif not away and place >= wanted:
            begin, away = now + int(offsets[before - 1 - place]), True
        now, before = now + stage.duration, wanted
    if away and stages:
        yield Absence(begin, FOREVER, Why.STAGE)


def placed(stage: Stage, count: int) -> int:
    """Return how many of *count* devices *stage* wants connected."""
    return round(stage.target * count)


def ramp_offsets(stage: Stage, moving: int, rng: np.random.Generator) -> np.ndarray:
    """Return when, in nanoseconds into the stage, each of *moving* devices comes or goes; rising.

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


def toggles(sources: Iterable[Iterator[Absence]]) -> Iterator[Toggle]:
    """Yield when a device is cut off and when it is back, in time order.

    A device that is away at 0 has no first toggle: it begins with the one that connects it. Absences that
    overlap or touch are one.

    Args:
        sources: absences, each source in time order and without overlap within itself.
    """
    absences = heapq.merge(*sources)
    current = next(absences, None)
    if current is None or current.start_ns > 0:
        yield Toggle(0, True, Why.START)
    while current is not None:
        start_ns, end_ns, first = current
        why = first
        following = next(absences, None)
        # Once it is away for good nothing more is asked of the sources: some of them have no end.
        while following is not None and following.start_ns <= end_ns < FOREVER:
            if following.end_ns >= end_ns:
                end_ns, why = following.end_ns, following.why
            following = next(absences, None)
        if start_ns > 0:
            yield Toggle(start_ns, False, first)
        if end_ns >= FOREVER:
            return
        yield Toggle(end_ns, True, why)
        current = following


def started(start_ns: int) -> Iterator[Absence]:
    """Yield the absence of a device that has not started."""
    return itertools.repeat(Absence(0, start_ns, Why.START), 1 if start_ns else 0)


def resumed(toggles: Iterable[Toggle], since_ns: int) -> Iterator[Toggle]:
    """Yield *toggles* from *since_ns* on; the first one connects a device that would be connected then."""
    coming = iter(toggles)
    current, online = next(coming, None), False
    while current is not None and current.t_ns <= since_ns:
        online = current.online
        current = next(coming, None)
    if online:
        yield Toggle(since_ns, True, Why.RESUMED)
    if current is not None:
        yield current
    yield from coming
