"""What a fleet logs: one row per event, per table; the columns are fixed here.

``device`` is the device's number, ``order`` counts the rows of one device, so (t_ns, device, order) is
a total order that does not depend on how the fleet was cut into environments or shards. Rows are
packed as they are logged: a run of hours logs millions.
"""

import struct
import time
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.timeline.connectivity import ConnectivityCause
from wire.errors import RunError

Column = str | tuple[str, ...]
"""A numpy type, or the words that the column may hold."""


class Cause(IntEnum):
    """Why a device reported."""

    START = 0
    CHANGE = 1  # its budget changed
    RETRY = 2  # the last report, or its answer, was lost
    REJECTED = 3  # the last answer was damaged or had a gap
    RECONNECT = 4  # it is connected again
    PERIODIC = 5  # it has not reported for long
    MODEL = 6  # a new model version is offered to it
    USER = 7  # it has a new user
    INTRODUCED = 8  # it knows the layers of its ranking now, and asks for those it wants


class Result(IntEnum):
    """What came of a report."""

    APPLIED = 0  # the PEE for the budget is held now, and the answer changed what is held
    CONFIRMED = 1  # it was held already
    SUPERSEDED = 2  # a newer report had left, or the budget had fallen, before the answer was there
    REJECTED = 3  # the answer was damaged or had a gap
    LOST = 4  # the report, or the last part of the answer, never arrived


class Sent(IntEnum):
    """What kind of update answered a report."""

    NONE = 0  # none was sent
    FIRST = 1  # the whole PEE, to a device that held nothing of this model version
    DELTA = 2  # the blocks that were missing
    FULL = 3  # the whole PEE once more, since every update is
    FALLBACK_FULL = 4  # the whole PEE, since the difference would have been hardly smaller
    NOTHING = 5  # no blocks: the device held them all, or was to evict
    SHARED = 6  # layers that the broker retained, for every device that wants them


class Harm(IntEnum):
    """What went wrong with a message on the way."""

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
    """How scarce memory is on a device."""

    NORMAL = 0
    MODERATE = 1
    LOW = 2
    CRITICAL = 3


class Step(IntEnum):
    """What a rollout means to one device."""

    OFFERED = 0
    UPDATED = 1  # it holds the new version
    FAILED = 2  # it was connected for long and does not
    WITHDRAWN = 3  # it is to go back to the old version


def words(enum: type[IntEnum]) -> tuple[str, ...]:
    """Return the members' names as they stand in the tables, by value."""
    return tuple(member.name.lower() for member in enum)


COMMON: dict[str, Column] = {"t_ns": "i8", "wall_s": "f8", "device": "i4", "order": "i4"}
"""The first columns of every table: simulated time, wall clock, device number, row of the device."""

COLUMNS: dict[str, dict[str, Column]] = {
    "budget": COMMON
    | {
        "free_bytes": "i8",
        "budget_bytes": "i8",
        "resident_before_bytes": "i8",
        "resident_bytes": "i8",  # after local eviction
        "pressure": words(Pressure),
    },
    "update": COMMON
    | {
        "seq": "i8",
        "cause": words(Cause),
        "result": words(Result),
        "sent": words(Sent),
        "changed_ns": "i8",  # when the budget, the user or the offered model changed that this answers
        "sent_ns": "i8",  # when the report left
        "arrived_ns": "i8",  # when it was at the cloud; -1 if never
        "begun_ns": "i8",  # when the cloud took it up
        "left_ns": "i8",  # when the answer left
        "answered_ns": "i8",  # when it began to arrive on the device, or would have
        "received_ns": "i8",  # when the last part was on the device
        "applied_ns": "i8",  # when the PEE asked for was held; -1 if that never came of it
        "report_bytes": "i4",
        "report_wire_bytes": "i4",  # with MQTT and TCP/IP framing, every copy that was sent
        "ack_wire_bytes": "i4",  # of the confirmations (PUBACK) of report and parts, both ways
        "resent_wire_bytes": "i4",  # of the report's and the update's: what the transport sent again
        "parts": "i4",
        "update_bytes": "i8",  # payload of all parts that were sent, duplicates included
        "copied_bytes": "i8",  # of these the payload of second and third copies
        "update_wire_bytes": "i8",
        "used_bytes": "i8",  # payload of the parts that were taken in
        "lost_bytes": "i8",  # payload of the parts that never arrived
        "full_update_bytes": "i8",  # what the whole PEE would have cost
        "wanted_bytes": "i8",  # the budget as reported
        "held_before": "i4",  # blocks
        "held": "i4",
    },
    "quality": COMMON
    | {
        "budget_bytes": "i8",
        "resident_bytes": "i8",
        "layer": "i4",
        "best_layer": "i4",
        "ndcg_at_10": "f8",
        "recall_at_20": "f8",
        "hit_rate_at_10": "f8",
        "best_ndcg_at_10": "f8",  # of the best PEE for the budget
        "full_ndcg_at_10": "f8",  # of the whole table
        "pressure": words(Pressure),
        "online": "?",
        "version": "i4",  # place of the model version in the run's list
        "user_group": "i4",  # of the user, in that version
        "message_bytes": "i4",  # payload of the message that says so; 0: not connected, so none was sent
        "message_wire_bytes": "i4",
    },
    "connection": COMMON
    | {
        "online": "?",
        "why": words(ConnectivityCause),
        "message_bytes": "i4",  # payload of the device's status
        "message_wire_bytes": "i4",
    },
    "fault": COMMON
    | {
        "harm": words(Harm),
        "seq": "i8",
        "bytes": "i8",  # payload of the message
        "place": "i4",  # of the fault in the scenario's list; -1 where the link itself did it
        "times": "i4",  # how often; more than once only where a transport sends again what is lost
    },
    "rollout": COMMON | {"step": words(Step), "group": "i4"},
}

_CODES = {"i8": "q", "i4": "i", "f8": "d", "?": "?"}


class EventTable:
    """The rows of one table, packed.

    Args:
        columns: their names and types.
    """

    def __init__(self, columns: dict[str, Column]) -> None:
        types = [kind if isinstance(kind, str) else "u1" for kind in columns.values()]
        rows = bytearray()
        pack = struct.Struct("<" + "".join(_CODES.get(kind, "B") for kind in types)).pack
        extend = rows.extend
        self._rows = rows
        self._type = np.dtype([(name, f"<{kind}") for name, kind in zip(columns, types, strict=True)])

        def append(*values: float) -> None:
            try:
                extend(pack(*values))
            except struct.error:
                named = dict(zip(columns, values, strict=True))
                raise RunError(
                    f"a row cannot be logged: a number must fit 64 bits with its sign: {named}"
                ) from None

        self.append = append
        """Log a row; words are given as their place in the column's tuple."""

    def __len__(self) -> int:
        return len(self._rows) // self._type.itemsize

    def take(self) -> NDArray[Any]:  # Any: a structured type
        """Return all rows as a structured array, and forget them."""
        rows = np.frombuffer(bytes(self._rows), dtype=self._type)
        self._rows.clear()
        return rows


class FleetLog:
    """The event tables of one simulation; whoever writes them to disk takes the rows out.

    Args:
        clock: the wall clock, for the column ``wall_s``.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.tables = {name: EventTable(columns) for name, columns in COLUMNS.items()}
        self.budget = self.tables["budget"].append
        self.update = self.tables["update"].append
        self.quality = self.tables["quality"].append
        self.connection = self.tables["connection"].append
        self.fault = self.tables["fault"].append
        self.rollout = self.tables["rollout"].append
