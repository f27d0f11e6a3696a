"""What was measured of the real part of a run: in wall-clock time, and in numbers that add up over shards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

import msgspec

from emulator.metrics.histogram import Histogram
from emulator.run_directory.event_log import JOURNAL
from emulator.run_directory.manifest import add_entries, check_content
from scenarios.language.scenario import Scenario
from wire.errors import InputError
from wire.input_files import decode_json, read_at_most
from wire.output_files import write_atomically
from wire.units import NS_PER_S

KEYS = (
    "realtime_speed",
    "realtime_doubts",
    "shards",
    "schedule_lag_seconds",
    "schedule_late_turns",
    "connect_seconds",
    "connections_per_second",
    "round_trip_seconds",
    "round_trip_simulated_seconds",
    "round_trips_per_second",
    "reports_published",
    "reports_answered",
    "reports_unanswered",
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


MOST_BYTES = 2**26
"""Of the file of a shard."""
NEAR_RETRY = 0.5
"""A round trip of this share of the time that a device waits is near it: a few are always slower than p95."""


@dataclass(frozen=True)
class ExpectedTimes:
    """What a scenario means to be slow, in simulated seconds: what is real should be quicker."""

    speed: float
    """Simulated seconds in a second."""
    links_s: float
    """Mean delay of the quickest links of the fleet, there and back."""
    retry_s: float
    """How long a device waits for an answer."""

    @classmethod
    def of(cls, scenario: Scenario) -> Self:
        """Return what *scenario* means."""
        networks = [scenario.networks[group.network] for group in scenario.fleet]
        links_ns = min(int(each.uplink.latency) + int(each.downlink.latency) for each in networks)
        retry_ns = int(scenario.updates.retry_after)
        return cls(scenario.realtime.speed, links_ns / NS_PER_S, retry_ns / NS_PER_S)


class StoredHistogram(msgspec.Struct, frozen=True):
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


Moment = Annotated[float, msgspec.Meta(ge=0, lt=253_402_300_800)]
"""Seconds since the epoch, before the year 10000."""


class ShardRun(msgspec.Struct, frozen=True, kw_only=True):
    """The run that a shard is a part of, by what all its shards share."""

    name: str | None
    """As `--run` says; None: nobody has named it."""
    fleet: str
    """In topics."""
    models: tuple[str, ...]
    """The versions of the models that its devices knew."""
    start_at: Moment | None
    """The moment at which simulated time was to be 0; None: as soon as the shard was ready."""
    began_at: Moment
    """The moment at which it was 0."""


MOST_SHARDS = 10_000
"""Of a run that is started by hand."""


class ShardMeasurements(msgspec.Struct, frozen=True, kw_only=True):
    """What one shard has measured; times are nanoseconds of the wall clock."""

    place: Annotated[int, msgspec.Meta(ge=0, lt=MOST_SHARDS)]
    """Which shard it is, from 0."""
    shards: Annotated[int, msgspec.Meta(ge=1, le=MOST_SHARDS)]
    """Of how many."""
    wall_seconds: float
    aborted_ns: int | None
    lag: StoredHistogram
    connects: StoredHistogram
    round_trips: StoredHistogram
    gathered: int
    """Devices that had a connection of their own before simulated time began."""
    gather_seconds: float
    """How long that took."""
    checked: bool = False
    """Whether its tables have checksums beside them; those of older versions have none."""
    counts: dict[str, int]
    """Connections and messages by what became of them."""
    late_turns: int = 0
    """Turns with an event later than `max_lag`."""
    run: ShardRun | None = None
    """None for a shard of an older version."""


def write_measurements(path: Path, measured: ShardMeasurements) -> None:
    """Write what a shard has measured; it is there when the shard has ended well."""
    content = msgspec.json.encode(measured)
    add_entries(path.parent / JOURNAL, {path.name: content})
    write_atomically(path, content)


def read_measurements(path: Path) -> ShardMeasurements:
    """Return what a shard has written.

    Raises:
        OSError: it cannot be read.
        InputError: it is not what the shard has written.
    """
    content = read_at_most(path, MOST_BYTES, "what a shard measured")
    check_content(path.parent, path.name, content, JOURNAL, "the shard")
    try:
        return decode_json(content, ShardMeasurements)
    except ValueError as error:
        raise InputError(f"{path}: is damaged: {error}") from None


def summarize_shards(
    measured: Sequence[ShardMeasurements],
    expected: ExpectedTimes,
    restarts: Mapping[str, int],
    dropped: int | None = None,
) -> dict[str, object]:
    """Return what the summary says of the real part of a run.

    Args:
        measured: by the shards that ended well; one that was killed takes what it measured with it.
        expected: what the scenario means to be slow.
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
    answers = {
        key: sum(each.counts.get(key, 0) for each in measured)
        for key in ("reports_published", "reports_answered", "reports_unanswered")
    }
    late_turns = sum(each.late_turns for each in measured)
    simulated = {key: _times(value, expected.speed, key) for key, value in _seconds(trips).items()}
    gathered = sum(each.gathered for each in measured)
    gather_seconds = max((each.gather_seconds for each in measured), default=0.0)
    wall_seconds = max((each.wall_seconds for each in measured), default=0.0)
    return {
        "realtime_speed": expected.speed,
        "realtime_doubts": find_doubts(expected, simulated["p95"], late_turns, answers["reports_unanswered"]),
        "shards": len(measured),
        "schedule_lag_seconds": _seconds(lag),
        "schedule_late_turns": late_turns,
        "connect_seconds": _seconds(connects),
        "connections_per_second": round(gathered / gather_seconds, 1)
        if gathered and gather_seconds
        else None,
        "round_trip_seconds": _seconds(trips),
        "round_trip_simulated_seconds": simulated,
        "round_trips_per_second": round(trips.count / wall_seconds, 1) if wall_seconds else None,
        **answers,
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


def find_doubts(
    expected: ExpectedTimes, round_trip_s: float | None, late_turns: int, unanswered: int
) -> list[str]:
    """Return why figures of a run in real time are this machine's rather than the scenario's.

    Args:
        expected: what the scenario means to be slow.
        round_trip_s: the p95 of a round trip to broker and cloud, in simulated seconds.
        late_turns: turns that were later than `realtime.max_lag`.
        unanswered: reports without a complete answer within `updates.retry_after`.
    """
    doubts, speed, trip_s = list[str](), expected.speed, round_trip_s or 0.0
    counts = f"at speed {speed:g} a round trip to broker and cloud (p95) is {trip_s:.3g} s of simulated time"
    if trip_s >= expected.retry_s * NEAR_RETRY:
        doubts.append(
            f"{counts}, and updates.retry_after is {expected.retry_s:g} s: answers come too late, count as "
            "lost, and are asked for again"
        )
    elif trip_s >= expected.links_s > 0:
        doubts.append(
            f"{counts}, no less than the links' own delays there and back ({expected.links_s:.3g} s): "
            "latencies, and what quality owes to them, are those of this machine"
        )
    if late_turns:
        doubts.append(f"the schedule was later than realtime.max_lag in {late_turns:,} turns")
    if unanswered:
        doubts.append(f"{unanswered:,} published reports had no complete answer in time")
    return doubts


def read_doubts(summary: Mapping[str, object]) -> list[str]:
    """Return the doubts that a summary tells of, in words; none under another clock."""
    doubts = summary.get("realtime_doubts")
    return [str(each) for each in doubts] if isinstance(doubts, list) else []


def empty_measurements() -> dict[str, object]:
    """Return the same keys for a run under another clock."""
    return dict.fromkeys(KEYS)


def _times(value: float | int | None, speed: float, key: str) -> float | int | None:
    return value if value is None or key == "count" else value * speed


def _seconds(histogram: Histogram) -> dict[str, float | int | None]:
    found = {f"p{percent}": histogram.percentile(percent) for percent in (50, 95, 99)}
    seconds: dict[str, float | int | None] = {
        name: None if value is None else value / NS_PER_S for name, value in found.items()
    }
    seconds["max"] = None if histogram.max is None else histogram.max / NS_PER_S
    seconds["count"] = histogram.count
    return seconds
