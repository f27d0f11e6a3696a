"""What is measured of the real part of a run, and where a reader finds what it means."""

from pathlib import Path

import pytest

from emulator.metrics.realtime_measurements import (
    KEYS,
    ExpectedTimes,
    empty_measurements,
    find_doubts,
    summarize_shards,
)
from emulator.report.key_descriptions import describe_key
from emulator.report.tables import list_warnings

ROOT = Path(__file__).parents[3]


def test_a_run_in_real_time_and_any_other_have_the_same_keys() -> None:
    real = summarize_shards([], ExpectedTimes(20.0, 0.1, 30.0), {"broker": 2}, dropped=7)
    assert tuple(real) == KEYS == tuple(empty_measurements())
    assert (real["broker_restarts"], real["broker_messages_dropped"]) == (2, 7)
    assert set(empty_measurements().values()) == {None}


TRIP = "at speed 20 a round trip to broker and cloud (p95) is"
SLOW = ExpectedTimes(speed=20.0, links_s=0.09, retry_s=30.0)


@pytest.mark.parametrize(
    ("expected", "round_trip_s", "late_turns", "unanswered", "begins"),
    [
        (SLOW, None, 0, 0, []),
        (SLOW, 0.08, 0, 0, []),
        (
            SLOW,
            0.09,
            0,
            0,
            [f"{TRIP} 0.09 s of simulated time, no"],
        ),
        (
            SLOW,
            15.0,
            0,
            0,
            [f"{TRIP} 15 s of simulated time, and up"],
        ),
        (ExpectedTimes(1.0, 0.0, 30.0), 1.0, 0, 0, []),  # links without a delay are slower than nothing
        (
            SLOW,
            0.01,
            3,
            7,
            ["the schedule was later than realtime.max_lag in 3 turns", "7 published reports had"],
        ),
    ],
)
def test_it_is_doubted_what_a_slow_machine_makes_of_a_scenario(
    expected: ExpectedTimes, round_trip_s: float | None, late_turns: int, unanswered: int, begins: list[str]
) -> None:
    found = find_doubts(expected, round_trip_s, late_turns, unanswered)
    assert [doubt[: len(begin)] for doubt, begin in zip(found, begins, strict=True)] == begins
    assert list_warnings({"realtime_doubts": found}) == found


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_explained(key: str) -> None:
    assert f"`{key}`" in (ROOT / "docs" / "metrics.md").read_text()
    assert describe_key(key)[1]


def test_the_report_warns_of_what_a_broker_dropped_and_only_then() -> None:
    (warning,) = list_warnings({"broker_messages_dropped": 1234})
    assert warning.startswith("The broker dropped 1,234 messages: a queue was full.")
    for nothing in ({}, {"broker_messages_dropped": 0}, {"broker_messages_dropped": None}):
        assert list_warnings(nothing) == []
