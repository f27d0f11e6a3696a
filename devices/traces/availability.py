"""Availability traces: the times at which each device of a recording could not be reached."""

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from devices.memory.replay import Assign, Scale, WithoutData, check_file
from devices.traces.series import Series
from wire.units import Duration

FOREVER: Final = 2**62
"""The end of an endless span, in nanoseconds: 146 years."""


class Availability(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="trace", tag_field="type"
):
    """Replays the times at which recorded devices could be reached, see docs/traces.md."""

    file: str
    """CSV or Parquet with the columns `t_s` (seconds from the start), the one named below, and `device_id`
    where it holds several series; looked up beside the scenario file, then in the working folder."""
    column: str = "online"
    """The column that says whether the device is online; an empty cell keeps the value before it."""
    assign: Assign = "sample"
    """The series that a device plays: one drawn for it; the first for the first device, and so on, from the
    start again after the last; or one drawn that no other device of the group plays."""
    on_end: Literal["wrap", "hold", "stop"] = "wrap"
    """At the end of a series: start it again, keep its last state, or leave the fleet for good."""
    scale: Scale = 1.0
    """Time is stretched by this factor: 2 makes the recording last twice as long."""
    shift: Duration = Duration(0)
    """Each device starts so far into its series, at most: uniform from 0 to this, drawn per device."""

    without_data: WithoutData = "refuse"
    """Devices of the trace that have no value in the column: refuse the trace, or leave them out, and say how
    many."""

    def __post_init__(self) -> None:
        check_file(self.file)


def offline_spans(series: Series[bool], trace: Availability, from_ns: int = 0) -> Iterator[tuple[int, int]]:
    """Yield (start_ns, end_ns) of each time without connection, from where the device starts, rising.

    Spans never touch. They go on without end if the series wraps and changes. An endless span has the end
    `FOREVER`.

    Args:
        series: the series that the device plays.
        trace: the keys of the scenario.
        from_ns: the point of the series at which the device starts.
    """
    since: int | None = None
    for now, online in _changes(series, trace, from_ns):
        if online and since is not None:
            yield since, now
            since = None
        elif not online and since is None:
            since = now
    if since is not None:
        yield since, FOREVER


def _changes(series: Series[bool], trace: Availability, from_ns: int) -> Iterator[tuple[int, bool]]:
    """Yield (time_ns, online) until nothing changes any more."""
    wrap = trace.on_end == "wrap" and len(set(series.values)) > 1
    now = 0
    for wait, online in series.steps(wrap=wrap, scale=trace.scale, from_ns=from_ns):
        now += wait
        yield now, online
    if trace.on_end == "stop" and series.length_ns:
        yield max(now, round((series.length_ns - from_ns) * trace.scale)), False
