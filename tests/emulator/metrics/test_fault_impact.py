"""The accounts of faults and actions, each from a story of two or three devices."""

from collections.abc import Iterable

import pyarrow as pa
import pytest

from devices.event_log import ExchangeResult, MessageFault
from devices.timeline.connectivity import ConnectivityCause as Cause
from emulator.metrics.fault_impact import Impact
from emulator.metrics.timeline import RunTimeline, Span
from tests.emulator.worlds import Row, devices_of, harm, metrics_of, ns, state, toggle, update

THREE = devices_of("a", "b", "c", faults=[[0], [0], []], actions=[[0], [0], []])


def plan_of(type_: str, start: float, end: float, *, action: bool = False) -> RunTimeline:
    span = Span(type_, "storm", ns(start), ns(end))
    return RunTimeline(ns(60), actions=[span]) if action else RunTimeline(ns(60), faults=[span])


def account(plan: RunTimeline, devices: pa.Table = THREE, **rows: Iterable[Row]) -> Impact:
    """Return the account of the one fault or action of a run."""
    metrics = metrics_of(devices, plan, **rows)
    assert metrics.sums.impact is not None
    faults, actions = metrics.sums.impact.summaries(plan)
    (found,) = [*faults, *actions]
    return found


def said(found: Impact, *names: str) -> list[object]:
    return [found[name] for name in names]


WHOLE = ("devices_affected", "devices_recovered", "devices_not_whole", "whole_again_seconds")


def below(t: float, device: int, ndcg: float = 0.5) -> Row:
    """The device holds less than its budget allows."""
    return state(t, device, 9, 1, ndcg, layer=1, best_layer=2)


def best(t: float, device: int, ndcg: float = 1.0) -> Row:
    return state(t, device, 9, 9, ndcg, layer=2, best_layer=2)


def test_what_was_lost_and_when_the_last_device_was_whole_again() -> None:
    """Both are harmed twice; the first is whole at 15, again at 22; the second at 35, 15 s too late."""
    harms = [
        harm(11, 0, MessageFault.REPORT_LOST, 0, 80), harm(18, 0, MessageFault.PART_LOST, 0, 500),
        harm(12, 1, MessageFault.PART_CORRUPTED, 0, 300), harm(19, 1, MessageFault.REPORT_CORRUPTED, 0, 90),
        harm(12, 2, MessageFault.PART_LOST, -1, 7),  # the link's own loss, and not the fault's
    ]  # fmt: skip
    states = [best(0, 0), below(11, 0), best(15, 0), below(17, 0), best(22, 0),
              best(0, 1), below(12, 1), best(35, 1), best(0, 2)]  # fmt: skip
    found = account(plan_of("loss", 10, 20), fault=harms, quality=states)
    assert dict(found) == {
        "type": "loss", "at": "storm", "start_seconds": 10, "end_seconds": 20,
        "messages_lost": 2, "messages_corrupted": 2, "messages_duplicated": 0, "messages_reordered": 0,
        "messages_cut_off": 0, "messages_refused": 0, "harmed_bytes": 970,
        "devices_affected": 2, "devices_recovered": 2, "devices_not_whole": 0, "whole_again_seconds": 15,
        "quality_before": 1.0, "quality_lowest": pytest.approx(2 / 3), "quality_recovery_seconds": 15,
    }  # fmt: skip


def test_a_device_that_never_recovers_is_counted() -> None:
    harms = [harm(12, 0, MessageFault.PART_LOST, 0), harm(12, 1, MessageFault.PART_LOST, 0)]
    states = [best(0, 0), best(0, 1), below(11, 1)]
    found = account(plan_of("loss", 10, 20), fault=harms, quality=states)
    assert said(found, *WHOLE) == [2, 1, 1, None]
    assert found["quality_recovery_seconds"] is None


def test_harm_to_a_device_that_lacks_nothing_does_no_harm() -> None:
    found = account(
        plan_of("duplicates", 10, 20),
        fault=[harm(12, 0, MessageFault.PART_DUPLICATED, 0)],
        quality=[best(0, 0)],
    )
    assert said(found, *WHOLE, "messages_duplicated") == [1, 1, 0, 0, 1]


def test_a_device_that_rests_where_its_policy_keeps_it_is_whole() -> None:
    """It never holds the best for its budget: what it asked for is confirmed at 24."""
    harms = [harm(12, 0, MessageFault.REPORT_LOST, 0)]
    served = [
        update(0, (9, 9, 9, 9, 9, 10, 10)),
        update(0, (12, 23, 23, 23, 23, 24, 24), ExchangeResult.CONFIRMED),
    ]
    lost = [update(0, (12, 12, 12, 12, 12, 22, 22), ExchangeResult.LOST)]
    states = [below(0, 0)]
    found = account(plan_of("loss", 10, 20), fault=harms, quality=states, update=[*served, *lost])
    assert said(found, *WHOLE) == [1, 1, 0, 4]
    assert said(account(plan_of("loss", 10, 20), fault=harms, quality=states, update=lost), *WHOLE) == [
        1,
        0,
        1,
        None,
    ]


def test_a_device_without_a_connection_is_not_whole() -> None:
    harms = [harm(12, 0, MessageFault.PART_CUT_OFF, 0)]
    away = state(11, 0, 9, 9, 1.0, online=False)
    found = account(plan_of("loss", 10, 20), fault=harms, quality=[best(0, 0), away, best(30, 0)])
    assert said(found, *WHOLE, "messages_cut_off") == [1, 1, 0, 10, 1]


def test_an_outage_affects_whom_it_cuts_off_and_whom_it_keeps_away() -> None:
    """The first is cut off, the second was away already and comes back late; the third had left for good."""
    rows = [
        toggle(10, 0, False, Cause.BROKER_DOWN), toggle(23, 0, True, Cause.BROKER_DOWN),
        toggle(5, 1, False, Cause.CHURN), toggle(27, 1, True, Cause.BROKER_DOWN),
        toggle(3, 2, False, Cause.CHURN),
    ]  # fmt: skip
    states = [
        best(0, 0), state(10, 0, 9, 9, online=False), best(23, 0),
        best(0, 1), state(5, 1, 9, 9, online=False), below(27, 1), best(28, 1),
    ]  # fmt: skip
    found = account(plan_of("broker_down", 10, 20), connection=rows, quality=states)
    assert said(found, *WHOLE) == [2, 2, 0, 8]


def test_slow_links_concern_exchanges_under_way_on_them() -> None:
    """The first waits for its answer until 25; the second had its own before; the third is on other links."""
    rows = [
        update(0, (12, 12, 15, 15, 16, 25, 25)), update(1, (1, 1, 2, 2, 3, 4, 4)),
        update(2, (12, 12, 13, 13, 14, 15, 15)),
    ]  # fmt: skip
    states = [below(0, 0), best(25, 0), best(0, 1), best(0, 2)]
    found = account(plan_of("latency", 10, 20), update=rows, quality=states)
    assert said(found, *WHOLE) == [1, 1, 0, 5]


def test_a_cloud_that_is_down_concerns_reports_that_wait_in_it() -> None:
    rows = [update(0, (1, 1, 12, 20, 20, 21, 21)), update(1, (1, 1, 2, 2, 3, 30, 30))]
    found = account(
        plan_of("cloud_down", 10, 20), update=rows, quality=[below(0, 0), best(21, 0), best(0, 1)]
    )
    assert said(found, *WHOLE) == [1, 1, 0, 1]


def test_a_storm_of_reconnections() -> None:
    """Two are cut off at 10 and may come back until 20; the third is not concerned."""
    rows = [
        harm(10, 0, MessageFault.PART_CUT_OFF, -1),
        harm(11, 2, MessageFault.PART_CUT_OFF, -1),
        harm(12, 1, MessageFault.PART_LOST, 0),
    ]
    states = [
        best(0, 0), state(10, 0, 9, 9, online=False), best(14, 0),
        best(0, 1), state(10, 1, 9, 9, online=False), below(19, 1), best(23, 1), best(0, 2),
    ]  # fmt: skip
    plan = plan_of("disconnect", 10, 20, action=True)
    found = account(plan, fault=rows, quality=states)
    assert said(found, *WHOLE, "messages_cut_off", "messages_lost") == [2, 2, 0, 3, 1, 0]


def test_scaled_budgets_count_from_when_they_are_there() -> None:
    states = [best(0, 0), below(19, 0), best(26, 0), best(0, 1), best(50, 2)]
    found = account(plan_of("budget_scale", 10, 20, action=True), quality=states)
    assert said(found, *WHOLE) == [2, 2, 0, 6]


def test_new_users_count_from_when_the_device_changed_hands() -> None:
    devices = devices_of(
        "a", "b", actions=[[0], [0]], user_group=[0, 0],
        new_user_ns=[[ns(12)], [ns(15)]], new_user_groups=[[1], [0]],
    )  # fmt: skip
    states = [best(0, 0), below(12, 0, 0.0), best(14, 0), best(0, 1), below(15, 1, 0.0), best(29, 1)]
    found = account(plan_of("new_users", 10, 20, action=True), devices, quality=states)
    assert said(found, *WHOLE) == [2, 2, 0, 9]
    assert said(found, "quality_before", "quality_lowest", "quality_recovery_seconds") == [1, 0.5, 9]


def test_what_had_not_begun_when_the_run_ended_affected_nobody() -> None:
    found = account(plan_of("disconnect", 70, 80, action=True), quality=[best(0, 0)])
    assert said(found, *WHOLE, "quality_before") == [0, 0, 0, 0, None]
