"""The summary against figures computed by hand from a few rows."""

import re

import pyarrow.parquet as pq
import pytest

from emulator.metrics.row_index import DeviceStates
from emulator.metrics.summary import RunInfo, summarize
from emulator.metrics.timeline import RunTimeline
from scenarios.catalogue.event_columns import (
    DEVICE_COLUMNS,
    EVENT_COLUMNS,
    METRIC_COLUMNS,
    meanings_of,
    unit_of,
)
from tests.emulator.event_logs import part
from tests.emulator.scenarios import Runner
from tests.emulator.worlds import columns_of, devices_of, metrics_of, ns, state

STATES = [
    state(5, 1, 100, 0, 0.0, best_ndcg_at_10=0.2, full_ndcg_at_10=0.3),
    state(0, 0, 100, 0, 0.0, best_ndcg_at_10=0.4, full_ndcg_at_10=0.5),
    state(2, 0, 100, 100, 0.4, full_ndcg_at_10=0.5),
    state(8, 0, 50, 100, 0.4, best_ndcg_at_10=0.1, full_ndcg_at_10=0.5),
    state(9, 0, 50, 50, 0.1, full_ndcg_at_10=0.5),
    state(12, 1, 100, 100, 0.2, full_ndcg_at_10=0.3),  # after the stop time: holds no time
]


def test_a_state_holds_until_the_next_of_its_device_or_the_stop() -> None:
    held = DeviceStates.from_rows(columns_of("quality", STATES), ns(10))
    lasting = (held.end_ns - held.start_ns).tolist()
    assert list(zip(held.columns["device"].tolist(), lasting, strict=True)) == [
        (0, ns(2)), (0, ns(6)), (0, ns(1)), (0, ns(1)), (1, ns(5)), (1, 0),
    ]  # fmt: skip


def test_means_weigh_states_by_their_time() -> None:
    """15 device seconds; the first holds .4 for 7 s and .1 for 1 s, and is over budget from 8 to 9 s.

    NDCG: (7 x .4 + 1 x .1) / 15. Full: (10 x .5 + 5 x .3) / 15. Best: (8 x .4 + 2 x .1 + 5 x .2) / 15.
    """
    metrics = metrics_of(devices_of("a", "b"), RunTimeline(ns(10)), quality=STATES)
    summary = summarize(RunInfo("s", 1, "virtual", "m", ns(10)), metrics, "", 1.0)
    figures = {
        "over_budget_device_seconds": 1.0,
        "over_budget_share": pytest.approx(1 / 15),
        "ndcg_at_10": pytest.approx(2.9 / 15),
        "recall_at_20": pytest.approx(2.9 / 15),
        "hit_rate_at_10": pytest.approx(2.9 / 15),
        "quality_ratio_to_full": pytest.approx(2.9 / 6.5),
        "quality_regret": pytest.approx((4.4 - 2.9) / 15),
    }
    assert {name: summary[name] for name in figures} == figures


def test_a_run_without_device_time_has_no_summary() -> None:
    late = metrics_of(devices_of("a"), RunTimeline(ns(10)), quality=[state(12, 0, 9, 9)])
    with pytest.raises(ValueError, match="no device ran for any time"):
        summarize(RunInfo("s", 1, "virtual", "m", ns(10)), late, "", 1.0)


def test_every_parquet_file_says_what_its_columns_are(runner: Runner) -> None:
    folder = runner.run().folder
    files = {
        **{
            part(name): {column: text for column, text in columns.items() if column != "wall_s"}
            for name, columns in EVENT_COLUMNS.items()
            if name not in ("rollout", "interaction")
        },
        "devices.parquet": meanings_of(DEVICE_COLUMNS),
        "metrics.parquet": meanings_of(METRIC_COLUMNS),
    }
    for name, columns in files.items():
        schema = pq.read_schema(folder / name)
        said = {field.name: (field.metadata or {}).get(b"description", b"").decode() for field in schema}
        assert said == columns
        units = {field.name: (field.metadata or {}).get(b"unit", b"").decode() for field in schema}
        assert units == {column: unit_of(column) for column in columns}
    types = {field.name: str(field.type) for field in pq.read_schema(folder / "devices.parquet")}
    plain = {name: re.sub(r"(?<=<)(item|element): | \('labels'\)", "", kind) for name, kind in types.items()}
    assert plain == {name: kind for name, (kind, _) in DEVICE_COLUMNS.items()}
