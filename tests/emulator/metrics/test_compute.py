"""Metrics against figures worked out by hand from a few rows, and what holds for any rows."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.event_log import ExchangeResult, MessageFault, Pressure, UpdateKind
from devices.protocol.report_scheduler import ReportCause
from emulator.metrics.by_dimension import find_worst, metrics_table
from emulator.metrics.compute import RunMetrics
from emulator.metrics.histogram import bucket_middle, bucket_numbers
from emulator.metrics.row_index import RowIndex
from emulator.metrics.run_sums import RowSelection
from emulator.metrics.sums import BUCKET_BITS, TrendSums
from emulator.metrics.timeline import RunTimeline, Span
from scenarios.catalogue.metrics import DIMENSIONS, METRICS, Kind
from tests.emulator.worlds import (
    Row,
    budget,
    devices_of,
    harm,
    metrics_of,
    ns,
    selected_of,
    state,
    toggle,
    update,
)

TWO = devices_of("phone", "tv")
TIMELINE = RunTimeline(ns(20), stages=(Span("calm", "calm", 0, ns(5)), Span("storm", "storm", ns(5), ns(20))))
AT_0 = (state(0, 0, 100, 50), state(0, 1, 100, 50))


def value(metrics: RunMetrics, name: str) -> object:
    """Return the one figure that the summary has of a metric."""
    stats = metrics.stats(name)
    return stats[
        {Kind.LEVEL: "mean", Kind.RATIO: "value", Kind.GAUGE: "value"}.get(METRICS[name].kind, "total")
    ]


def values(metrics: RunMetrics, name: str) -> dict[int, int]:
    """Return the number of events by bucket of their values, in the smallest unit."""
    trend = metrics.sums.metric(name)
    assert isinstance(trend, TrendSums)
    keys, counts = trend.histogram
    pairs = zip(keys.tolist(), counts.tolist(), strict=True)
    return {int(key): count for key, count in pairs if key < 1 << BUCKET_BITS}


def rounded(*values: int) -> dict[int, int]:
    """Return the buckets of values that are all in different ones."""
    return dict.fromkeys(bucket_numbers(np.array(values)).tolist(), 1)


def by(metrics: RunMetrics, name: str, dimension: str, statistic: str = "total") -> dict[str, object]:
    """Return what is there of a metric by a dimension: zeros are left out."""
    split = metrics.split(name, dimension)
    return {word: stats[statistic] for word, stats in split.items() if stats[statistic]}


def test_the_parts_of_a_latency_add_up_to_it() -> None:
    rows = [update(0, (1, 2, 2.5, 3, 3.25, 4, 4.125))]
    metrics = metrics_of(TWO, TIMELINE, update=rows, quality=AT_0)
    names = ("wait", "uplink", "queue", "selection", "downlink", "apply")
    found = [metrics.stats(f"latency_{name}_seconds")["max"] for name in names]
    assert found == [1, 0.5, 0.5, 0.25, 0.75, 0.125]
    assert metrics.stats("update_latency_seconds")["max"] == sum(found)  # type: ignore[arg-type]
    assert metrics.stats("update_staleness_seconds")["max"] == 2.125


def test_queueing_counts_what_was_taken_up_whatever_came_of_it() -> None:
    rows = [
        update(0, (0, 0, 1, 4, 5, 6, 6)),
        update(0, (0, 0, 1, 2, 3, 4, 4), ExchangeResult.SUPERSEDED),
        update(1, (0, 0, -1e-9, -1e-9, -1e-9, -1e-9, 9), ExchangeResult.LOST),
    ]
    metrics = metrics_of(TWO, TIMELINE, update=rows, quality=AT_0)
    assert metrics.stats("queue_seconds")["mean"] == 2
    assert metrics.stats("latency_queue_seconds")["n"] == 1


def test_the_kinds_of_bytes_add_up() -> None:
    moments = (0, 0, 1, 1, 1, 2, 2)
    sizes = ((UpdateKind.FIRST, 100, 100, 0), (UpdateKind.DELTA, 90, 40, 20),
             (UpdateKind.FALLBACK_FULL, 30, 30, 0), (UpdateKind.NOTHING, 7, 7, 0),
             (UpdateKind.NONE, 0, 0, 0))  # fmt: skip
    rows = [
        update(0, moments, sent=sent, update_bytes=size, used_bytes=used, lost_bytes=lost, report_bytes=1,
               full_update_bytes=100, update_wire_bytes=2 * size)
        for sent, size, used, lost in sizes
    ]  # fmt: skip
    metrics = metrics_of(
        TWO, TIMELINE, update=rows, quality=AT_0, budget=[budget(0, 0, 100), budget(0, 1, 9)]
    )
    assert by(metrics, "update_bytes", "kind") == {
        "first": 100, "delta": 40, "fallback_full": 30, "control": 7, "wasted": 30, "lost": 20,
    }  # fmt: skip
    assert [value(metrics, name) for name in ("update_bytes", "wasted_bytes", "control_bytes")] == [
        227,
        30,
        12,
    ]
    assert value(metrics, "delta_fallbacks") == 1
    assert value(metrics, "wire_overhead_ratio") == 2
    assert value(metrics, "delta_ratio") == 227 / 500
    assert value(metrics, "update_amplification") == 4 / 2  # four answers were sent for two changes
    assert value(metrics, "report_amplification") == 5 / 2
    assert value(metrics, "bytes_per_device_hour") == pytest.approx(227 / (2 * 20 / 3600))


def test_blocks_of_another_model_version_are_other_blocks() -> None:
    """Ten of the old version go, and twelve of the new one come; then three more; then eight go."""
    moments = (0, 0, 1, 1, 1, 2, 2)
    rows = [
        update(0, moments, sent=UpdateKind.FIRST, held_before=10, held=12),
        update(0, moments, sent=UpdateKind.DELTA, held_before=12, held=15),
        update(0, moments, sent=UpdateKind.NOTHING, held_before=15, held=7),
    ]
    metrics = metrics_of(TWO, TIMELINE, update=rows, quality=AT_0)
    assert values(metrics, "blocks_changed") == rounded(3, 8, 22)


def test_time_to_fit_counts_from_the_drop_to_what_fits_or_the_stop() -> None:
    """The first device evicts by itself, then is told to; the second never fits."""
    changes = [
        budget(0, 0, 100), budget(2, 0, 50, before=80), budget(6, 0, 20, before=50, after=50),
        budget(8, 0, 10, before=50, after=50), budget(0, 1, 100), budget(16, 1, 10, before=90, after=90),
    ]  # fmt: skip
    states = [
        state(0, 0, 100, 80), state(2, 0, 50, 50), state(6, 0, 20, 50), state(8, 0, 10, 50),
        state(9, 0, 10, 9), state(0, 1, 100, 90), state(16, 1, 10, 90),
    ]  # fmt: skip
    metrics = metrics_of(TWO, TIMELINE, budget=changes, quality=states)
    assert values(metrics, "time_to_fit_seconds") == rounded(0, ns(1), ns(3), ns(4))
    assert (value(metrics, "local_evictions"), value(metrics, "evicted_bytes")) == (1, 30)
    assert by(metrics, "over_budget_device_seconds", "group") == {"phone": 3, "tv": 4}
    assert value(metrics, "over_budget_bytes_max") == 80
    assert by(metrics, "budget_changes", "direction") == {"first": 2, "down": 4}
    assert by(metrics, "budget_step_bytes", "direction", "n") == {"down": 4}


def test_all_are_over_only_when_nobody_is_not() -> None:
    """Both are over from 4 to 6; from 10 on the second one alone is there, as the first has no tie to it."""
    states = [
        state(0, 0, 10, 5), state(3, 0, 10, 11), state(4, 0, 10, 12), state(6, 0, 10, 5),
        state(1, 1, 10, 5), state(4, 1, 10, 11), state(9, 1, 10, 5),
    ]  # fmt: skip
    metrics = metrics_of(TWO, TIMELINE, quality=states)
    assert value(metrics, "over_budget_device_seconds") == 8
    assert value(metrics, "over_budget_all_seconds") == 2
    assert by(metrics, "over_budget_all_seconds", "group", "value") == {"phone": 3, "tv": 5}
    assert by(metrics, "over_budget_all_seconds", "stage", "value") == {"calm": 1, "storm": 1}


def test_states_are_cut_where_a_stage_begins_and_events_belong_to_theirs() -> None:
    """The fleet's NDCG is .5 until 10 and 1 from then on, on both devices."""
    states = [state(t, device, 9, 9, ndcg) for t, ndcg in ((0, 0.5), (10, 1.0)) for device in (0, 1)]
    rows = [update(0, (4, 4, 4, 4, 4, 9, 9)), update(0, (5, 5, 5, 5, 5, 6, 6))]
    metrics = metrics_of(TWO, TIMELINE, quality=states, update=rows)
    assert by(metrics, "ndcg_at_10", "stage", "mean") == {"calm": 0.5, "storm": 12.5 / 15}
    assert by(metrics, "update_latency_seconds", "stage", "max") == {"calm": 5, "storm": 1}
    late = [RowSelection(name) for name in ("ndcg_at_10", "updates_applied")]
    metrics = selected_of(TWO, replace(TIMELINE, warmup_ns=ns(15)), late, quality=states, update=rows)
    assert [metrics.selection(each.metric, {}).stats() for each in late] == [
        {"mean": 1, "min": 1, "max": 1},
        {"total": 0},
    ]


def test_pressure_dwells_and_changes() -> None:
    states = [state(0, 0, 9, 9), state(4, 0, 9, 9, pressure=Pressure.LOW), state(6, 0, 9, 9),
              state(0, 1, 9, 9, pressure=Pressure.LOW)]  # fmt: skip
    metrics = metrics_of(TWO, TIMELINE, quality=states, update=[update(0, (5, 5, 5, 5, 5, 5, 7))])
    assert by(metrics, "pressure_seconds", "level") == {"normal": 18, "low": 22}
    assert by(metrics, "pressure_seconds", "level", "share") == {"normal": 0.45, "low": 0.55}
    assert metrics.pair_totals("pressure_transitions", "from", "to") == {
        "normal": {"low": 1},
        "low": {"normal": 1},
    }
    assert by(metrics, "updates_applied", "pressure") == {"low": 1}  # when its report left


def test_a_fall_of_quality_ends_when_it_is_back_at_95_percent() -> None:
    ndcg = [(0, 1.0), (2, 0.5), (3, 0.4), (5, 0.94), (7, 0.96), (9, 0.95), (12, 0.1)]
    metrics = metrics_of(TWO, TIMELINE, quality=[state(t, 0, 9, 9, each) for t, each in ndcg])
    stats = metrics.stats("quality_recovery_seconds")
    assert (stats["n"], stats["max"]) == (1, 5)  # the second fall never ends


def test_being_away() -> None:
    rows = [
        toggle(0, 0, True),
        toggle(4, 0, False),
        toggle(7, 0, True),
        toggle(12, 0, False),
        toggle(1, 1, True),
    ]
    states = [state(0, 0, 9, 9), state(4, 0, 9, 9, online=False), state(7, 0, 9, 9),
              state(12, 0, 9, 9, online=False), state(0, 1, 9, 9)]  # fmt: skip
    metrics = metrics_of(TWO, TIMELINE, connection=rows, quality=states)
    assert metrics.stats("offline_spell_seconds")["max"] == 8
    assert metrics.stats("offline_spell_seconds")["mean"] == 5.5
    assert by(metrics, "disconnections", "group") == {"phone": 2}
    assert by(metrics, "connects", "why") == {"churn": 3}
    assert value(metrics, "offline_seconds") == 11
    assert value(metrics, "online_share") == 29 / 40


def test_peaks_are_of_seconds_of_the_clock() -> None:
    """Two of three leave in one second, all in one minute; two hours later a larger one does."""
    rows = [update(0, (0, 0, left, left, left, 9, 9), update_wire_bytes=size)
            for left, size in ((0.6, 10), (1.1, 20), (1.5, 30), (1.6, 100))]  # fmt: skip
    metrics = metrics_of(TWO, TIMELINE, update=rows[:3], quality=AT_0)
    assert value(metrics, "downlink_peak_1s") == 50
    assert value(metrics, "downlink_peak_1min") == 1
    assert value(metrics_of(TWO, TIMELINE, update=rows, quality=AT_0), "downlink_peak_1s") == 150
    assert value(metrics, "update_fanout_peak") == 2
    late = update(1, (7199, 7199, 7200, 7200, 7201, 7202, 7202), update_wire_bytes=9000)
    metrics = metrics_of(TWO, RunTimeline(ns(9000)), update=[*rows, late], quality=AT_0)
    assert value(metrics, "downlink_peak_1min") == 150
    assert by(metrics, "downlink_peak_1s", "group", "value") == {"phone": 150, "tv": 9000}


def test_peaks_of_messages_both_ways_and_of_connections() -> None:
    """Reports, quality and connections go up, a will does not; the parts of updates come down."""
    moments = (0.1, 1.1, 1.2, 1.2, 2.5, 3, 3)
    metrics = metrics_of(
        TWO,
        TIMELINE,
        update=[update(0, moments, report_wire_bytes=60, update_wire_bytes=900, parts=3)] * 2,
        quality=[state(1.9, 0, 9, 9, message_bytes=1, message_wire_bytes=50), state(1, 0, 9, 9), AT_0[1]],
        connection=[
            {**toggle(1.5, 1, True), "message_wire_bytes": 30},
            {**toggle(1.6, 1, False), "message_wire_bytes": 40},
            {**toggle(7, 0, True), "message_wire_bytes": 30},
        ],
    )
    names = ("uplink", "uplink_messages", "downlink", "downlink_messages", "connects")
    assert [value(metrics, f"{name}_peak_1s") for name in names] == [200, 4, 1800, 6, 1]
    per_minute = (230, 5, 1800, 6, 2)
    assert [value(metrics, f"{name}_peak_1min") for name in names] == [each / 60 for each in per_minute]
    assert by(metrics, "uplink_messages_peak_1s", "group", "value") == {"phone": 3, "tv": 1}


def test_who_a_device_is_may_change_in_the_run() -> None:
    """The phone is on wifi from 5 to 15, and has a user of another group from 10 on."""
    devices = devices_of(
        "phone", "tv",
        labels=pa.array([[("region", "eu")], []], pa.map_(pa.string(), pa.string())),
        network=["lte", "lan"], network_ns=[[ns(5), ns(15)], []], networks=[["wifi", "lte"], []],
        user_group=[3, 0], new_user_ns=[[ns(10)], []], new_user_groups=[[1], []],
    )  # fmt: skip
    states = [state(0, 0, 9, 9, user_group=3), state(10, 0, 9, 9, user_group=1), state(0, 1, 9, 9)]
    rows = [update(0, (t, t, t, t, t, t, t)) for t in (1, 6, 11, 16)]
    metrics = metrics_of(devices, TIMELINE, quality=states, update=rows)
    assert by(metrics, "pressure_seconds", "network") == {"lte": 10, "wifi": 10, "lan": 20}
    assert by(metrics, "updates_applied", "network") == {"lte": 2, "wifi": 2}
    assert by(metrics, "updates_applied", "user_group") == {"1": 2, "3": 2}
    assert by(metrics, "pressure_seconds", "user_group") == {"0": 20, "1": 10, "3": 10}
    assert by(metrics, "pressure_seconds", "label.region") == {"eu": 20, "(none)": 20}


def test_a_group_of_users_is_one_of_the_model_version_that_is_held() -> None:
    """From 10 on the phone holds a new version's PEE, in which its user is in group 12."""
    devices = devices_of("phone", "tv", user_group=[3, 0])
    states = [
        state(0, 0, 9, 9, 0.4, user_group=3, full_ndcg_at_10=0.5),
        state(10, 0, 9, 9, 0.2, user_group=12, full_ndcg_at_10=0.8, version=1),
        state(0, 1, 9, 9, 0.6, full_ndcg_at_10=0.8),
    ]
    rows = [update(0, (t, t, t, t, t, t, t)) for t in (1, 9, 11)]
    metrics = metrics_of(devices, TIMELINE, quality=states, update=rows)
    assert metrics.slices.values("user_group") == ["0", "3", "12"]
    assert by(metrics, "updates_applied", "user_group") == {"3": 2, "12": 1}
    assert by(metrics, "pressure_seconds", "user_group") == {"0": 20, "3": 10, "12": 10}
    assert by(metrics, "quality_ratio_to_full", "user_group", "value") == {"0": 0.75, "3": 0.8, "12": 0.25}
    assert find_worst(metrics)["user_group"]["quality_ratio_to_full"] == "12"


def test_what_devices_tell_of_themselves_is_counted_on_the_wire() -> None:
    moments = (0, 0, 1, 1, 1, 2, 2)
    metrics = metrics_of(
        TWO,
        TIMELINE,
        update=[update(0, moments, report_wire_bytes=130, ack_wire_bytes=112)] * 2,
        quality=[state(0, 0, 9, 9, message_bytes=90, message_wire_bytes=160), state(1, 0, 9, 9), AT_0[1]],
        connection=[{**toggle(0, 1, True), "message_bytes": 34, "message_wire_bytes": 120}],
    )
    names = ("report_wire", "ack_wire", "quality", "quality_wire", "status", "status_wire")
    assert [value(metrics, f"{name}_bytes") for name in names] == [260, 224, 90, 160, 34, 120]
    assert by(metrics, "status_wire_bytes", "group") == {"tv": 120}


def test_deciles_are_tenths_of_the_device_time() -> None:
    states = [state(2 * at, 0, 100 * (at + 1), 5) for at in range(10)]
    metrics = metrics_of(devices_of("phone"), TIMELINE, quality=states)
    assert by(metrics, "pressure_seconds", "budget_decile") == {str(at): 2 for at in range(1, 11)}
    assert by(metrics, "budget_bytes", "budget_decile", "mean")["10"] == 1000


def test_budgets_that_repeat_make_fewer_ranges_than_ten() -> None:
    """One size for four fifths of the time: deciles are empty, ranges say what is in them."""
    sizes = [(0, 100), (2, 300), (18, 700)]
    metrics = metrics_of(devices_of("phone"), TIMELINE, quality=[state(t, 0, size, 5) for t, size in sizes])
    assert by(metrics, "device_seconds", "budget_decile") == {"1": 2, "2": 16, "10": 2}
    assert by(metrics, "device_seconds", "budget_range") == {
        "100 to 100 bytes": 2, "300 to 300 bytes": 16, "700 to 700 bytes": 2,
    }  # fmt: skip


def test_what_leaves_after_the_stop_time_is_of_the_last_stage() -> None:
    rows = [update(0, (t, t, t, t, t, t, t), report_bytes=1) for t in (1, 19, 20, 25)]
    metrics = metrics_of(TWO, TIMELINE, quality=AT_0, update=rows)
    assert by(metrics, "report_bytes", "stage") == {"calm": 1, "storm": 3}
    longer = RunTimeline(ns(30), stages=TIMELINE.stages)  # and so is what follows the stages
    metrics = metrics_of(TWO, longer, quality=AT_0, update=rows)
    assert by(metrics, "report_bytes", "stage") == {"calm": 1, "storm": 3}
    assert by(metrics, "device_seconds", "stage") == {"calm": 10, "storm": 50}
    assert metrics.duration_s({"stage": "storm"}) == 25


def test_percentiles_are_the_nearest_rank_in_a_bucket() -> None:
    """Of 59.9 s and twice 60.03 s the median is in the last one's bucket; the greatest value is exact."""
    rows = [update(0, (0, 0, 0, 0, 0, 0, t)) for t in (59.9, 60.03, 60.03)]
    stats = metrics_of(TWO, TIMELINE, quality=AT_0, update=rows).stats("update_latency_seconds")
    assert (stats["p90"], stats["max"], stats["min"]) == (60.03, 60.03, 59.9)
    assert stats["p50"] == min(bucket_middle(int(bucket_numbers(np.array([ns(60.03)]))[0])) / 1e9, 60.03)
    shares = [update(0, (0,) * 7, update_bytes=each, full_update_bytes=3) for each in (1, 2)]
    stats = metrics_of(TWO, TIMELINE, quality=AT_0, update=shares).stats("update_delta_ratio")
    assert stats["mean"] == 0.5
    assert [stats["min"], stats["max"]] == pytest.approx([1 / 3, 2 / 3], abs=1e-15)


def test_the_wait_for_the_best_pee_is_counted_from_its_first_moment() -> None:
    """The phone waits from 0 to 2 and from 4 to 9, its budget growing once more at 6; the tv never does."""
    states = [
        state(0, 0, 9, 0, layer=0), state(2, 0, 9, 9, 0.5), state(4, 0, 12, 9, 0.5, best_layer=2),
        state(6, 0, 15, 9, 0.5, best_layer=3), state(9, 0, 15, 15, 0.5, layer=3, best_layer=3),
        state(0, 1, 9, 9, 0.5),
    ]  # fmt: skip
    rows = [update(0, (6, 6, 7, 7, 7, 9, 9))]
    metrics = metrics_of(TWO, TIMELINE, quality=states, update=rows)
    assert metrics.stats("update_latency_seconds")["max"] == 3
    assert (value(metrics, "below_best_seconds"), value(metrics, "below_best_share")) == (7, 7 / 40)
    spells = metrics.stats("below_best_spell_seconds")
    assert (spells["n"], spells["max"]) == (2, 5)
    assert by(metrics, "below_best_longest_seconds", "group", "n") == {"phone": 1, "tv": 1}
    assert by(metrics, "below_best_longest_seconds", "group", "max") == {"phone": 5}
    spells_only = [RowSelection("below_best_spell_seconds")]
    metrics = selected_of(TWO, replace(TIMELINE, warmup_ns=ns(8)), spells_only, quality=states)
    late = metrics.selection("below_best_spell_seconds", {}).stats()
    assert (late["n"], late["max"]) == (1, 1)


def test_quality_before_the_first_pee_and_signs_stay_out_of_the_shortfall() -> None:
    """Nothing for 5 s, then the worse of two PEEs for 5 s, then one better than the best that fits."""
    states = [
        state(0, 0, 9, 0, 0.0, layer=0, best_ndcg_at_10=0.4),
        state(5, 0, 9, 5, 0.3, layer=1, best_ndcg_at_10=0.4),
        state(10, 0, 9, 5, 0.5, layer=1, best_ndcg_at_10=0.4),
    ]
    metrics = metrics_of(devices_of("phone"), TIMELINE, quality=states)
    names = ("quality_regret", "quality_shortfall", "quality_shortfall_after_first", "ndcg_at_10_after_first",
             "quality_ratio_to_full_after_first")  # fmt: skip
    assert [value(metrics, name) for name in names] == pytest.approx(
        [(2 + 0.5 - 1) / 20, (2 + 0.5) / 20, 0.5 / 15, 6.5 / 15, 6.5 / 15]
    )


def test_a_slow_decline_is_low_quality_though_no_fall() -> None:
    ndcg = [(0, 1.0), (2, 0.97), (4, 0.94), (6, 0.91), (9, 0.96), (15, 0.9)]
    metrics = metrics_of(devices_of("phone"), TIMELINE, quality=[state(t, 0, 9, 9, each) for t, each in ndcg])
    assert metrics.stats("quality_recovery_seconds")["n"] == 0
    assert (value(metrics, "low_quality_seconds"), value(metrics, "low_quality_share")) == (10, 0.5)
    spells = metrics.stats("low_quality_spell_seconds")
    assert (spells["n"], spells["min"], spells["max"]) == (2, 5, 5)  # the second until the stop time


def test_latency_while_connected_leaves_out_the_time_cut_off() -> None:
    """A change at 1; the phone is away from 2 to 8 and has its PEE at 9. The tv connects only at 3."""
    toggles = [toggle(0, 0, True), toggle(2, 0, False), toggle(8, 0, True), toggle(3, 1, True)]
    rows = [update(0, (1, 8, 8, 8, 8, 9, 9)), update(1, (1, 3, 3, 3, 3, 4, 4))]
    metrics = metrics_of(TWO, TIMELINE, quality=AT_0, update=rows, connection=toggles)
    assert by(metrics, "update_latency_seconds", "group", "max") == {"phone": 8, "tv": 3}
    assert by(metrics, "connected_latency_seconds", "group", "max") == {"phone": 2, "tv": 1}


def test_control_bytes_are_reports_and_answers_without_blocks() -> None:
    sizes = (
        (UpdateKind.NOTHING, 7, 7, 0),
        (UpdateKind.NOTHING, 6, 0, 6),
        (UpdateKind.NOTHING, 5, 0, 0),
        (UpdateKind.DELTA, 9, 9, 0),
    )
    rows = [
        update(0, (0,) * 7, sent=sent, update_bytes=size, used_bytes=used, lost_bytes=lost, report_bytes=1)
        for sent, size, used, lost in sizes
    ]
    metrics = metrics_of(TWO, TIMELINE, quality=AT_0, update=rows)
    assert by(metrics, "update_bytes", "kind") == {"control": 7, "lost": 6, "wasted": 5, "delta": 9}
    names = ("control_answer_bytes", "report_bytes", "control_bytes")
    assert [value(metrics, name) for name in names] == [18, 4, 22]


def test_the_worst_of_a_dimension_is_named() -> None:
    states = [state(0, 0, 9, 9, 0.5), state(0, 1, 9, 10, 0.4)]
    assert find_worst(metrics_of(TWO, TIMELINE, quality=states))["group"] == {
        "quality_ratio_to_full": "tv", "over_budget_share": "tv", "update_latency_seconds": None,
    }  # fmt: skip


def test_harm_is_counted_by_kind() -> None:
    rows = [
        harm(1, 0, MessageFault.PART_LOST, 0, 10),
        harm(6, 1, MessageFault.PART_LOST, -1, 5),
        harm(6, 1, MessageFault.REPORT_LOST, 0, 1),
    ]
    metrics = metrics_of(TWO, TIMELINE, fault=rows, quality=AT_0)
    assert by(metrics, "messages_harmed", "harm") == {"part_lost": 2, "report_lost": 1}
    assert by(metrics, "harmed_bytes", "stage") == {"calm": 10, "storm": 6}


def test_nothing_happened() -> None:
    metrics = metrics_of(TWO, TIMELINE, quality=AT_0)
    found = {name: value(metrics, name) for name, metric in METRICS.items() if metric.kind is Kind.COUNTER}
    assert set(found.values()) == {0}
    assert metrics.stats("update_latency_seconds")["p95"] is None
    assert value(metrics, "delta_ratio") is None


moments = st.lists(st.integers(0, 10), min_size=7, max_size=7).map(np.cumsum)
rows_of_updates = st.lists(
    st.builds(
        lambda device, at, result, sent, used, wasted, lost: update(
            device, at.tolist(), result, sent=sent, used_bytes=used, lost_bytes=lost,
            update_bytes=used + wasted + lost, cause=ReportCause.RETRY,
        ),
        st.integers(0, 1), moments, st.sampled_from(ExchangeResult), st.sampled_from(UpdateKind),
        st.integers(0, 9), st.integers(0, 9), st.integers(0, 9),
    ),
    max_size=8,
)  # fmt: skip
rows_of_states = st.lists(
    st.builds(
        lambda device, t, budget, resident, pressure: state(t, device, budget, resident, pressure=pressure),
        st.integers(0, 1), st.integers(0, 25), st.integers(0, 9), st.integers(0, 9),
        st.sampled_from(Pressure),
    ),
    max_size=8,
)  # fmt: skip


@settings(deadline=None, max_examples=40)
@given(rows_of_updates, rows_of_states)
def test_what_is_split_adds_up(updates: list[Row], states: list[Row]) -> None:
    """Every event and every device second has one value of each dimension."""
    metrics = metrics_of(TWO, TIMELINE, update=updates, quality=[*AT_0, *states])
    for name, metric in METRICS.items():
        statistic = {Kind.COUNTER: "total", Kind.TREND: "n", Kind.TIME: "total"}.get(metric.kind)
        for dimension in metrics.slices.dimensions_of(metric) if statistic else ():
            assert statistic is not None
            parts = [stats[statistic] or 0 for stats in metrics.split(name, dimension).values()]
            whole = metrics.stats(name)[statistic] or 0
            assert sum(parts) == (pytest.approx(whole) if metric.kind is Kind.TIME else whole), dimension


@settings(deadline=None, max_examples=40)
@given(rows_of_updates, rows_of_states)
def test_a_filter_leaves_what_the_split_says(updates: list[Row], states: list[Row]) -> None:
    split = metrics_of(TWO, TIMELINE, update=updates, quality=states)
    selections = {
        (name, dimension, word): RowSelection(name, frozenset({(dimension, word)}))
        for name, metric in METRICS.items()
        for dimension in split.slices.dimensions_of(metric)
        for word in split.slices.values(dimension, metric)
    }
    metrics = selected_of(TWO, TIMELINE, list(selections.values()), update=updates, quality=states)
    for (name, dimension, word), selection in selections.items():
        found = metrics.sums.selection(selection).stats()
        for statistic, number in split.split(name, dimension)[word].items():
            assert found[statistic] == number, (selection, statistic)


@given(rows_of_updates)
def test_the_parts_of_all_latencies_add_up(updates: list[Row]) -> None:
    metrics = metrics_of(TWO, TIMELINE, update=updates, quality=AT_0)
    names = ("wait", "uplink", "queue", "selection", "downlink", "apply")
    parts = [metrics.sums.metric(f"latency_{name}_seconds") for name in names]
    whole = metrics.sums.metric("update_latency_seconds")
    assert isinstance(whole, TrendSums)
    assert sum(part.sum[0] for part in parts if isinstance(part, TrendSums)) == whole.sum[0]


def test_the_table_has_every_metric_by_every_dimension() -> None:
    table = metrics_table(metrics_of(TWO, TIMELINE, quality=AT_0))
    found = {(row["metric"], row["dimension"]) for row in table.to_pylist()}
    dimensions = {"all", "group", "stage", "pressure", "budget_decile", "budget_range"}
    own = {(name, dimension) for name, metric in METRICS.items() for dimension in metric.own}
    general = {(name, each) for name in METRICS for each in dimensions if METRICS[name].has_dimension(each)}
    assert found == general | own
    assert dimensions - {"all"} <= set(DIMENSIONS)


rows_of_times = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), max_size=12)


@given(rows_of_times, rows_of_times, st.sampled_from([1, 3 * 10**17]))
def test_rows_are_found_by_device_and_time(
    there: list[tuple[int, int]], wanted: list[tuple[int, int]], unit: int
) -> None:
    """With times so large that device and time do not fit into one number, too."""
    rows = sorted((device, t * unit) for device, t in there)
    index = RowIndex(*np.array(rows, dtype=np.int64).reshape(-1, 2).T)
    device, t_ns = np.array([(at, t * unit) for at, t in wanted], dtype=np.int64).reshape(-1, 2).T
    last, first = index.last(device, t_ns).tolist(), index.first(device, t_ns).tolist()
    for at, t, before, after in zip(device.tolist(), t_ns.tolist(), last, first, strict=True):
        own = [(place, row[1]) for place, row in enumerate(rows) if row[0] == at]
        assert before == max((place for place, other in own if other <= t), default=-1)
        assert after == min((place for place, other in own if other >= t), default=-1)
