"""The event log of a fleet: one row per event, in seven tables, whose columns are fixed here.

A row is a structure with named fields; the class of a table's rows fixes the names and types of its columns.
``device`` is the device's number, ``order`` counts the rows of one device. So (t_ns, device, order) is a
total order that does not depend on how the fleet was cut into environments or shards. Rows are packed as they
are logged: a run of hours logs millions.
"""

import struct
import time
from collections.abc import Callable
from enum import IntEnum
from typing import Annotated, Any, Final, Generic, TypeVar, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
from numpy.typing import NDArray

from devices.protocol.report_scheduler import ReportCause
from devices.timeline.connectivity import ConnectivityCause
from wire.errors import RunError

Column = str | tuple[str, ...]
"""A numpy type, or the labels that the column may hold."""

Int32 = Annotated[int, "i4"]
Int64 = Annotated[int, "i8"]
Float64 = Annotated[float, "f8"]


class ExchangeResult(IntEnum):
    """The result of a report."""

    APPLIED = 0  # the PEE for the budget is held now, and the answer changed what is held
    CONFIRMED = 1  # it was held already
    SUPERSEDED = 2  # a newer report had left, or the budget had fallen, before the answer came
    REJECTED = 3  # the answer was damaged or had a gap
    LOST = 4  # the report, or the last part of the answer, never arrived


class UpdateKind(IntEnum):
    """The kind of update that answered a report."""

    NONE = 0  # none was sent
    FIRST = 1  # the whole PEE, to a device that held nothing of this model version
    DELTA = 2  # the blocks that were missing
    FULL = 3  # the whole PEE once more, since every update is
    FALLBACK_FULL = 4  # the whole PEE, since the difference would have been hardly smaller
    NOTHING = 5  # no blocks: the device held them all, or was to evict
    SHARED = 6  # layers that the broker retained, for every device that wants them


class MessageFault(IntEnum):
    """A fault of a message on its way."""

    REPORT_LOST = 0
    PART_LOST = 1
    REPORT_CORRUPTED = 2
    PART_CORRUPTED = 3
    REPORT_DUPLICATED = 4
    PART_DUPLICATED = 5
    PART_REORDERED = 6
    REPORT_CUT_OFF = 7  # the connection broke while it was under way
    PART_CUT_OFF = 8  # the device was not connected when it came
    REPORT_REFUSED = 9  # the cloud's queue was full
    REPORT_RESENT = 10  # it was lost, and sent again until it arrived
    PART_RESENT = 11


class Pressure(IntEnum):
    """The memory pressure on a device."""

    NORMAL = 0
    MODERATE = 1
    LOW = 2
    CRITICAL = 3


class RolloutStep(IntEnum):
    """A step of a rollout on one device."""

    OFFERED = 0
    UPDATED = 1  # it holds the new version
    FAILED = 2  # it was connected for long and does not hold it
    WITHDRAWN = 3  # it is to go back to the old version


class InteractionEvent(IntEnum):
    """The kind of a row about a user's interactions."""

    VISIT = 0  # the user met items: they were ranked, and then learned from
    EXCHANGE = 1  # interactions went to the cloud, and a list or a vector came back


class EventRow(msgspec.Struct, gc=False):
    """The first columns of every table."""

    t_ns: Int64  # simulated time
    wall_s: Float64  # wall clock
    device: Int32  # number of the device
    order: Int32  # counts the rows of the device


class BudgetRow(EventRow, gc=False):
    """A change of a budget."""

    free_bytes: Int64
    budget_bytes: Int64
    resident_before_bytes: Int64
    resident_bytes: Int64  # after local eviction
    pressure: Pressure


class UpdateRow(EventRow, gc=False):
    """An exchange: a report and the answer to it."""

    seq: Int64
    cause: ReportCause
    result: ExchangeResult
    sent: UpdateKind
    changed_ns: Int64  # when the budget, the user or the offered model changed that this answers
    sent_ns: Int64  # when the report left
    arrived_ns: Int64  # when it was at the cloud; -1 if never
    begun_ns: Int64  # when the cloud began with it
    left_ns: Int64  # when the answer left
    answered_ns: Int64  # when it began to arrive on the device, or would have
    received_ns: Int64  # when the last part was on the device
    applied_ns: Int64  # when the PEE asked for was held; -1 if it never was
    report_bytes: Int32
    report_wire_bytes: Int32  # with MQTT and TCP/IP framing, every copy that was sent
    ack_wire_bytes: Int32  # of the confirmations (PUBACK) of report and parts, both ways
    resent_wire_bytes: Int32  # of report and update: bytes that the transport sent again
    parts: Int32
    update_bytes: Int64  # payload of all parts that were sent, duplicates included
    copied_bytes: Int64  # of these the payload of second and third copies
    update_wire_bytes: Int64
    used_bytes: Int64  # payload of the parts that were taken in
    lost_bytes: Int64  # payload of the parts that never arrived
    full_update_bytes: Int64  # payload of a push of the whole PEE
    wanted_bytes: Int64  # the budget as reported
    held_before: Int32  # blocks
    held: Int32


class QualityRow(EventRow, gc=False):
    """The quality of the PEE in use, after a change."""

    budget_bytes: Int64
    resident_bytes: Int64
    layer: Int32
    best_layer: Int32
    ndcg_at_10: Float64
    recall_at_20: Float64
    hit_rate_at_10: Float64
    best_ndcg_at_10: Float64  # of the best PEE for the budget
    full_ndcg_at_10: Float64  # of the whole table
    pressure: Pressure
    online: bool
    version: Int32  # index of the model version in the run's list
    user_group: Int32  # of the user, in that version
    message_bytes: Int32  # payload of the quality message; 0: not connected, so none was sent
    message_wire_bytes: Int32


class ConnectionRow(EventRow, kw_only=True, gc=False):
    """A connection or its end."""

    online: bool
    why: ConnectivityCause
    message_bytes: Int32  # payload of the device's status
    message_wire_bytes: Int32


class FaultRow(EventRow, kw_only=True, gc=False):
    """A fault of a message."""

    harm: MessageFault
    seq: Int64
    bytes: Int64  # payload of the message
    place: Int32  # index of the fault in the scenario's list; -1: the link's own loss
    times: Int32  # how often; more than once only where a transport sends again what is lost


class RolloutRow(EventRow, kw_only=True, gc=False):
    """A step of a rollout."""

    step: RolloutStep
    group: Int32


class InteractionRow(EventRow, kw_only=True, gc=False):
    """A visit of a user: items met, and how well they had been ranked before."""

    event: InteractionEvent
    user: Int32
    newcomer: bool  # training did not see the user
    items: Int32  # met for the first time
    known: Int32  # met before, or known from training
    version: Int32  # index of the model version held in the run's list; -1: none
    user_group: Int32  # of the user, in that version
    layer: Int32
    budget_bytes: Int64  # of the device's blocks
    age_ns: Int64  # since the cloud made what the device ranks with; -1: it has nothing yet
    ndcg_at_10: Float64
    recall_at_20: Float64
    hit_rate_at_10: Float64
    cloud_ndcg_at_10: Float64  # of the whole table and a vector learned from what the user met before
    learning_bytes: Int32  # what the device keeps in order to learn
    down_bytes: Int32  # lists and vectors from the cloud
    up_bytes: Int32  # interactions to the cloud


def labels_of(enum: type[IntEnum]) -> tuple[str, ...]:
    """Return the members' names as they stand in the tables, by value."""
    return tuple(member.name.lower() for member in enum)


def _columns(row: type[EventRow]) -> dict[str, Column]:
    """Return the columns of a table by the class of its rows."""
    hints = get_type_hints(row, include_extras=True)
    return {field: _column(hints[field]) for field in row.__struct_fields__}


def _column(hint: Any) -> Column:  # Any: a type, annotated or not
    if get_origin(hint) is Annotated:
        code: str = get_args(hint)[1]
        return code
    return "?" if hint is bool else labels_of(hint)


ROWS: dict[str, type[EventRow]] = {
    "budget": BudgetRow,
    "update": UpdateRow,
    "quality": QualityRow,
    "connection": ConnectionRow,
    "fault": FaultRow,
    "rollout": RolloutRow,
    "interaction": InteractionRow,
}
COLUMNS: dict[str, dict[str, Column]] = {name: _columns(row) for name, row in ROWS.items()}

WALL = "wall_s"
"""The column that depends on the machine: it is no part of the logical log."""
MOMENTS: Final = (
    "changed_ns", "sent_ns", "arrived_ns", "begun_ns", "left_ns", "answered_ns", "received_ns", "applied_ns",
)  # fmt: skip
"""The moments of an exchange, in the order in which they come; those that did not come are -1."""

_CODES = {"i8": "q", "i4": "i", "f8": "d", "?": "?"}


def row_type(columns: dict[str, Column]) -> np.dtype[Any]:  # Any: a structured type
    """Return the type of packed rows with *columns*."""
    kinds = [kind if isinstance(kind, str) else "u1" for kind in columns.values()]
    return np.dtype([(name, f"<{kind}") for name, kind in zip(columns, kinds, strict=True)])


Row = TypeVar("Row", bound=EventRow)


class EventTable(Generic[Row]):
    """The rows of one table, packed.

    Args:
        columns: their names and types.
    """

    def __init__(self, columns: dict[str, Column]) -> None:
        types = [kind if isinstance(kind, str) else "u1" for kind in columns.values()]
        rows = bytearray()
        pack = struct.Struct("<" + "".join(_CODES.get(kind, "B") for kind in types)).pack
        extend, values = rows.extend, msgspec.structs.astuple
        self._rows = rows
        self._type = row_type(columns)

        def append(row: Row) -> None:
            try:
                extend(pack(*values(row)))
            except struct.error:
                named = msgspec.structs.asdict(row)
                raise RunError(
                    f"a row cannot be logged: a number must fit 64 bits with its sign: {named}"
                ) from None

        self.append = append
        """Log a row."""

    def __len__(self) -> int:
        return len(self._rows) // self._type.itemsize

    def extend(self, rows: NDArray[Any]) -> None:  # Any: a structured type
        """Add rows of the type of `drain`."""
        self._rows += rows.tobytes()

    def drain(self) -> NDArray[Any]:  # Any: a structured type
        """Return all rows as a structured array, and remove them."""
        rows = np.frombuffer(bytes(self._rows), dtype=self._type)
        self._rows.clear()
        return rows


class FleetLog:
    """The event tables of one simulation; whoever writes them to disk drains them.

    Args:
        clock: the wall clock, for the column ``wall_s``.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        budget, update, quality, connection, fault, rollout, interaction = (
            EventTable[BudgetRow](COLUMNS["budget"]),
            EventTable[UpdateRow](COLUMNS["update"]),
            EventTable[QualityRow](COLUMNS["quality"]),
            EventTable[ConnectionRow](COLUMNS["connection"]),
            EventTable[FaultRow](COLUMNS["fault"]),
            EventTable[RolloutRow](COLUMNS["rollout"]),
            EventTable[InteractionRow](COLUMNS["interaction"]),
        )
        self.budget, self.update, self.quality = budget.append, update.append, quality.append
        self.connection, self.fault, self.rollout = connection.append, fault.append, rollout.append
        self.interaction = interaction.append
        self.tables: dict[str, EventTable[Any]] = {  # Any: each has rows of its own class
            "budget": budget,
            "update": update,
            "quality": quality,
            "connection": connection,
            "fault": fault,
            "rollout": rollout,
            "interaction": interaction,
        }
