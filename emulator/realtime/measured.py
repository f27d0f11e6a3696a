"""What was measured of the real part of a run: in wall-clock time, and in numbers that add up over shards."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import msgspec

from emulator.metrics.histogram import Histogram
from wire.outputs import replace_file
from wire.units import NS_PER_S

KEYS = (
    "realtime_speed",
    "shards",
    "schedule_lag_seconds",
    "connect_seconds",
    "connections_per_second",
    "round_trip_seconds",
    "round_trips_per_second",
    "connections_made",
    "connections_broken",
    "connections_failed",
    "answers_stale",
    "messages_refused",
    "messages_unsent",
    "shard_restarts",
    "cloud_restarts",
    "broker_restarts",
    "broker_messages_dropped",
)
"""The keys of the summary that only a run in real time has a value for."""


class Counted(msgspec.Struct, frozen=True):
    """A histogram as it is written down."""

    counts: dict[int, int]
    sum: int
    min: int | None
    max: int | None

    @classmethod
    def of(cls, histogram: Histogram) -> Self:
        """Return *histogram* in a form that can be written."""
        return cls(dict(histogram.counts), histogram.sum, histogram.min, histogram.max)

    def histogram(self) -> Histogram:
        """Return the histogram that was written."""
        return Histogram(self.counts, self.sum, self.min, self.max)


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What one shard has measured; times are nanoseconds of the wall clock."""

    place: int
    """Which shard it is, from 0."""
    shards: int
    """Of how many."""
    wall_seconds: float
    aborted_ns: int | None
    lag: Counted
    connects: Counted
    round_trips: Counted
    gathered: int
    """Devices that had a connection of their own before simulated time began."""
    gather_seconds: float
    """How long that took."""
    counts: dict[str, int]
    """Connections and messages by what became of them."""


def write_measured(path: Path, measured: Measured) -> None:
    """Write what a shard has measured; it is there when the shard has ended well."""
    replace_file(path, msgspec.json.encode(measured))


def read_measured(path: Path) -> Measured:
    """Return what a shard has written."""
    return msgspec.json.decode(path.read_bytes(), type=Measured)


def summary_of(
    measured: Sequence[Measured], speed: float, restarts: Mapping[str, int], dropped: int | None = None
) -> dict[str, object]:
    """Return what the summary says of the real part of a run.

    Args:
        measured: by the shards that ended well; one that was killed takes what it measured with it.
        speed: simulated seconds in a second.
        restarts: how often each kind of process was started again.
        dropped: messages that the broker dropped; None where nobody knows.
    """
    lag, connects, trips = (
        sum((getattr(each, name).histogram() for each in measured), Histogram({}, 0, None, None))
        for name in ("lag", "connects", "round_trips")
    )
    counts = {
        key: sum(each.counts.get(key, 0) for each in measured)
        for key in ("connections", "broken", "connects_failed", "duplicates", "refused", "unsent")
    }
    gathered = sum(each.gathered for each in measured)
    gather_seconds = max((each.gather_seconds for each in measured), default=0.0)
    wall_seconds = max((each.wall_seconds for each in measured), default=0.0)
    return {
        "realtime_speed": speed,
        "shards": len(measured),
        "schedule_lag_seconds": _seconds(lag),
        "connect_seconds": _seconds(connects),
        "connections_per_second": round(gathered / gather_seconds, 1)
        if gathered and gather_seconds
        else None,
        "round_trip_seconds": _seconds(trips),
        "round_trips_per_second": round(trips.count / wall_seconds, 1) if wall_seconds else None,
        "connections_made": counts["connections"],
        "connections_broken": counts["broken"],
        "connections_failed": counts["connects_failed"],
        "answers_stale": counts["duplicates"],
        "messages_refused": counts["refused"],
        "messages_unsent": counts["unsent"],
        "shard_restarts": restarts.get("shard", 0),
        "cloud_restarts": restarts.get("cloud", 0),
        "broker_restarts": restarts.get("broker", 0),
        "broker_messages_dropped": dropped,
    }


def nothing_measured() -> dict[str, object]:
    """Return the same keys for a run under another clock."""
    return dict.fromkeys(KEYS)


def _seconds(histogram: Histogram) -> dict[str, float | int | None]:
    found = {f"p{percent}": histogram.percentile(percent) for percent in (50, 95, 99)}
    seconds: dict[str, float | int | None] = {
        name: None if value is None else value / NS_PER_S for name, value in found.items()
    }
    seconds["max"] = None if histogram.max is None else histogram.max / NS_PER_S
    seconds["count"] = histogram.count
    return seconds
