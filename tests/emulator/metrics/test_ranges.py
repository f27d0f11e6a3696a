"""Figures do not depend on how the devices of a run are cut into ranges."""

import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.metrics.exact_sums import FRACTION_BITS, exact_sum
from emulator.metrics.intervals import Intervals
from emulator.metrics.row_index import IntArray
from emulator.metrics.run_sums import RunSums, merge_sums
from emulator.metrics.seconds import add_pages, busiest, sum_by_second
from tests.emulator.metrics.ranges import assert_equal_from_any_ranges
from tests.emulator.scenarios import Runner
from tests.second_opinion.scenarios import scenario_of
from wire.units import NS_PER_S


@pytest.mark.parametrize("number", [11, pytest.param(19, marks=pytest.mark.slow)])
def test_figures_are_equal_from_any_ranges(number: int, runner: Runner, tmp_path: Path) -> None:
    """Random scenarios, in which whatever can happen to a fleet happens."""
    assert_equal_from_any_ranges(runner.run(scenario_of(number, tmp_path / "traces")).folder)


def test_the_sums_of_a_large_fleet_are_never_in_memory_side_by_side() -> None:
    """A part is merged before the next one is made: memory does not grow with the fleet."""
    alive = weakref.WeakSet[RunSums]()
    most = 0

    def parts() -> Iterator[RunSums]:
        nonlocal most
        for _ in range(50):
            part = RunSums(2048)
            alive.add(part)
            most = max(most, len(alive))
            yield part
            del part

    assert merge_sums(parts()).devices == 50 * 2048
    assert most <= 3


whole_numbers = st.lists(st.integers(-(2**62), 2**62) | st.integers(-3, 3), max_size=30)
floats = st.lists(st.floats(-(2.0**60), 2.0**60), max_size=30)


@given(whole_numbers)
def test_sums_of_whole_numbers_are_exact(values: list[int]) -> None:
    assert exact_sum(np.array(values, dtype=np.int64)) == sum(values)


@given(floats, floats)
def test_sums_of_floats_add_up_whatever_their_order(one: list[float], two: list[float]) -> None:
    def total(values: list[float]) -> int:
        return exact_sum(np.array(values, dtype=np.float64))

    assert total(one) + total(two) == total([*two, *one])
    exact = sum(map(Fraction, one), Fraction())
    assert abs(Fraction(total(one), 2**FRACTION_BITS) - exact) <= Fraction(len(one), 2**FRACTION_BITS)


spans = st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=8)


@given(spans, spans)
def test_united_intervals_hold_the_moments_of_both(
    one: list[tuple[int, int]], two: list[tuple[int, int]]
) -> None:
    both = _intervals(one).union(_intervals(two))
    moments = {t for start, length in (*one, *two) for t in range(start, start + length)}
    found = [t for start, end in zip(both.start, both.end, strict=True) for t in range(start, end)]
    assert found == sorted(moments)
    assert both.length_ns == len(moments)


def _intervals(spans: list[tuple[int, int]]) -> Intervals:
    start, length = np.array(sorted(spans), dtype=np.int64).reshape(-1, 2).T
    return Intervals.from_sorted(start, start + length)


events = st.lists(st.tuples(st.integers(0, 4 * 3600 * NS_PER_S), st.integers(0, 9)), max_size=20)


@given(events, events)
def test_peaks_are_of_the_sums_of_both(one: list[tuple[int, int]], two: list[tuple[int, int]]) -> None:
    pages = add_pages(sum_by_second(*_columns(one)), sum_by_second(*_columns(two)))
    for seconds in (1, 60):
        sums: dict[int, int] = {}
        for t_ns, count in (*one, *two):
            span = t_ns // (seconds * NS_PER_S)
            sums[span] = sums.get(span, 0) + count
        assert busiest(pages, seconds) == max(sums.values(), default=0) / seconds


def _columns(events: list[tuple[int, int]]) -> tuple[IntArray, IntArray]:
    t_ns, counts = np.array(events, dtype=np.int64).reshape(-1, 2).T
    return t_ns, counts
