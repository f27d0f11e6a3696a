"""What a device asks for and when: rules save growth and useless reports, never what is over budget."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.protocol.report_policy import (
    LONGEST_ERROR_WAIT_NS,
    MANY_REFUSALS,
    LastReport,
    Publish,
    ReportPolicy,
    error_wait_ns,
    next_report_ns,
    refusal_wait_ns,
    silence_wait_ns,
)
from wire.units import NS_PER_S, Duration, Share

S = NS_PER_S
sizes = st.integers(0, 2**62)
reportings = st.builds(
    ReportPolicy,
    publish=st.builds(
        Publish, on_change=st.floats(0, 1).map(Share), min_interval=st.integers(0, 100 * S).map(Duration)
    ),
    hysteresis=st.floats(0, 1),
    debounce_ns=st.integers(0, 100 * S),
    levels_per_doubling=st.none() | st.integers(1, 64),
    headroom=st.floats(0, 0.99),
)


def when(
    rule: ReportPolicy, told: int, budget: int, *, forced: bool = False, resident: int = 0
) -> int | None:
    """Return when a device that told of *told* bytes at second 0 reports a change at second 100."""
    due_ns = next_report_ns(
        rule,
        LastReport(told, 0),
        budget_bytes=budget,
        resident_bytes=resident,
        now_ns=100 * S,
        evicted_since_report=forced,
    )
    return None if due_ns is None else due_ns // S


@pytest.mark.parametrize(
    ("rule", "told", "budget", "forced", "second"),
    [
        (ReportPolicy(), 1000, 1001, False, 100),
        (ReportPolicy(), 1000, 1000, False, None),
        (ReportPolicy(hysteresis=0.1), 1000, 1100, False, None),
        (ReportPolicy(hysteresis=0.1), 1000, 1101, False, 100),
        (ReportPolicy(hysteresis=0.1), 1000, 999, False, 100),
        (ReportPolicy(hysteresis=0.1), 1000, 1050, True, 100),  # less is held than 1000 B: growth is owed
        (ReportPolicy(debounce_ns=30 * S), 1000, 500, True, 130),
        (ReportPolicy(debounce_ns=30 * S), 1000, 1000, True, 130),
        (ReportPolicy(headroom=0.5), 500, 900, False, None),  # the dip that it is for
        (ReportPolicy(headroom=0.5), 500, 900, True, 100),
        (ReportPolicy(headroom=0.5), 500, 1100, False, 100),
        (ReportPolicy(Publish(on_change=Share(0.2))), 1000, 1199, False, None),
        (ReportPolicy(Publish(on_change=Share(0.2))), 1000, 1200, False, 100),
        (ReportPolicy(Publish(on_change=Share(0.2))), 1000, 801, False, None),
        (ReportPolicy(Publish(on_change=Share(0.2))), 1000, 801, True, 100),
        (ReportPolicy(Publish(min_interval=Duration(150 * S))), 1000, 1200, False, 150),
        (ReportPolicy(Publish(min_interval=Duration(50 * S))), 1000, 1200, False, 100),
        (ReportPolicy(Publish(min_interval=Duration(110 * S)), debounce_ns=30 * S), 1000, 1200, False, 130),
        (ReportPolicy(levels_per_doubling=1), 512, 1023, False, None),
        (ReportPolicy(levels_per_doubling=1), 512, 1024, False, 100),
    ],
)  # fmt: skip
def test_when_a_change_is_told_of(
    rule: ReportPolicy, told: int, budget: int, forced: bool, second: int | None
) -> None:
    assert when(rule, told, budget, forced=forced) == second


def test_levels_between_a_size_and_twice_the_size() -> None:
    rule = ReportPolicy(levels_per_doubling=4)
    assert sorted({rule.requested_bytes(size) for size in range(64, 129)}) == [64, 76, 90, 107, 128]


def test_small_sizes_have_a_level_of_their_own() -> None:
    assert [ReportPolicy(levels_per_doubling=64).requested_bytes(size) for size in range(40)] == list(
        range(40)
    )


@given(reportings, sizes)
def test_never_more_than_the_budget_is_asked_for(rule: ReportPolicy, budget: int) -> None:
    assert 0 <= rule.requested_bytes(budget) <= budget


@given(st.integers(1, 64), st.integers(0, 2**50))
def test_levels_are_fixed_points_and_hardly_below_what_is_there(levels: int, budget: int) -> None:
    rule = ReportPolicy(levels_per_doubling=levels)
    level = rule.requested_bytes(budget)
    assert rule.requested_bytes(level) == level
    assert (level + 1) * 2 ** (1 / levels) > budget * (1 - 1e-12)  # a float has 53 bits


@given(reportings, st.lists(sizes, min_size=2, max_size=20))
def test_who_has_more_asks_for_no_less(rule: ReportPolicy, budgets: list[int]) -> None:
    wanted = [rule.requested_bytes(budget) for budget in sorted(budgets)]
    assert wanted == sorted(wanted)


@given(reportings, sizes, sizes, sizes, st.booleans())
def test_who_is_over_budget_reports_at_once_and_nobody_before(
    rule: ReportPolicy, told: int, budget: int, resident: int, forced: bool
) -> None:
    now_ns = 100 * S
    due_ns = next_report_ns(
        rule,
        LastReport(told, 0),
        budget_bytes=budget,
        resident_bytes=resident,
        now_ns=now_ns,
        evicted_since_report=forced,
    )
    if resident > budget:
        assert due_ns == now_ns
    elif forced:
        assert due_ns is not None
    latest = max(now_ns + rule.debounce_ns, int(rule.publish.min_interval))
    assert due_ns is None or due_ns == latest or (resident > budget and due_ns == now_ns)


@given(reportings, sizes, sizes)
def test_what_is_not_told_of_is_a_small_growth_or_fits_what_was_told(
    rule: ReportPolicy, told: int, budget: int
) -> None:
    """The most that silence costs: the larger of the rules' shares, and the dip below the headroom."""
    wanted = rule.requested_bytes(budget)
    if when(rule, told, budget) is None and wanted > told:
        assert wanted <= told * (1 + max(rule.hysteresis, rule.publish.on_change))
    if when(rule, told, budget) is None and wanted < told and not rule.headroom:
        assert told - wanted <= rule.publish.on_change * told


def test_with_no_rule_every_change_is_told_at_once() -> None:
    for told, budget in itertools.permutations((0, 1, 5000), 2):
        assert when(ReportPolicy(), told, budget) == 100
    assert ReportPolicy().reports_every_change
    assert ReportPolicy(Publish(max_interval=Duration(S))).reports_every_change
    assert not ReportPolicy(headroom=0.1).reports_every_change


def test_waits_after_rejected_answers_double_up_to_a_minute() -> None:
    waits = [refusal_wait_ns(in_a_row, 1.0) for in_a_row in range(1, MANY_REFUSALS + 8)]
    at_once = [0] * (MANY_REFUSALS - 1)
    assert waits == at_once + [second * S for second in (1, 2, 4, 8, 16, 32, 60, 60)]
    assert min(refusal_wait_ns(MANY_REFUSALS, draw) for draw in (0.0, 0.5, 1.0)) == S


def test_the_wait_for_an_answer_doubles_up_to_twenty_times_the_first() -> None:
    waits = [silence_wait_ns(in_a_row, 30 * NS_PER_S) // NS_PER_S for in_a_row in (1, 2, 3, 4, 5, 6, 100)]
    assert waits == [30, 60, 120, 240, 480, 600, 600]


@given(st.integers(1, 1000), st.floats(0, 86_400), st.floats(0, 1))
def test_after_an_error_a_device_waits_as_long_as_the_cloud_asks_for_and_ever_longer(
    in_a_row: int, asked_s: float, draw: float
) -> None:
    wait_ns = error_wait_ns(in_a_row, asked_s, draw)
    assert wait_ns >= max(int(asked_s * NS_PER_S), NS_PER_S)
    assert wait_ns <= 1.5 * max(LONGEST_ERROR_WAIT_NS, asked_s * NS_PER_S)
    assert error_wait_ns(in_a_row + 1, asked_s, draw) >= wait_ns
    assert error_wait_ns(in_a_row, asked_s, 1.0) == pytest.approx(1.5 * error_wait_ns(in_a_row, asked_s, 0.0))
