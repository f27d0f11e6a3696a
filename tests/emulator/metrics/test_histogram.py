"""Percentiles against exact ones, and merging that loses nothing."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.metrics.histogram import (
    BUCKETS,
    EXACT_BELOW,
    RELATIVE_ERROR,
    Histogram,
    bucket_middle,
    bucket_numbers,
)

some = st.lists(st.integers(0, 2**62) | st.integers(0, 4200), max_size=40)
percents = st.floats(0.01, 100) | st.sampled_from([50, 90, 95, 99, 99.9, 100])


def of(values: list[int]) -> Histogram:
    return Histogram.from_values(np.array(values, dtype=np.int64))


def exact(values: list[int], percent: float) -> int:
    rank = math.ceil(Fraction(repr(percent)) * len(values) / 100)
    return sorted(values)[max(rank, 1) - 1]


@given(some.filter(bool), percents)
def test_a_percentile_is_within_one_part_in_2048_of_the_exact_one(values: list[int], percent: float) -> None:
    found, wanted = of(values).percentile(percent), exact(values, percent)
    assert found is not None
    assert abs(found - wanted) <= RELATIVE_ERROR * wanted
    if wanted < EXACT_BELOW:
        assert found == wanted


@given(some)
def test_count_sum_least_and_greatest_are_exact(values: list[int]) -> None:
    histogram = of(values)
    assert histogram.count == len(values)
    assert histogram.sum == sum(values)
    assert (histogram.min, histogram.max) == (min(values, default=None), max(values, default=None))
    assert histogram.percentile(100) == (None if not values else float(max(values)))


@given(some, some, some)
def test_merging_is_commutative_and_associative_and_that_of_all_values(
    a: list[int], b: list[int], c: list[int]
) -> None:
    x, y, z = of(a), of(b), of(c)
    assert x + y == y + x
    assert (x + y) + z == x + (y + z) == of(a + b + c)


def test_nothing_has_no_percentile_and_nothing_is_below_0() -> None:
    assert (of([]).percentile(50), of([]).mean) == (None, None)
    with pytest.raises(ValueError, match=r"values\(=-3\) must be >= 0"):
        of([-3])


def test_buckets_rise_with_their_values() -> None:
    values = np.unique(np.geomspace(1, 2**62, 20_000).astype(np.int64))
    buckets = bucket_numbers(values)
    assert (np.diff(buckets) >= 0).all()
    assert buckets.max() < BUCKETS
    small = np.arange(EXACT_BELOW)
    assert [bucket_middle(int(bucket)) for bucket in bucket_numbers(small)] == small.tolist()
