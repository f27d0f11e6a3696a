"""The assignment of the series of a trace to devices, and warnings about reuse."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wire.errors import InputError
from wire.random_streams import stream
from wire.text import printable


class ReplayedTrace(Protocol):
    """A trace as a scenario replays it: a `Replay` or an `Availability`."""

    @property
    def file(self) -> str:
        """The file of the trace."""

    @property
    def column(self) -> str:
        """The column that is played."""

    @property
    def assign(self) -> str:
        """The rule by which series are assigned."""

    @property
    def on_end(self) -> str:
        """The action at the end of a series."""

    @property
    def scale(self) -> float:
        """The factor by which time is stretched."""

    @property
    def shift(self) -> int:
        """The latest point of its series at which a device starts, in nanoseconds."""


def assigned_series(
    trace: ReplayedTrace, *, count: int, seed: int, group: str, index: int, drawn: float
) -> int:
    """Return the number of the series that a device plays.

    Args:
        trace: the trace and its rule of assignment.
        count: the number of series.
        seed: of the run.
        group: the name of the device's group.
        index: the device's index in its group, from 0.
        drawn: a number from 0 to 1 from the device's stream.
    """
    if trace.assign == "by_order":
        return index % count
    if trace.assign == "sample_without_replacement":
        return int(_permutation(seed, group, trace.column, count)[index])
    return int(drawn * count)


def start_within(trace: ReplayedTrace, seed: int, device: str) -> int:
    """Return the point of its series at which the device starts, in nanoseconds of the recording."""
    if not trace.shift:
        return 0
    return int(stream(seed, "trace", trace.column, device).integers(int(trace.shift) + 1))


def reuse_warnings(groups: Iterable[tuple[str, int, ReplayedTrace, int]]) -> list[str]:
    """Return a warning for each group in which several devices play the same series.

    Args:
        groups: (name, number of devices, the trace that they play, number of its series).

    Raises:
        InputError: a group samples without replacement, and has more devices than there are series.
    """
    return [line for group in groups for line in _warning(*group)]


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
def _permutation(seed: int, group: str, column: str, count: int) -> NDArray[np.int64]:
    return stream(seed, "assign", column, group).permutation(count)
