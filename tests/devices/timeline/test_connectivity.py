"""When devices are connected: stages, churn, and absences of all kinds as one."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.timeline.connectivity import (
    FOREVER,
    Churn,
    ConnectivityCause,
    ConnectivityChange,
    OfflineSpan,
    connectivity_changes,
    offline_until,
    ramp_offsets,
    stage_offline_spans,
)
from devices.timeline.schedule import Stage
from wire.random_streams import stream
from wire.units import NS_PER_S, Duration, Share

S = NS_PER_S


def a_stage(name: str = "a", seconds: int = 10, target: float = 1.0, **more: object) -> Stage:
    return Stage(name=name, duration=Duration(seconds * S), target=Share(target), **more)  # type: ignore[arg-type]


def comings(stages: Sequence[Stage], count: int, seed: int = 1) -> list[list[tuple[int, bool]]]:
    """Return when each device comes and goes, in seconds."""
    offsets, before = [], 0
    for stage in stages:
        wanted = round(stage.target * count)
        offsets.append(ramp_offsets(stage, abs(wanted - before), stream(seed, stage.name)))
        before = wanted
    return [
        [
            (each.t_ns // S, each.online)
            for each in connectivity_changes([stage_offline_spans(stages, place, count, offsets)])
        ]
        for place in range(count)
    ]


class TestStages:
    def test_a_linear_ramp_is_even_up_and_down_in_reverse(self) -> None:
        stages = [a_stage("up", 10), a_stage("hold", 10), a_stage("down", 10, 0.2, ramp=Duration(4 * S))]
        assert comings(stages, 5) == [
            [(0, True)],
            [(2, True), (23, False)],
            [(4, True), (22, False)],
            [(6, True), (21, False)],
            [(8, True), (20, False)],
        ]

    def test_a_ramp_of_nothing_is_at_once(self) -> None:
        for spread in ("linear", "uniform", "poisson"):
            stages = [a_stage(ramp=Duration(0), spread=spread), a_stage("b", target=0.0, ramp=Duration(0))]
            assert comings(stages, 3) == [[(0, True), (10, False)]] * 3

    def test_targets_are_met_exactly(self) -> None:
        targets = (0.31, 0.9, 0.9, 0.05, 0.0, 1.0)
        for spread in ("linear", "uniform", "poisson"):
            stages = [a_stage(f"s{n}", 10, target, spread=spread) for n, target in enumerate(targets)]
            lives = comings(stages, 97)
            for end, target in enumerate(targets, 1):
                online = [sum(1 if up else -1 for t, up in life if t < 10 * end) for life in lives]
                assert (sum(online), set(online) <= {0, 1}) == (round(target * 97), True)

    def test_without_stages_nobody_is_kept_away(self) -> None:
        assert list(stage_offline_spans([], 0, 1, [])) == []

    def test_who_is_away_at_the_end_stays_away(self) -> None:
        assert comings([a_stage(target=0.5)], 2) == [[(0, True)], []]

    def test_uniform_arrivals_spread_over_the_ramp(self) -> None:
        """Mean and deviation of the even distribution, within four standard errors."""
        stage = a_stage(seconds=100, spread="uniform", ramp=Duration(60 * S))
        offsets = ramp_offsets(stage, 10_000, stream(1, "uniform"))
        assert (offsets.min() >= 0, offsets.max() < 60 * S, bool((np.diff(offsets) >= 0).all())) == (
            True,
        ) * 3
        assert offsets.mean() == pytest.approx(30 * S, abs=4 * 60 * S / 12**0.5 / 100)
        assert offsets.std() == pytest.approx(60 * S / 12**0.5, rel=0.03)

    def test_poisson_gaps_are_exponential_with_the_mean_that_fits_the_ramp(self) -> None:
        stage = a_stage(seconds=1000, spread="poisson", ramp=Duration(500 * S))
        gaps = np.diff(ramp_offsets(stage, 10_000, stream(1, "poisson")), prepend=0)
        assert gaps.mean() == pytest.approx(500 * S / 10_000, rel=4 / 100)
        assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)

    def test_poisson_arrivals_never_leave_their_stage(self) -> None:
        stage = a_stage(seconds=10, spread="poisson")
        latest = max(int(ramp_offsets(stage, 3, stream(seed, "p")).max()) for seed in range(200))
        assert latest == 10 * S - 1


class TestChurn:
    def test_times_up_and_down_have_the_stated_means(self) -> None:
        """Exponential: the deviation of a mean of n is the mean over the root of n; four of them."""
        churn = Churn(uptime_mean=Duration(100 * S), downtime_mean=Duration(7 * S))
        ups, downs = spans(churn, 20_000)
        assert ups.mean() == pytest.approx(100 * S, rel=4 / 20_000**0.5)
        assert downs.mean() == pytest.approx(7 * S, rel=4 / 20_000**0.5)
        assert ups.std() == pytest.approx(100 * S, rel=0.05)

    def test_a_deviation_makes_them_normal(self) -> None:
        churn = Churn(uptime_mean=Duration(100 * S), downtime_mean=Duration(10 * S), deviation=Share(0.1))
        ups, downs = spans(churn, 20_000)
        assert ups.mean() == pytest.approx(100 * S, rel=0.4 / 20_000**0.5)
        assert (ups.std(), downs.std()) == (pytest.approx(10 * S, rel=0.03), pytest.approx(S, rel=0.03))

    def test_devices_whose_times_hardly_vary_are_not_cut_off_together(self) -> None:
        """Each is somewhere in a time of 100 s when it starts; the next one is whole."""
        churn = Churn(uptime_mean=Duration(100 * S), downtime_mean=Duration(10 * S), deviation=Share(0))
        pairs = [list(itertools.islice(churn.offline_spans(stream(at, "churn"), 0), 2)) for at in range(2000)]
        first = np.array([one.start_ns for one, _ in pairs])
        assert {two.start_ns - one.end_ns for one, two in pairs} == {100 * S}
        assert first.max() <= 100 * S
        assert first.mean() == pytest.approx(50 * S, abs=4 * 100 * S / (12 * 2000) ** 0.5)

    def test_times_that_vary_much_have_the_stated_means_after_the_cut(self) -> None:
        churn = Churn(uptime_mean=Duration(100 * S), downtime_mean=Duration(10 * S), deviation=Share(1.0))
        ups, downs = spans(churn, 20_000)
        assert ups.mean() == pytest.approx(100 * S, rel=4 / 20_000**0.5)
        assert (ups.std(), downs.std()) == (pytest.approx(100 * S, rel=0.03), pytest.approx(10 * S, rel=0.03))

    def test_so_many_of_the_devices_come_and_go(self) -> None:
        churn = Churn(intermittent_share=Share(0.3))
        moving = [next(churn.offline_spans(stream(1, "churn", n), 0), None) is not None for n in range(5000)]
        assert np.mean(moving) == pytest.approx(0.3, abs=4 * (0.21 / 5000) ** 0.5)

    def test_spans_of_centuries_are_no_trouble(self) -> None:
        churn = Churn(uptime_mean=Duration(2**63 - 1), downtime_mean=Duration(2**63 - 1))
        for span in itertools.islice(churn.offline_spans(stream(1, "c"), 5), 200):
            assert 5 < span.start_ns < span.end_ns

    def test_it_begins_with_the_device(self) -> None:
        first = next(Churn().offline_spans(stream(1, "c"), 0))
        later = next(Churn().offline_spans(stream(1, "c"), 50 * S))
        assert (later.start_ns - first.start_ns, later.end_ns - first.end_ns) == (50 * S, 50 * S)


def spans(churn: Churn, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first *count* times up, and times down, of a device."""
    found = list(itertools.islice(churn.offline_spans(stream(1, "churn"), 0), count))
    starts, ends = (np.array([each[place] for each in found]) for place in (0, 1))
    return starts - np.concatenate(([0], ends[:-1])), ends - starts


offline_spans = st.builds(
    lambda start, length, why: OfflineSpan(start, start + length, why),
    st.integers(0, 60),
    st.integers(1, 20),
    st.sampled_from(ConnectivityCause),
)


def in_turn(drawn: list[OfflineSpan], forever: bool) -> list[OfflineSpan]:
    """Return those that overlap no earlier one, in time order; the last without end."""
    source: list[OfflineSpan] = []
    for span in sorted(drawn):
        if not source or span.start_ns >= source[-1].end_ns:
            source.append(span)
    if source and forever:
        source[-1] = source[-1]._replace(end_ns=FOREVER)
    return source


sources = st.lists(st.builds(in_turn, st.lists(offline_spans, max_size=5), st.booleans()), max_size=4)
"""Sources of absences, each in time order and without overlap."""


class TestToggles:
    @given(sources)
    def test_a_device_is_connected_when_nothing_holds_it_back(self, found: list[list[OfflineSpan]]) -> None:
        """Moment by moment against the union of the absences."""
        moves = list(connectivity_changes(map(iter, found)))
        assert [each.online for each in moves] == [
            (at % 2 == 0) == bool(moves and moves[0].online) for at in range(len(moves))
        ]
        assert not moves or moves[0].online
        assert [each.t_ns for each in moves] == sorted({each.t_ns for each in moves})
        for moment in range(90):
            away = any(each.start_ns <= moment < each.end_ns for source in found for each in source)
            last = [each.online for each in moves if each.t_ns <= moment]
            assert (last[-1] if last else False) is not away

    @given(sources)
    def test_each_names_what_begins_or_ends_the_absence(self, found: list[list[OfflineSpan]]) -> None:
        every = [each for source in found for each in source]
        for move in connectivity_changes(map(iter, found)):
            if move.online and move != ConnectivityChange(0, True, ConnectivityCause.START):
                assert (move.t_ns, move.why) in [(each.end_ns, each.why) for each in every]
            elif not move.online:
                assert (move.t_ns, move.why) in [(each.start_ns, each.why) for each in every]

    def test_a_device_that_starts_later_has_no_toggle_before(self) -> None:
        assert list(connectivity_changes([offline_until(5)])) == [
            ConnectivityChange(5, True, ConnectivityCause.START)
        ]
        assert list(connectivity_changes([offline_until(0)])) == [
            ConnectivityChange(0, True, ConnectivityCause.START)
        ]

    def test_who_is_away_for_good_asks_nothing_more_of_sources_without_end(self) -> None:
        def endless() -> Iterator[OfflineSpan]:
            for n in range(1000):
                yield OfflineSpan(10 * n + 1, 10 * n + 5, ConnectivityCause.CHURN)
            raise AssertionError("asked for a thousand absences")

        gone = iter([OfflineSpan(7, FOREVER, ConnectivityCause.STAGE)])
        assert [each.t_ns for each in connectivity_changes([endless(), gone])] == [0, 1, 5, 7]
