"""The arrays of the kernel: a device, its links, exchanges and events, and the tables of a run.

All numbers are 64-bit integers or floats; times are in nanoseconds, flags are 0 or 1. `Run` holds them.
"""

import hashlib
from enum import IntEnum
from typing import Any, Final, NamedTuple

import numpy as np
from numba.core import types
from numba.experimental import structref
from numpy.typing import NDArray

from devices.kernel.compiler import entry_point, fixed

NONE: Final = -2
"""Stands for no fault where -1 is a link's own loss."""


def _integers(*names: str) -> list[tuple[str, str]]:
    return [(name, "i8") for name in names]


class DeviceStatus(IntEnum):
    """The state of a device in the kernel."""

    RUNNING = 0
    TABLE_FULL = 1  # larger tables are needed: the device is run again
    LEFT_TO_SIMPY = 2  # something rare has happened that only the SimPy device can do


class EventKind(IntEnum):
    """The kinds of a device's events."""

    MEMORY = 0
    CONNECTIVITY = 1
    NEW_USER = 2
    NEW_NETWORK = 3
    ALARM = 4  # a report may be due
    BARRIER = 5
    SEND_NEXT = 6
    ONLY_PART = 7
    PART = 8
    END = 9


EVENT = np.dtype(
    _integers("t_ns", "order", "kind", "exchange", "first", "end", "part", "size", "is_copy", "is_damaged")
)

DEVICE = np.dtype(
    _integers(
        # what it is
        "number", "group", "user", "start_ns", "always_on", "address_bytes", "memory_stream", "first_link",
        "change_at", "change_end", "contact_at", "contact_end", "user_at", "user_end", "move_at", "move_end",
        # its clock
        "now_ns", "events", "next_event", "status", "order",
        # its memory
        "has_begun", "has_budget", "is_due", "next_free", "next_budget", "pressure", "walk_at", "walk_free",
        "passed_ns",
        # the agent
        "is_known", "user_group", "budget", "requested", "reported", "held", "resident", "layer", "seq",
        "evicted", "moved",
        # the scheduler
        "online", "changed_ns", "deadline_ns", "cause", "change_ns", "again_ns", "periodic_ns", "awaits",
        "evicted_since", "last_requested", "last_ns", "refused", "refused_held", "alarm_ns", "silent",
        "resend_ns",
        # the delivery
        "epoch", "uplink", "downlink", "applied_at_ns", "rejections", "is_sending", "queued", "free_exchange",
    )
)  # fmt: skip
"""A device; the first row holds what it is, and is the same before and after."""

EXCHANGE = np.dtype(
    _integers(
        "references", "next_free", "seq", "cause", "sent_ns", "changed_ns", "requested", "held_before",
        "user",
        "report_bytes", "arrived_ns", "copies", "begun_ns", "left_ns", "barrier_ns", "received_ns",
        "applied_ns", "ends_ns", "epoch", "receipt", "lost", "impaired", "ended", "sent_bytes",
        "copied_bytes",
        "lost_bytes", "used_bytes", "wire_bytes", "report_wire_bytes", "resent_wire_bytes", "ack_wire_bytes",
        "user_group", "first", "target", "introduces", "parts", "cursor", "cursor_first",
    )
)  # fmt: skip

QUEUED = np.dtype(_integers("exchange", "part"))
CHANGE = np.dtype(_integers("wait_ns", "free", "budget"))
CONTACT = np.dtype(_integers("t_ns", "online", "why"))
MOMENT = np.dtype(_integers("t_ns", "value"))
"""A new user (its place in the tables), or a network (the device's link to the cloud on it)."""

LINK = np.dtype([*_integers("direction", "free_ns", "ordered_ns"), ("windows", "u8")])
"""A link of a device; `windows` has a bit for each fault of links that affects it."""

DIRECTION = np.dtype(
    [
        *_integers("latency", "distribution", "is_lossy", "bandwidth", "recovers", "timeout_ns"),
        *((name, "f8") for name in ("a", "b", "c", "loss", "ns_per_byte")),
    ]
)
WINDOW = np.dtype([*_integers("start_ns", "end_ns", "number", "kind", "a", "b"), ("share", "f8")])
IMPAIRMENT = np.dtype(
    _integers("lost", "corrupted", "duplicated", "held_back", "held_back_ns", "resent", "retries", "late_ns")
)

GROUP = np.dtype(
    [
        *_integers("every_change", "max_interval_ns", "min_interval_ns", "debounce_ns", "levels"),
        *((name, "f8") for name in ("on_change", "hysteresis", "headroom", "apply_ns_per_byte")),
        *((name, "f8") for name in ("moderate", "low", "critical")),
        *_integers("memory"),
        # the budget rule
        *((name, "f8") for name in ("share",)),
        *_integers("reserve", "has_min", "min", "has_max", "max"),
        # the walk
        *_integers("walks", "walk_min", "walk_max", "has_initial", "initial", "max_step", "step_every"),
        *_integers("is_fixed", "is_random_phase"),
        *((name, "f8") for name in ("increase", "retain", "reset")),
    ]
)
"""The settings of a group of devices: report rules, class, budget rule, walk."""

SETTINGS = np.dtype(
    [
        *_integers("stop_ns", "retry_ns", "service_ns", "always_full", "local_eviction", "supersedes"),
        *_integers("part_room", "overhead", "scale_bytes", "is_embedded", "dimensions", "version_bytes"),
        *_integers("report_bytes", "quality_bytes"),
        ("full_above", "f8"),
    ]
)


class RunArrays(NamedTuple):
    """The arrays of one call of the kernel."""

    # what the run has
    settings: NDArray[Any]
    groups: NDArray[Any]
    directions: NDArray[Any]
    windows: NDArray[Any]
    cloud_windows: NDArray[Any]
    outages: NDArray[Any]
    status_bytes: NDArray[np.int64]  # by (online, cause)
    users: NDArray[np.int64]  # the number of each user
    user_groups: NDArray[np.int64]  # by user
    quality: NDArray[np.float64]  # by (user, layer, metric)
    quality_text: NDArray[np.int64]  # by (user, layer): bytes of the three numbers in a message
    tops: NDArray[np.int64]  # by user group: its last layer
    layer_blocks: NDArray[np.int64]  # by (user group, layer)
    layer_bytes: NDArray[np.int64]
    rankings: NDArray[np.int64]  # by user group: where its blocks begin in the next two
    starts: NDArray[np.int64]
    resident: NDArray[np.int64]
    full_bytes: NDArray[np.int64]  # by (user group, layer, digits of the report's number); 0: not known yet
    # what the range has
    devices: NDArray[Any]
    links: NDArray[Any]
    streams: NDArray[Any]
    changes: NDArray[Any]
    contacts: NDArray[Any]
    new_users: NDArray[Any]
    moves: NDArray[Any]
    # the device that is simulated
    device: NDArray[Any]
    own_links: NDArray[Any]
    own_streams: NDArray[Any]  # two for each link, then that of the memory
    walk: NDArray[Any]
    draws: NDArray[Any]
    events: NDArray[Any]
    exchanges: NDArray[Any]
    queue: NDArray[Any]
    impairment: NDArray[Any]
    # rows
    counts: NDArray[np.int64]
    budget_rows: NDArray[Any]
    update_rows: NDArray[Any]
    quality_rows: NDArray[Any]
    connection_rows: NDArray[Any]
    fault_rows: NDArray[Any]


Run = Any
"""`RunArrays` as compiled code has them: a structure that all functions share."""


_unliteral: Any = types.unliteral  # Any: numba gives them no types
_define_proxy: Any = structref.define_proxy


@structref.register
class _RunType(types.StructRef):
    """The type of a `Run` in compiled code."""

    def __init__(self, fields: Any) -> None:
        super().__init__(fields)  # type: ignore[no-untyped-call]
        # The name is part of each function's: that of forty arrays takes longer to write than to compile.
        self.name = f"Run{hashlib.sha256(self.name.encode()).hexdigest()[:16]}"

    def preprocess_fields(self, fields: Any) -> Any:
        """Return the fields as numba wants them: no value is part of a type."""
        return tuple((name, _unliteral(kind)) for name, kind in fields)


class _RunProxy(structref.StructRefProxy):
    """A `Run` as Python has it."""


_define_proxy(_RunProxy, _RunType, list(RunArrays._fields))

_new_run: Any = _RunProxy


@entry_point
def share_arrays(arrays: RunArrays) -> Run:
    """Return the structure of *arrays*."""
    return _new_run(*arrays)


BUDGET, UPDATE, QUALITY, CONNECTION, FAULT = fixed(*range(5))
"""Places of the tables in `Run.counts`."""
