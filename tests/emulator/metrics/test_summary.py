"""The summary against figures computed by hand from a few rows."""

import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from emulator.metrics.row_index import Columns, DeviceStates
from emulator.metrics.summary import average_states
from scenarios.catalogue.event_columns import DEVICE_COLUMNS, EVENT_COLUMNS, METRIC_COLUMNS, meanings_of
from tests.emulator.scenarios import Runner
from wire.units import NS_PER_S


def states(*rows: tuple[str, int, int, int, float, float]) -> Columns:
    """Rows of (device, second, budget, resident, ndcg, best ndcg)."""
    device, second, budget, resident, ndcg, best = zip(*rows, strict=True)
    columns = {
        "t_ns": [moment * NS_PER_S for moment in second],
        "device": device,
        "budget_bytes": budget,
        "resident_bytes": resident,
        "ndcg_at_10": ndcg,
        "recall_at_20": ndcg,
        "hit_rate_at_10": ndcg,
        "best_ndcg_at_10": best,
        "full_ndcg_at_10": [0.5 if name == "a" else 0.3 for name in device],
    }
    return {name: np.array(values) for name, values in columns.items()}


STATES = states(
    ("b", 5, 100, 0, 0.0, 0.2),
    ("a", 0, 100, 0, 0.0, 0.4),
    ("a", 2, 100, 100, 0.4, 0.4),
    ("a", 8, 50, 100, 0.4, 0.1),
    ("a", 9, 50, 50, 0.1, 0.1),
    ("b", 12, 100, 100, 0.2, 0.2),  # after the stop time: holds no time
)


def test_a_state_holds_until_the_next_of_its_device_or_the_stop() -> None:
    held = DeviceStates.from_rows(STATES, 10 * NS_PER_S).with_seconds
    assert list(zip(held["device"].tolist(), held["seconds"].tolist(), strict=True)) == [
        ("a", 2.0), ("a", 6.0), ("a", 1.0), ("a", 1.0), ("b", 5.0), ("b", 0.0),
    ]  # fmt: skip


def test_means_weigh_states_by_their_time() -> None:
    """15 device seconds; a holds .4 for 7 s and .1 for 1 s; a is over budget from 8 to 9 s.

    NDCG: (7 x .4 + 1 x .1) / 15. Full: (10 x .5 + 5 x .3) / 15. Best: (8 x .4 + 2 x .1 + 5 x .2) / 15.
    """
    figures = average_states(DeviceStates.from_rows(STATES, 10 * NS_PER_S).with_seconds)
    assert figures == {
        "over_budget_device_seconds": 1.0,
        "over_budget_share": pytest.approx(1 / 15),
        "ndcg_at_10": pytest.approx(2.9 / 15),
        "recall_at_20": pytest.approx(2.9 / 15),
        "hit_rate_at_10": pytest.approx(2.9 / 15),
        "quality_ratio_to_full": pytest.approx(2.9 / 6.5),
        "quality_regret": pytest.approx((4.4 - 2.9) / 15),
    }


def test_every_parquet_file_says_what_its_columns_are(runner: Runner) -> None:
    folder = runner.run().folder
    files = {
        **{f"events/{name}.parquet": columns for name, columns in EVENT_COLUMNS.items()},
        "devices.parquet": meanings_of(DEVICE_COLUMNS),
        "metrics.parquet": meanings_of(METRIC_COLUMNS),
    }
    for name, columns in files.items():
        schema = pq.read_schema(folder / name)
        said = {field.name: (field.metadata or {}).get(b"description", b"").decode() for field in schema}
        assert said == columns
    types = {field.name: str(field.type) for field in pq.read_schema(folder / "devices.parquet")}
    plain = {name: re.sub(r"(?<=<)(item|element): | \('labels'\)", "", kind) for name, kind in types.items()}
    assert plain == {name: kind for name, (kind, _) in DEVICE_COLUMNS.items()}
