"""What is measured of the real part of a run, and where a reader finds what it means."""

from pathlib import Path

import pytest

from emulator.realtime.measured import KEYS, nothing_measured, summary_of
from emulator.report.meanings import explained
from emulator.report.tables import doubts

ROOT = Path(__file__).parents[3]


def test_a_run_in_real_time_and_any_other_have_the_same_keys() -> None:
    real = summary_of([], 20.0, {"broker": 2}, dropped=7)
    assert tuple(real) == KEYS == tuple(nothing_measured())
    assert (real["broker_restarts"], real["broker_messages_dropped"]) == (2, 7)
    assert set(nothing_measured().values()) == {None}


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_explained(key: str) -> None:
    assert f"`{key}`" in (ROOT / "docs" / "metrics.md").read_text()
    assert explained(key)[1]


def test_the_report_warns_of_what_a_broker_dropped_and_only_then() -> None:
    assert "<b>The broker dropped 1,234 messages</b>" in doubts({"broker_messages_dropped": 1234})
    for nothing in ({}, {"broker_messages_dropped": 0}, {"broker_messages_dropped": None}):
        assert doubts(nothing) == ""
