"""Every memory process keeps its contract; each does what its name says."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.memory import (
    Boundary,
    BoundedWalk,
    Budget,
    Changes,
    DailyCurve,
    Memory,
    PressureLevel,
    PressureStates,
    Replay,
    Sawtooth,
    Shock,
    SquareWave,
)
from devices.traces.availability import Availability
from wire.errors import InputError
from wire.layers import Layers
from wire.random_streams import stream
from wire.units import NS_PER_S, Bytes, Duration, Share

HOUR = 3600 * NS_PER_S


def first(changes: Changes, count: int) -> list[tuple[int, int]]:
    return list(itertools.islice(changes, count))


class MemoryContract:
    """The contract of every memory process."""

    process: Memory
    low: int
    high: int

    def changes(self, seed: int) -> Changes:
        assert not isinstance(self.process, Replay | Boundary)
        return self.process.changes(stream(seed, "memory", "device"))

    def test_it_starts_at_once_and_time_moves_on(self) -> None:
        waits = [wait for wait, _ in first(self.changes(1), 200)]
        assert waits[0] == 0
        assert all(isinstance(wait, int) and wait > 0 for wait in waits[1:])

    def test_memory_stays_within_its_bounds(self) -> None:
        assert all(self.low <= free <= self.high for _, free in first(self.changes(1), 3000))

    def test_the_same_stream_gives_the_same_memory(self) -> None:
        assert first(self.changes(1), 300) == first(self.changes(1), 300)

    def test_it_repeats_no_more_often_than_it_says(self) -> None:
        """A process that says too long a period slips through the check of scenarios."""
        count = 3000
        took = sum(wait for wait, _ in first(self.changes(1), count))
        repeats = sum(took / sum(spans.values()) for spans in self.process.periods())
        assert count < 2.5 * repeats

    def test_it_never_exceeds_the_limit_that_it_says(self) -> None:
        most = max(free for _, free in first(self.changes(1), 3000))
        assert all(most <= limit for limit in self.process.limits().values())


class TestBoundedWalk(MemoryContract):
    process = BoundedWalk(min=Bytes(1000), max=Bytes(9000), max_step=Bytes(2500))
    low, high = 1000, 9000

    def test_another_seed_walks_elsewhere(self) -> None:
        assert first(self.changes(1), 50) != first(self.changes(2), 50)

    def test_steps_come_in_the_mean_time_and_reach_no_further_than_they_may(self) -> None:
        steps = first(self.changes(3), 20_000)
        waits = np.array([wait for wait, _ in steps[1:]])
        assert waits.mean() == pytest.approx(60 * NS_PER_S, rel=0.05)
        free = np.array([value for _, value in steps])
        assert np.abs(np.diff(free)).max() <= 2500

    def test_it_starts_where_it_is_told(self) -> None:
        walk = BoundedWalk(min=Bytes(10), max=Bytes(90), initial=Bytes(70))
        assert first(walk.changes(stream(1)), 1) == [(0, 70)]


class TestDailyCurve(MemoryContract):
    process = DailyCurve(
        mean=Bytes(5000), swing=Bytes(3000), deviation=Bytes(500), min=Bytes(1), max=Bytes(9000)
    )
    low, high = 1, 9000

    def test_most_is_free_at_the_peak(self) -> None:
        """At 04:00 the mean is 5000 + 3000, twelve hours later 5000 - 3000."""
        curve = DailyCurve(
            mean=Bytes(5000), swing=Bytes(3000), deviation=Bytes(0), min=Bytes(1), max=Bytes(9000),
            spacing="fixed", step_every=Duration(HOUR), phase="aligned",
        )  # fmt: skip
        day = [free for _, free in first(curve.changes(stream(1)), 24)]
        assert (day[4], day[16], day[10]) == (8000, 2000, 5000)

    def test_its_spread_is_the_stated_deviation(self) -> None:
        flat = DailyCurve(
            mean=Bytes(50_000), swing=Bytes(0), deviation=Bytes(500), min=Bytes(1), max=Bytes(90_000),
            reversion=Duration(60 * NS_PER_S),
        )  # fmt: skip
        free = np.array([value for _, value in first(flat.changes(stream(4)), 20_000)])
        assert free.std() == pytest.approx(500, rel=0.05)


class TestSquareWave(MemoryContract):
    process = SquareWave(low=Bytes(10), high=Bytes(90))
    low, high = 10, 90

    def test_aligned_waves_start_high_and_keep_their_times(self) -> None:
        wave = SquareWave(
            low=Bytes(10), high=Bytes(90), low_for=Duration(2), high_for=Duration(5), phase="aligned"
        )
        assert first(wave.changes(stream(1)), 5) == [(0, 90), (5, 10), (2, 90), (5, 10), (2, 90)]

    def test_a_random_phase_only_shortens_the_first_wait(self) -> None:
        wave = SquareWave(low=Bytes(10), high=Bytes(90), low_for=Duration(20), high_for=Duration(50))
        for seed in range(20):
            (_, start), (wait, after), *rest = first(wave.changes(stream(seed)), 4)
            assert {start, after} == {10, 90}
            assert 0 < wait <= (50 if start == 90 else 20)
            assert [w for w, _ in rest] == ([20, 50] if after == 10 else [50, 20])


class TestSawtooth(MemoryContract):
    process = Sawtooth(low=Bytes(100), high=Bytes(900), leak=Bytes(70))
    low, high = 100, 900

    def test_memory_leaks_to_the_floor_and_is_free_again_after_the_kill(self) -> None:
        leak = Sawtooth(
            low=Bytes(10), high=Bytes(90), leak=Bytes(30), jitter=Share(0), step_every=Duration(5),
            spacing="fixed", phase="aligned",
        )  # fmt: skip
        assert first(leak.changes(stream(1)), 7) == [
            (0, 90),
            (5, 60),
            (5, 30),
            (5, 10),
            (5, 90),
            (5, 60),
            (5, 30),
        ]

    def test_steps_stay_within_the_jitter(self) -> None:
        free = np.array([value for _, value in first(self.changes(2), 5000)])
        falls = -np.diff(free)
        inner = falls[(falls > 0) & (free[1:] > 100)]
        assert (inner.min(), inner.max()) == (35, 105)


class TestPressureStates(MemoryContract):
    process = PressureStates()
    low, high = 128 * 2**20, 4 * 2**30

    def test_levels_follow_each_other_with_their_own_sizes_and_times(self) -> None:
        """Round and round, one size per stay: 10 s at 100 to 200 bytes, 20 s at 50 to 60 bytes, 5 s at 0."""
        turn = PressureStates(
            normal=level(100, 200, 10, {"moderate": 1.0}),
            moderate=level(50, 60, 20, {"low": 1.0}),
            low=level(0, 0, 5, {"normal": 1.0}),
            distribution="fixed", step_every=None, phase="aligned",
        )  # fmt: skip
        changes = first(turn.changes(stream(1)), 300)
        sizes = [0 if free == 0 else 50 if free <= 60 else 100 for _, free in changes]
        assert set(itertools.pairwise(sizes)) == {(100, 50), (50, 0), (0, 100)}
        after = {(size, wait // NS_PER_S) for size, (wait, _) in zip(sizes, changes[1:], strict=False)}
        assert after == {(100, 10), (50, 20), (0, 5)}

    def test_sizes_are_drawn_anew_within_a_stay(self) -> None:
        changes = first(self.changes(3), 2000)
        same_level = sum((a >= 2**31) and (b >= 2**31) for (_, a), (_, b) in itertools.pairwise(changes))
        assert same_level > 500


def level(low: int, high: int, dwell_s: int, then: dict[str, float]) -> PressureLevel:
    return PressureLevel(min=Bytes(low), max=Bytes(high), dwell=Duration(dwell_s * NS_PER_S), next=then)


LAYERS = Layers.above_zero([1, 2, 3, 4], [100, 240, 500, 1000])


class TestBoundary:
    def test_the_budget_goes_back_and_forth_across_the_nearest_boundary(self) -> None:
        """Half of the 1000 bytes of the whole table is the boundary of layer 3; 2 % of it are 10 bytes."""
        budget = Budget(share=Share(0.001), reserve=Bytes(5000))
        wave = Boundary(low_for=Duration(3), high_for=Duration(7), phase="aligned")
        changes = first(wave.changes_around(LAYERS, budget, stream(1)), 4)
        assert [(wait, budget.of(free)) for wait, free in changes] == [(0, 510), (7, 490), (3, 510), (7, 490)]

    def test_without_depth_it_takes_one_byte(self) -> None:
        budget = Budget(share=Share(1.0))
        changes = first(Boundary(at=Share(0.2), depth=Share(0)).changes_around(LAYERS, budget, stream(1)), 2)
        assert {budget.of(free) for _, free in changes} == {240, 239}

    @given(
        at=st.floats(0, 1),
        depth=st.floats(0, 0.9),
        share=st.floats(1e-9, 1),
        reserve=st.integers(0, 2**40),
        sizes=st.lists(st.integers(1, 2**30), min_size=1, max_size=8, unique=True).map(sorted),
    )
    def test_every_change_crosses_a_boundary(
        self, at: float, depth: float, share: float, reserve: int, sizes: list[int]
    ) -> None:
        layers = Layers.above_zero(range(1, len(sizes) + 1), sizes)
        budget = Budget(share=Share(share), reserve=Bytes(reserve))
        wave = Boundary(at=Share(at), depth=Share(depth), phase="aligned")
        (_, high), (_, low) = first(wave.changes_around(layers, budget, stream(1)), 2)
        assert budget.of(low) < min(sizes, key=lambda size: abs(size - at * sizes[-1])) <= budget.of(high)
        assert layers.best(budget.of(low)) < layers.best(budget.of(high))

    def test_a_budget_that_cannot_get_there_is_refused(self) -> None:
        with pytest.raises(InputError, match="a budget of 510 B is needed, and no free memory gives it"):
            Boundary().changes_around(LAYERS, Budget(max=Bytes(505)), stream(1))


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (
            lambda: BoundedWalk(min=Bytes(2048), max=Bytes(1024)),
            r"min\(=2 KiB\) must not exceed max\(=1 KiB\)",
        ),
        (lambda: BoundedWalk(max_step=Bytes(0)), r"max_step\(=0 B\) must be > 0"),
        (
            lambda: BoundedWalk(initial=Bytes(1)),
            r"initial\(=1 B\) must be from min\(=256 MiB\) to max\(=4 GiB\)",
        ),
        (lambda: DailyCurve(swing=Bytes(3 * 2**30)), r"swing\(=3 GiB\) must not exceed mean\(=2 GiB\)"),
        (lambda: SquareWave(low=Bytes(2**32)), r"low\(=4 GiB\) must not exceed high\(=2 GiB\)"),
        (lambda: SquareWave(low_for=Duration(0)), r"low_for\(=0 s\) must be > 0"),
        (lambda: Sawtooth(low=Bytes(2**32)), r"low\(=4 GiB\) must not exceed high\(=2 GiB\)"),
        (lambda: Sawtooth(leak=Bytes(0)), r"leak\(=0 B\) must be > 0"),
        (
            lambda: BoundedWalk(retain_probability=0.7, reset_probability=0.5),
            r"retain_probability\(=0.7\) \+ reset_probability\(=0.5\) must be <= 1",
        ),
        (
            lambda: level(1, 2, 1, {"normal": 0.7, "low": 0.2}),
            r"next\(={normal: 0.7, low: 0.2}\) must sum to 1",
        ),
        (lambda: level(1, 2, 1, {}), r"next\(={}\) must sum to 1"),
        (
            lambda: level(1, 2, 1, {"hot": 1.0}),
            r"next\(='hot'\) must have keys of normal, moderate, low, critical",
        ),
        (
            lambda: PressureStates(low=level(1, 2, 1, {"low": 0.5, "normal": 0.5})),
            r"low.next\(='low'\) must lead to other levels: to stay longer is `dwell`",
        ),
        (lambda: level(2, 1, 1, {"low": 1.0}), r"min\(=2 B\) must not exceed max\(=1 B\)"),
        (lambda: level(1, 2, 0, {"low": 1.0}), r"dwell\(=0 s\) must be > 0"),
        (lambda: Boundary(depth=Share(1)), r"depth\(=100 %\) must be < 100 %"),
        (
            lambda: Shock(every=Duration(60), lasting=Duration(50), over=Duration(10)),
            r"every\(=60 ns\) must be at least lasting \+ 2 \* over\(=70 ns\)",
        ),
        (lambda: Shock(lasting=Duration(0)), r"lasting\(=0 s\) must be > 0"),
        (lambda: Shock(share=Share(0)), r"share\(=0 %\) must be > 0"),
        (lambda: Budget(min=Bytes(2), max=Bytes(1)), r"min\(=2 B\) must not exceed max\(=1 B\)"),
        (lambda: Availability(file="x"), r"file\(='x'\) must end in .csv or .parquet"),
        (lambda: Replay(file="x.pickle"), r"file\(='x.pickle'\) must end in .csv or .parquet"),
        (lambda: Budget(share=Share(0)), r"share\(=0 %\) must be > 0"),
    ],
)
def test_an_impossible_process_names_the_rule(make: Callable[[], object], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        make()


@pytest.mark.parametrize(
    ("rule", "free", "budget"),
    [
        (Budget(share=Share(0.0001)), 2**30, 107374),
        (Budget(share=Share(0.5), reserve=Bytes(100)), 300, 100),
        (Budget(share=Share(0.5), reserve=Bytes(100)), 60, 0),
        (Budget(share=Share(0.5), reserve=Bytes(100), min=Bytes(7)), 60, 7),
        (Budget(share=Share(0.5), max=Bytes(40)), 100, 40),
        (Budget(share=Share(0.5), min=Bytes(40), max=Bytes(40)), 100, 40),
    ],
)
def test_a_budget_is_a_share_of_what_is_free_beyond_the_reserve_within_bounds(
    rule: Budget, free: int, budget: int
) -> None:
    assert rule.of(free) == budget


@given(
    st.builds(
        Budget,
        share=st.floats(1e-9, 1).map(Share),
        reserve=st.integers(0, 2**40).map(Bytes),
        min=st.none() | st.integers(0, 1000).map(Bytes),
        max=st.none() | st.integers(1000, 2**40).map(Bytes),
    ),
    st.integers(0, 2**41),
    st.integers(0, 2**41),
)
def test_more_free_memory_never_gives_a_smaller_budget(rule: Budget, one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert 0 <= rule.of(low) <= rule.of(high)
    if rule.max is not None:
        assert rule.of(high) <= rule.max
