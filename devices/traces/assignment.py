"""Which device plays which series of a trace, where in it, and when that deserves a word of warning."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wire.errors import InputError
from wire.random_streams import stream
from wire.text import printable


class ReplayedTrace(Protocol):
    """What is played of a trace: a `Replay` or an `Availability`."""

    @property
    def file(self) -> str:
        """The trace."""

    @property
    def column(self) -> str:
        """Its column."""

    @property
    def assign(self) -> str:
        """How series are assigned."""

    @property
    def on_end(self) -> str:
        """What follows when a series is over."""

    @property
    def scale(self) -> float:
        """How many times slower it goes than it was recorded."""

    @property
    def shift(self) -> int:
        """How far into its series a device starts at most, in nanoseconds."""


def assigned_series(trace: ReplayedTrace, *, count: int, seed: int, group: str, at: int, drawn: float) -> int:
    """Return the number of the series that a device plays.

    Args:
        trace: what is played, and how it is assigned.
        count: how many series there are.
        seed: of the run.
        group: the name of the device's group.
        at: the device's place in its group, from 0.
        drawn: a number from 0 to 1 from the device's stream.
    """
    if trace.assign == "by_order":
        return at % count
    if trace.assign == "sample_without_replacement":
        return int(_shuffled(seed, group, trace.column, count)[at])
    return int(drawn * count)


def start_within(trace: ReplayedTrace, seed: int, device: str) -> int:
    """Return where in its series the device starts, in nanoseconds of the recording."""
    if not trace.shift:
        return 0
    return int(stream(seed, "trace", trace.column, device).integers(int(trace.shift) + 1))


def reuse_warnings(groups: Iterable[tuple[str, int, ReplayedTrace, int]]) -> list[str]:
    """Return what the user should know of reuse: a line for each group in which series are played twice.

    Args:
        groups: (name, number of devices, what they play, number of its series).

    Raises:
        InputError: a group samples without replacement, and has more devices than there are series.
    """
    return [line for each in groups for line in _warning(*each)]


def _warning(group: str, devices: int, trace: ReplayedTrace, series: int) -> list[str]:
    file = printable(trace.file)
    have = f"{file} has {series} series of {trace.column} for the {devices} devices of group {group}"
    if trace.assign == "sample_without_replacement" and devices > series:
        raise InputError(f"{have}: without replacement there must be one for each; see assign: by_order")
    if trace.assign == "by_order" and devices > series:
        return [f"{have}: each is played by up to {-(-devices // series)} of them"]
    if trace.assign == "sample" and 1 < devices > series:
        return [f"{have}: drawn with replacement, each is played by about {devices / series:.3g} of them"]
    return []


@lru_cache(maxsize=64)
def _shuffled(seed: int, group: str, column: str, count: int) -> NDArray[np.int64]:
    return stream(seed, "assign", column, group).permutation(count)
