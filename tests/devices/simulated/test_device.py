"""A virtual device in simulated time: the whole log of small lives."""

import pytest

from devices.protocol.report_policy import Publish, ReportPolicy
from devices.simulated.delivery import MAX_REJECTIONS
from tests.devices.lives import STORE, Losing, S, Transport, live, updates
from wire.errors import RunError
from wire.units import Duration, Share


def test_a_quiet_life() -> None:
    """One second up, one of service, one down: an answer takes three and some nanoseconds."""
    _, log = live([(0, 100), (10, 900), (10, 100)], Transport())
    assert list(updates(log)) == [
        (3, "START", "APPLIED", 2),
        (13, "CHANGE", "APPLIED", 16),
        (23, "CHANGE", "CONFIRMED", 2),
    ]


def test_a_budget_that_moves_again_supersedes_the_answer_under_way() -> None:
    device, log = live([(0, 100), (10, 900), (1, 100)], Transport())
    assert list(updates(log)) == [
        (3, "START", "APPLIED", 2),
        (13, "CHANGE", "SUPERSEDED", 2),
        (14, "CHANGE", "CONFIRMED", 2),
    ]
    assert device.agent.resident_bytes <= 100


def test_a_damaged_answer_is_asked_for_again_at_once() -> None:
    _, log = live([(0, 900)], Transport(damaged=2))
    assert list(updates(log)) == [
        (3, "START", "REJECTED", 0),
        (6, "REJECTED", "REJECTED", 0),
        (9, "REJECTED", "APPLIED", 16),
    ]


def test_a_cloud_that_only_sends_damage_fails_the_run() -> None:
    with pytest.raises(
        RunError, match=f"device-00000: rejected {MAX_REJECTIONS + 1} updates, the last as checksum"
    ):
        live([(0, 900)], Transport(damaged=10**6))


def test_a_lost_report_is_repeated_after_thirty_seconds_and_the_next_one_after_sixty() -> None:
    _, log = live([(0, 900)], Transport(), uplink=Losing([True, True]))
    assert list(updates(log)) == [
        (30, "START", "LOST", 0),
        (60, "RETRY", "LOST", 0),
        (30 + 60 + 3, "RETRY", "APPLIED", 16),
    ]


def test_a_lost_answer_is_asked_for_again() -> None:
    """The introduction arrives, the blocks do not; the next time there is no introduction."""
    _, log = live([(0, 900)], Transport(), downlink=Losing([False, True]))
    assert list(updates(log)) == [(30, "START", "LOST", 0), (33, "RETRY", "APPLIED", 16)]


def test_blocks_whose_introduction_was_lost_are_refused_and_asked_for_again() -> None:
    _, log = live([(0, 900)], Transport(), downlink=Losing([True]))
    assert list(updates(log)) == [(3, "START", "LOST", 0), (6, "REJECTED", "APPLIED", 16)]


def test_a_lost_answer_that_nobody_wants_any_more_is_not_repeated() -> None:
    _, log = live([(0, 900), (10, 100)], Transport(), uplink=Losing([True]))
    assert list(updates(log)) == [(13, "CHANGE", "APPLIED", 2), (30, "START", "LOST", 2)]


def test_a_dip_shorter_than_the_debounce_is_not_forgotten() -> None:
    """It forces blocks out, so what was told of before is no longer held when the budget is back."""
    device, log = live([(0, 900), (10, 100), (5, 900)], Transport(), policy=ReportPolicy(debounce_ns=30 * S))
    assert list(updates(log)) == [(3, "START", "APPLIED", 16), (48, "CHANGE", "APPLIED", 16)]
    assert device.agent.held == 16


@pytest.mark.parametrize(
    "reporting",
    [
        ReportPolicy(headroom=0.1, debounce_ns=30 * S),
        ReportPolicy(hysteresis=0.5, debounce_ns=30 * S),
        ReportPolicy(Publish(on_change=Share(0.5), min_interval=Duration(60 * S))),
        ReportPolicy(Publish(min_interval=Duration(60 * S)), levels_per_doubling=1),
    ],
)
def test_no_rule_has_a_device_forget_what_was_forced_out(reporting: ReportPolicy) -> None:
    device, _ = live([(0, 900), (10, 100), (5, 920)], Transport(), policy=reporting)
    layers = STORE.groups[0].layers
    assert device.agent.held == layers.blocks[layers.best(reporting.requested_bytes(920))]
