"""The figures of a report do not depend on how the devices of a run are cut into ranges."""

import random
from collections.abc import Mapping, Sequence
from functools import reduce
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.event_log import ExchangeResult, RolloutStep
from devices.protocol.report_scheduler import ReportCause
from emulator.executors.in_process import InProcessExecutor
from emulator.metrics.row_index import Columns
from emulator.report.figure_sums import FigureSums, measure_figures
from emulator.report.fleet_views import FleetViews, RangeDevices
from emulator.report.keyed_sums import bucket_start, byte_bucket, from_limbs, to_limbs
from emulator.report.load import load_figures
from emulator.report.page import render
from emulator.report.report_figures import report_figures
from emulator.run_directory.run_files import RunFiles
from scenarios.language.load import shipped
from tests.test_shipped_scenarios import Station, data_of, reduced, stores
from wire.units import NS_PER_S

__all__ = ["stores"]

STOP_S = 600
GROUPS = ("a", "b", "c")
Rows = Sequence[tuple[int, ...]]


def tables_of(seed: int, devices: int) -> Mapping[str, Columns]:
    """Return events of so many devices, some of which have none, as columns by device and time."""
    rng = np.random.default_rng(seed)

    def owners(rows: int) -> Columns:
        device = np.sort(rng.integers(devices, size=rows))
        t_ns = rng.integers((STOP_S + 30) * NS_PER_S, size=rows)
        return {"device": device, "t_ns": t_ns[np.lexsort((t_ns, device))]}

    states, updates, changes = (owners(int(rng.integers(1, 8 * devices))) for _ in range(3))
    rows, sent = len(states["device"]), len(updates["device"])
    steps = int(rng.integers(0, 2 * devices))
    budget = rng.integers(0, 2 ** rng.integers(1, 40), size=rows)
    quality = rng.random((3, rows))
    size = rng.integers(1, 10**6, size=sent)
    return {
        "budget": {"device": changes["device"]},
        "quality": {
            **states,
            "version": rng.integers(-1, 3, size=rows),
            "budget_bytes": budget,
            "resident_bytes": (budget * rng.random(rows) * 1.2).astype(np.int64),
            "ndcg_at_10": quality[0],
            "best_ndcg_at_10": quality[1],
            "full_ndcg_at_10": quality[2] * rng.integers(2, size=rows),
        },
        "rollout": {
            **owners(steps),
            "step": rng.integers(len(RolloutStep), size=steps),
            "group": rng.integers(3, size=steps),
        },
        "update": {
            "device": updates["device"],
            "cause": rng.integers(len(ReportCause), size=sent),
            "sent_ns": updates["t_ns"],
            "changed_ns": updates["t_ns"],
            "applied_ns": updates["t_ns"] + rng.integers(0, 2 ** rng.integers(1, 40), size=sent),
            "result": rng.integers(len(ExchangeResult), size=sent),
            "update_bytes": size,
            "update_wire_bytes": size + 60,
            "used_bytes": size // 2,
            "lost_bytes": size // 4,
            "full_update_bytes": 2 * size,
        },
    }


def measure_range(tables: Mapping[str, Columns], first: int, stop: int, views: FleetViews) -> FigureSums:
    groups = [GROUPS[number % len(GROUPS)] for number in range(first, stop)]
    names = [f"d-{number}" for number in range(first, stop)]
    own = {}
    for name, columns in tables.items():
        rows = (columns["device"] >= first) & (columns["device"] < stop)
        own[name] = {column: values[rows] for column, values in columns.items()}
        own[name]["device"] = own[name]["device"] - first
    devices = RangeDevices(first, names, groups, views.slots_of(groups))
    return measure_figures(own, devices, views, STOP_S * NS_PER_S)


def merge_anyhow(parts: list[FigureSums], draw: random.Random) -> FigureSums:
    """Merge neighbours in any grouping."""
    while len(parts) > 1:
        at = draw.randrange(len(parts) - 1)
        parts[at : at + 2] = [parts[at].merged(parts[at + 1])]
    return parts[0]


@given(st.integers(0, 2**32), st.integers(1, 300), st.integers(1, 12), st.integers(1, 3))
def test_any_ranges_merged_in_any_grouping_give_the_same_figures(
    seed: int, devices: int, ranges: int, viewed: int
) -> None:
    tables, draw = tables_of(seed, devices), random.Random(seed)
    views = FleetViews(GROUPS[:viewed])
    edges = sorted({0, devices, *(draw.randrange(devices) for _ in range(ranges))})
    parts = [measure_range(tables, first, stop, views) for first, stop in pairwise(edges)]
    whole = measure_range(tables, 0, devices, views)
    summary: dict[str, object] = {"simulated_seconds": STOP_S}
    drawn = report_figures(views, whole, summary, {})
    assert report_figures(views, reduce(FigureSums.merged, parts), summary, {}) == drawn
    assert report_figures(views, merge_anyhow(parts, draw), summary, {}) == drawn


@given(st.lists(st.integers(0, 2**49 - 1), min_size=1, max_size=300), st.integers(0, 2**32))
def test_percentiles_over_devices_are_within_half_a_percent(budgets: list[int], seed: int) -> None:
    count = len(budgets)
    budget, zero = np.array(budgets), np.zeros(count)
    quality = dict.fromkeys(("ndcg_at_10", "best_ndcg_at_10", "full_ndcg_at_10"), zero)
    states = {"device": np.arange(count), "t_ns": np.zeros(count, dtype=np.int64)}
    sizes = {"budget_bytes": budget, "resident_bytes": budget}
    none = {
        table: {name: values[:0] for name, values in tables_of(seed, 1)[table].items()}
        for table in ("update", "rollout")
    }
    tables = {
        "budget": {"device": np.arange(count)},
        "quality": {**states, "version": np.zeros(count, dtype=np.int64), **sizes, **quality},
        **none,
    }
    views = FleetViews(())
    band = measure_range(tables, 0, count, views).states.series(views)["whole fleet"].budget
    rising = sorted(budgets)
    for percent, curve in ((10, band.low), (50, band.median), (90, band.high)):
        exact = rising[max(-(-percent * count // 100), 1) - 1]
        assert np.abs(curve - exact).max() <= 0.004 * exact


@given(st.lists(st.integers(0, 2**53), min_size=1))
def test_a_bucket_of_sizes_starts_less_than_a_percent_below_each(sizes: list[int]) -> None:
    size = np.array(sizes)
    start = bucket_start(byte_bucket(size))
    assert ((start <= size) & (size < start * (1 + 1 / 128) + (size == 0))).all()
    assert np.array_equal(byte_bucket(np.ceil(start).astype(np.int64)), byte_bucket(size))


@given(st.lists(st.floats(0, 2**25), max_size=50))
def test_limbs_keep_sums_to_a_billionth(values: list[float]) -> None:
    total = from_limbs(to_limbs(np.array(values)).sum(axis=0))
    assert total == pytest.approx(sum(values), abs=1e-9 * (1 + len(values)), rel=1e-12)


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        "heterogeneous-fleet",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("quickstart", "flaky-network", "thrash")),
    ],
)
def test_the_page_of_a_shipped_scenario_is_the_same_for_ranges_of_any_size(
    name: str, stores: Path, tmp_path: Path
) -> None:
    path = next(path for path in shipped() if path.stem == name)
    run = RunFiles(Station(stores, tmp_path, data_of(path)).run(reduced(path)).folder)
    pages = {
        size: render(run.summary, run.scenario, *load_figures(run, InProcessExecutor(), size), run.metrics)
        for size in (1, 7, 64, 2048)
    }
    assert len(set(pages.values())) == 1
