"""Measurements of the real part of a run, in wall-clock time; those of shards can be merged."""

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
"""Keys of the summary that only a run in real time has a value for."""

MOST_BYTES = 2**26
"""Largest accepted file of a shard."""
NEAR_RETRY = 0.5
"""A p95 of round trips above this share of ``updates.retry_after`` is too long: some are slower than p95."""


@dataclass(frozen=True)
class ExpectedTimes:
    """Times that a scenario simulates, in simulated seconds; the real broker and cloud should be faster."""

    speed: float
    """Simulated seconds per second of wall-clock time."""
    links_s: float
    """Mean delay of the fastest links of the fleet, both ways."""
    retry_s: float
    """Time for which a device waits for an answer."""

    @classmethod
    def from_scenario(cls, scenario: Scenario) -> Self:
        """Return the times of *scenario*."""
        networks = [scenario.networks[group.network] for group in scenario.fleet]
        links_ns = min(int(network.uplink.latency) + int(network.downlink.latency) for network in networks)
        retry_ns = int(scenario.updates.retry_after)
        return cls(scenario.realtime.speed, links_ns / NS_PER_S, retry_ns / NS_PER_S)


class StoredHistogram(msgspec.Struct, frozen=True):
    """A histogram as it is written to a file."""

    counts: dict[int, int]
    sum: int
    min: int | None
    max: int | None

    @classmethod
    def from_histogram(cls, histogram: Histogram) -> Self:
        """Return *histogram* in the form that is written."""
        return cls(dict(histogram.counts), histogram.sum, histogram.min, histogram.max)

    def histogram(self) -> Histogram:
        """Return the histogram."""
        return Histogram(self.counts, self.sum, self.min, self.max)


Moment = Annotated[float, msgspec.Meta(ge=0, lt=253_402_300_800)]
"""Seconds since the epoch, before the year 10000."""


class ShardRun(msgspec.Struct, frozen=True, kw_only=True):
    """The run of which a shard is a part; all its shards have the same."""

    name: str | None
    """Name after `--run`; None: it has no name."""
    fleet: str
    """The fleet's name in topics."""
    models: tuple[str, ...]
    """Versions of the models that its devices know."""
    start_at: Moment | None
    """Planned start of simulated time, in seconds since the epoch; None: as soon as the shard was ready."""
    began_at: Moment
    """Actual start of simulated time."""


MOST_SHARDS = 10_000
"""Largest number of shards of a run that is started by hand."""


class ShardMeasurements(msgspec.Struct, frozen=True, kw_only=True):
    """Measurements of one shard; times are nanoseconds of the wall clock."""

    shard: Annotated[int, msgspec.Meta(ge=0, lt=MOST_SHARDS)] = msgspec.field(name="place")
    """Number of the shard, from 0."""
    shards: Annotated[int, msgspec.Meta(ge=1, le=MOST_SHARDS)]
    """Number of shards."""
    wall_seconds: float
    aborted_ns: int | None
    lag: StoredHistogram
    connects: StoredHistogram
    round_trips: StoredHistogram
    connected_first: int = msgspec.field(name="gathered")
    """Devices that connected before simulated time began."""
    connect_first_seconds: float = msgspec.field(name="gather_seconds")
    """Time that this took."""
    has_checksums: bool = msgspec.field(default=False, name="checked")
    """True if its tables have checksums; tables of older versions have none."""
    counts: dict[str, int]
    """Connections and messages by their outcome."""
    late_turns: int = 0
    """Turns of the schedule with an event later than `max_lag`."""
    run: ShardRun | None = None
    """None for a shard of an older version."""


def write_measurements(path: Path, measured: ShardMeasurements) -> None:
    """Write the measurements of a shard. The file exists only if the shard ended well."""
    content = msgspec.json.encode(measured)
    add_entries(path.parent / JOURNAL, {path.name: content})
    write_atomically(path, content)


def read_measurements(path: Path) -> ShardMeasurements:
    """Return the measurements of a shard.

    Raises:
        OSError: the file cannot be read.
        InputError: the file was changed, or is damaged.
    """
    content = read_at_most(path, MOST_BYTES, "the measurements of a shard")
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
    """Return the part of the summary about the real part of a run.

    Args:
        measured: of the shards that ended well; the measurements of a killed shard are lost.
        expected: times that the scenario simulates.
        restarts: number of restarts by kind of process.
        dropped: messages that the broker dropped; None if this is not known.
    """
    lag, connects, trips = (
        sum((getattr(shard, name).histogram() for shard in measured), Histogram({}, 0, None, None))
        for name in ("lag", "connects", "round_trips")
    )
    counts = {
        key: sum(shard.counts.get(key, 0) for shard in measured)
        for key in ("connections", "broken", "connects_failed", "duplicates", "refused", "unsent")
    }
    answers = {
        key: sum(shard.counts.get(key, 0) for shard in measured)
        for key in ("reports_published", "reports_answered", "reports_unanswered")
    }
    late_turns = sum(shard.late_turns for shard in measured)
    simulated = {key: _scaled(value, expected.speed, key) for key, value in _seconds(trips).items()}
    connected = sum(shard.connected_first for shard in measured)
    connect_seconds = max((shard.connect_first_seconds for shard in measured), default=0.0)
    wall_seconds = max((shard.wall_seconds for shard in measured), default=0.0)
    return {
        "realtime_speed": expected.speed,
        "realtime_doubts": find_doubts(expected, simulated["p95"], late_turns, answers["reports_unanswered"]),
        "shards": len(measured),
        "schedule_lag_seconds": _seconds(lag),
        "schedule_late_turns": late_turns,
        "connect_seconds": _seconds(connects),
        "connections_per_second": round(connected / connect_seconds, 1)
        if connected and connect_seconds
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
    """Return reasons why results of a run in real time depend on this machine, not on the scenario alone.

    Args:
        expected: times that the scenario simulates.
        round_trip_s: the p95 of a round trip to broker and cloud, in simulated seconds.
        late_turns: turns of the schedule later than `realtime.max_lag`.
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
    """Return the entries of a summary's ``realtime_doubts``; none under another clock."""
    doubts = summary.get("realtime_doubts")
    return [str(doubt) for doubt in doubts] if isinstance(doubts, list) else []


def empty_measurements() -> dict[str, object]:
    """Return the same keys with None, for a run under another clock."""
    return dict.fromkeys(KEYS)


def _scaled(value: float | int | None, speed: float, key: str) -> float | int | None:
    return value if value is None or key == "count" else value * speed


def _seconds(histogram: Histogram) -> dict[str, float | int | None]:
    percentiles = {f"p{percent}": histogram.percentile(percent) for percent in (50, 95, 99)}
    seconds: dict[str, float | int | None] = {
        name: None if value is None else value / NS_PER_S for name, value in percentiles.items()
    }
    seconds["max"] = None if histogram.max is None else histogram.max / NS_PER_S
    seconds["count"] = histogram.count
    return seconds
