"""Intervals from whole runs: exact for the median run, whatever the distribution."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.compare_units import least_held
from emulator.compare.resampling_units import MIN_SEEDS
from emulator.compare.statistics import RatioSums, estimate_differences
from emulator.compare.typical_runs import median_intervals, unseen_share
from emulator.metrics.per_device import COMPARED_METRICS
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray

METRICS = len(COMPARED_METRICS)


def means(values: FloatArray) -> RatioSums:
    return RatioSums(values, np.ones_like(values))


@pytest.mark.parametrize(("runs", "ends"), [(10, (1, 10)), (20, (4, 17)), (30, (7, 24)), (100, (35, 66))])
def test_the_ends_are_the_tabled_order_statistics(runs: int, ends: tuple[int, int]) -> None:
    """With 18 metrics each end may miss in .0014 of the cases: the quantiles of a binomial distribution."""
    ranked = np.repeat(np.arange(1.0, runs + 1)[:, None], METRICS, axis=1)
    low, high = median_intervals(stream(0, "order", runs).permutation(ranked), 0.95)
    assert {(*pair,) for pair in zip(low.tolist(), high.tolist(), strict=True)} == {ends}


def test_ten_runs_are_just_enough_for_all_metrics() -> None:
    """All runs on one side of the median: that is 2 in 1,024 for each of 18 metrics, 3.5 % together."""
    assert METRICS * 2 * 0.5**MIN_SEEDS <= 0.05 < METRICS * 2 * 0.5 ** (MIN_SEEDS - 1)


@given(st.lists(st.floats(-5, 5) | st.just(0.0), min_size=1, max_size=40), st.integers(0, 39))
def test_an_interval_contains_the_median_of_its_own_runs(values: list[float], gaps: int) -> None:
    there = values[min(gaps, len(values) - 1) :]
    column = np.array([*([np.nan] * (len(values) - len(there))), *there])[:, None]
    low, high = median_intervals(column, 0.95)
    assert min(there) <= low[0] <= np.median(there) <= high[0] <= max(there)


def test_a_metric_without_values_has_no_ends() -> None:
    low, high = median_intervals(np.array([[np.nan, 1.0], [np.nan, 2.0]]), 0.95)
    assert np.isnan([low[0], high[0]]).all()
    assert (low[1], high[1]) == (1.0, 2.0)


def test_runs_that_lack_a_rare_event_hold_the_median_run() -> None:
    """In 8 % of the runs a message is lost on one side only: a hundred times the usual difference.

    These runs carry nine tenths of the mean, and 43 % of the samples of ten have none of them: their
    intervals cannot hold the mean, and hold the median.
    """
    worlds, held, mean_held = 300, 0, 0
    for world in range(worlds):
        rng = stream(world, "lost message")
        usual = rng.normal(1, 0.5, (MIN_SEEDS, METRICS))
        lost = rng.random((MIN_SEEDS, METRICS)) < 0.08
        one = rng.normal(1000, 10, (MIN_SEEDS, METRICS))
        two = one + usual + lost * rng.uniform(50, 150, lost.shape)
        found = estimate_differences(means(one), means(two), resamples=500, whole_runs=True)
        held += all(each.low <= 1.054 <= each.high for each in found)  # the median with 8 % above
        mean_held += found[0].low <= 9 <= found[0].high
    assert held / worlds >= least_held(worlds)
    assert 0.4 < mean_held / worlds < 0.8


def test_whole_runs_only_widen_an_interval() -> None:
    rng = stream(0, "wider")
    one, two = (means(rng.normal(size=(MIN_SEEDS, 4))) for _ in range(2))
    alone, both = (estimate_differences(one, two, whole_runs=whole) for whole in (False, True))
    for narrow, wide, each in zip(alone, both, (two.above - one.above).T, strict=True):
        assert (wide.low, wide.high) == (min(narrow.low, each.min()), max(narrow.high, each.max()))
        assert (wide.difference, wide.chance) == (narrow.difference, narrow.chance)


def test_the_share_that_may_be_unseen() -> None:
    assert unseen_share(10) == pytest.approx(0.2589, abs=1e-4)
    assert (1 - unseen_share(30)) ** 30 == pytest.approx(0.05)


def test_a_sound_method_breaks_a_promise_of_the_benchmark_in_one_of_ten_thousand_cases() -> None:
    misses = np.random.default_rng(0).binomial(40, 0.05, 400_000)
    assert least_held(40) == 31 / 40
    assert np.mean(misses > 40 - 31) < 1e-4
