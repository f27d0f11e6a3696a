"""TimedEvents by clock second and slice, and the peaks in it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from devices.event_log import UpdateKind
from emulator.metrics.aggregates import Codes, select_rows
from emulator.metrics.frame import Frame, RowSet
from emulator.metrics.inputs import MetricInputs
from emulator.metrics.row_index import IntArray
from emulator.metrics.seconds import Pages, add_pages, busiest, sum_by_second
from emulator.metrics.slices import WHOLE, SliceLayout
from emulator.metrics.sums import Stats

Values = NDArray[Any]  # Any: whole numbers of any width


@dataclass(frozen=True, eq=False)
class TimedEvents:
    """Events with their moments and values."""

    rows: RowSet
    t_ns: IntArray
    """Moment of each event: that of a row is the moment by which it has its dimensions."""
    values: Values

    def sums(self, frame: Frame, layout: SliceLayout) -> "TrafficSums":
        """Return the sums by second of each slice."""
        pages: list[Pages] = [sum_by_second(self.t_ns, self.values)]
        for column in layout.general:
            codes = frame.codes(self.rows, column.dimension)
            for code in range(column.size):
                mask = codes == code
                pages.append(sum_by_second(self.t_ns[mask], self.values[mask]))
        return TrafficSums(pages)

    def select(self, frame: Frame, codes: Codes) -> "TimedEvents":
        """Return the events that have *codes*."""
        mask = select_rows(frame, self.rows, codes)
        return TimedEvents(self.rows.select(mask), self.t_ns[mask], self.values[mask])


@dataclass(frozen=True, eq=False)
class TrafficSums:
    """Sums by clock second, by slice."""

    pages: Sequence[Pages]

    def merged(self, other: Self) -> Self:
        """Return the sums of both."""
        return type(self)([add_pages(*each) for each in zip(self.pages, other.pages, strict=True)])


@dataclass(frozen=True, eq=False)
class PeakSums:
    """The peak of some traffic."""

    traffic: TrafficSums
    seconds: int
    """Length of the clock's spans in which it is measured."""

    def stats(self, number: int = WHOLE) -> Stats:
        """Return the largest rate, per second."""
        return {"value": busiest(self.traffic.pages[number], self.seconds)}

    def merged(self, other: Self) -> Self:
        """Return the peak of the traffic of both."""
        return replace(self, traffic=self.traffic.merged(other.traffic))


def _updates(inputs: MetricInputs, column: str = "") -> TimedEvents:
    """Return the updates that left, and a column of theirs; without its name, their number."""
    rows, of = inputs.exchanges
    left = np.flatnonzero((of["sent"] != UpdateKind.NONE) & (of["left_ns"] >= 0))
    values = of[column][left] if column else np.ones(len(left), dtype=np.int64)
    return TimedEvents(rows.select(left), of["left_ns"][left], values)


def _sent(inputs: MetricInputs, *, in_bytes: bool) -> Sequence[TimedEvents]:
    """Return the messages of devices: reports, qualities and statuses."""
    parts = []
    reports, of = inputs.exchanges
    parts.append(TimedEvents(reports, reports.t_ns, of["report_wire_bytes"]))
    for table in ("quality", "connection"):
        rows, of = inputs.rows(table)
        sent = of["message_wire_bytes"] > 0
        if table == "connection":
            sent &= of["online"].astype(np.bool_)  # the broker sends a will
        rows = rows.select(sent)
        parts.append(TimedEvents(rows, rows.t_ns, of["message_wire_bytes"][sent]))
    if in_bytes:
        return parts
    return [TimedEvents(each.rows, each.t_ns, np.ones(len(each.t_ns), dtype=np.int64)) for each in parts]


def _connections(inputs: MetricInputs) -> TimedEvents:
    rows, of = inputs.rows("connection")
    rows = rows.select(of["online"].astype(np.bool_))
    return TimedEvents(rows, rows.t_ns, np.ones(len(rows.t_ns), dtype=np.int64))


QUANTITIES: Mapping[str, Callable[[MetricInputs], Sequence[TimedEvents]]] = {
    "updates": lambda inputs: [_updates(inputs)],
    "downlink_bytes": lambda inputs: [_updates(inputs, "update_wire_bytes")],
    "downlink_messages": lambda inputs: [_updates(inputs, "parts")],
    "uplink_bytes": lambda inputs: _sent(inputs, in_bytes=True),
    "uplink_messages": lambda inputs: _sent(inputs, in_bytes=False),
    "connects": lambda inputs: [_connections(inputs)],
}
"""Events of which there are sums by second."""
PEAKS: Mapping[str, tuple[str, int]] = {
    "downlink_peak_1s": ("downlink_bytes", 1),
    "downlink_peak_1min": ("downlink_bytes", 60),
    "downlink_messages_peak_1s": ("downlink_messages", 1),
    "downlink_messages_peak_1min": ("downlink_messages", 60),
    "uplink_peak_1s": ("uplink_bytes", 1),
    "uplink_peak_1min": ("uplink_bytes", 60),
    "uplink_messages_peak_1s": ("uplink_messages", 1),
    "uplink_messages_peak_1min": ("uplink_messages", 60),
    "connects_peak_1s": ("connects", 1),
    "connects_peak_1min": ("connects", 60),
    "update_fanout_peak": ("updates", 1),
}
"""The quantity of each peak, and the length of its spans in seconds."""


def sum_traffic(
    inputs: MetricInputs, quantity: str, layout: SliceLayout, codes: Codes | None = None
) -> TrafficSums:
    """Return the sums by second of a quantity, by slice; with *codes*, only of the rows that have them."""
    parts = QUANTITIES[quantity](inputs)
    if codes is not None:
        parts = [part.select(inputs.frame, codes) for part in parts]
    first, *rest = (part.sums(inputs.frame, layout) for part in parts)
    for sums in rest:
        first = first.merged(sums)
    return first
