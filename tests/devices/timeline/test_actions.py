"""Budgets that actions scale, and networks that devices are moved to."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from devices.simulated.budget_trajectory import budget_trajectory, scale_factors
from devices.timeline.actions import (
    RAMP_STEPS,
    BudgetScaling,
    NetworkChange,
    ScheduledAction,
    UserChange,
    budget_factors,
    network_changes,
)
from wire.units import NS_PER_S, Duration

S = NS_PER_S


def scaling(t: int, factor: float, over: int = 0, place: int = 0) -> ScheduledAction:
    return ScheduledAction(t, place, BudgetScaling(at="0 s", factor=factor, over=Duration(over)))


def moved(t: int, to: str, duration: int | None = None, place: int = 0) -> ScheduledAction:
    span = None if duration is None else Duration(duration)
    return ScheduledAction(t, place, NetworkChange(at="0 s", to=to, duration=span))


class TestScalings:
    def test_one_that_is_at_once(self) -> None:
        assert list(budget_factors([scaling(5, 0.5), scaling(9, 1.0)])) == [(5, 0.5), (9, 1.0)]

    def test_one_that_takes_its_time(self) -> None:
        steps = list(budget_factors([scaling(100, 0.0, over=200)]))
        assert [t for t, _ in steps] == [100 + 10 * step for step in range(1, 21)]
        assert [round(factor, 9) for _, factor in steps] == [round(1 - step / 20, 9) for step in range(1, 21)]
        assert steps[-1] == (300, 0.0)

    def test_one_that_begins_while_another_is_under_way_starts_from_there(self) -> None:
        """Half way down from 1 to 0 it turns, and goes up again to 1."""
        steps = list(budget_factors([scaling(0, 0.0, over=200), scaling(100, 1.0, over=20, place=1)]))
        falling = [factor for t, factor in steps if t < 100]
        assert [t for t, _ in steps] == [*range(10, 100, 10), *range(101, 121)]
        assert (round(min(falling), 9), steps[-1]) == (0.55, (120, 1.0))
        assert all(0.55 <= factor <= 1 for t, factor in steps if t > 100)

    def test_of_two_at_the_same_time_the_later_in_the_file_counts(self) -> None:
        assert list(budget_factors([scaling(5, 0.2), scaling(5, 0.7, place=1)])) == [(5, 0.7)]

    def test_other_actions_scale_nothing(self) -> None:
        assert list(
            budget_factors([moved(1, "lte"), ScheduledAction(2, 1, UserChange(at="0 s")), scaling(3, 2.0)])
        ) == [(3, 2.0)]

    @given(
        st.lists(st.tuples(st.integers(0, 500), st.floats(0, 3), st.integers(0, 300)), max_size=6).map(sorted)
    )
    def test_each_ends_at_its_factor_unless_the_next_is_there_first(
        self, drawn: list[tuple[int, float, int]]
    ) -> None:
        actions = [scaling(t, factor, over, place) for place, (t, factor, over) in enumerate(drawn)]
        steps = list(budget_factors(actions))
        assert [t for t, _ in steps] == sorted(t for t, _ in steps)
        assert len(steps) <= RAMP_STEPS * len(actions)
        for place, (t, factor, over) in enumerate(drawn):
            until = drawn[place + 1][0] if place + 1 < len(drawn) else 10**9
            if t + over < until:
                assert value_at(steps, t + over) == factor

    def test_of_those_before_a_device_starts_the_last_counts(self) -> None:
        steps = [(5, 0.9), (10, 0.8), (20, 0.7)]
        assert scale_factors(steps, 10) == [(0, 0.8), (10, 0.7)]
        assert scale_factors(steps, 0) == steps
        assert scale_factors(steps, 99) == [(0, 0.7)]


def value_at(steps: list[tuple[int, float]], t: int) -> float:
    """Return the factor in force at *t*: that of the last step up to it."""
    return next((factor for at, factor in reversed(steps) if at <= t), 1.0)


def rule(free: int) -> int:
    return max(0, (free - 30) // 2)


class TestBudgets:
    @given(
        st.lists(st.tuples(st.integers(1, 30), st.integers(0, 2000)), max_size=12),
        st.integers(0, 2000),
        st.lists(st.tuples(st.integers(0, 300), st.sampled_from([0.0, 0.3, 1.0, 2.5])), max_size=8),
        st.integers(100, 1500),
    )
    def test_at_every_moment_the_budget_follows_from_memory_and_the_scaling(
        self,
        changes: list[tuple[int, int]],
        first: int,
        scales: list[tuple[int, float]],
        most_free: int,
    ) -> None:
        """Step by step against the two step functions."""
        scales.sort(key=lambda scale: scale[0])
        memory = [(0, first), *changes]
        course = list(walked(budget_trajectory(iter(memory), rule, most_free, scales)))
        assert course[0][0] == 0
        free_at = list(walked((wait, free, 0) for wait, free in memory))
        for t in range(320):
            free = min(next(free for at, free, _ in reversed(free_at) if at <= t), most_free)
            assert next(now[1:] for now in reversed(course) if now[0] <= t) == (
                free,
                int(rule(free) * value_at(scales, t)),
            )

    def test_a_memory_without_end_is_taken_step_by_step(self) -> None:
        def endless() -> Iterator[tuple[int, int]]:
            yield 0, 100
            while True:
                yield 10, 200

        course = budget_trajectory(endless(), rule, 10**9, [(5, 0.5)])
        assert [next(course) for _ in range(3)] == [(0, 100, 35), (5, 100, 17), (5, 200, 42)]


def walked(course: Iterator[tuple[int, int, int]]) -> Iterator[tuple[int, int, int]]:
    """Return (t_ns, free, budget) of a course of waits."""
    now = 0
    for wait, free, budget in course:
        now += wait
        yield now, free, budget


class TestNetworks:
    def test_a_move_ends_by_itself_or_stays(self) -> None:
        assert network_changes([moved(5, "lte", 10), moved(30, "wifi")], "home") == [
            (5, "lte"),
            (15, "home"),
            (30, "wifi"),
        ]

    def test_a_later_move_ends_an_earlier_one(self) -> None:
        """The return of the first never comes, that of the second leads to the device's own network."""
        actions = [moved(0, "lte", 10), moved(5, "wifi", 20)]
        assert network_changes(actions, "home") == [(0, "lte"), (5, "wifi"), (25, "home")]

    def test_of_two_at_the_same_time_the_later_in_the_file_counts(self) -> None:
        actions = [moved(5, "lte", 10), moved(5, "wifi", place=1)]
        assert network_changes(actions, "home") == [(5, "wifi")]

    @given(
        st.lists(
            st.tuples(st.integers(0, 50), st.sampled_from("ab"), st.none() | st.integers(1, 30)), max_size=6
        ).map(lambda drawn: sorted(drawn, key=lambda each: each[0]))
    )
    def test_at_every_moment_the_last_move_that_has_not_ended_counts(
        self, drawn: list[tuple[int, str, int | None]]
    ) -> None:
        moves = network_changes([moved(*each, place=place) for place, each in enumerate(drawn)], "home")
        for t in range(90):
            last = next((each for each in reversed(drawn) if each[0] <= t), None)
            ended = last is None or (last[2] is not None and last[0] + last[2] <= t)
            wanted = "home" if last is None or ended else last[1]
            assert next((to for at, to in reversed(moves) if at <= t), "home") == wanted
