"""Shocks on top of a memory process: the same moments for a whole group, and nothing else changed."""

import itertools
import math
from bisect import bisect_right
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from devices.memory import BoundedWalk, Changes, Shock, SquareWave, apply_shocks
from devices.memory.sampling import STEPS_AT_ONCE
from devices.memory.shocks import merge, shock_times
from wire.random_streams import stream
from wire.units import NS_PER_S, Bytes, Duration, Share

waits = st.integers(0, 50)


def at_times(changes: Sequence[tuple[int, float]], start: int = 0) -> list[tuple[int, float]]:
    """(wait, value) -> (time, value)."""
    times = itertools.accumulate((wait for wait, _ in changes), initial=start)
    return list(zip(list(times)[1:], (value for _, value in changes), strict=True))


def value_at(steps: Sequence[tuple[int, float]], t: int, before: float) -> float:
    place = bisect_right([at for at, _ in steps], t)
    return steps[place - 1][1] if place else before


@given(
    base=st.lists(st.tuples(waits, st.integers(0, 10**6)), min_size=1, max_size=12),
    factors=st.lists(
        st.lists(st.tuples(waits, st.sampled_from([0.0, 0.25, 0.5, 1.0])), max_size=6), max_size=3
    ),
    start=st.integers(0, 60),
)
def test_at_any_time_memory_is_the_base_times_the_factors(
    base: list[tuple[int, int]], factors: list[list[tuple[int, float]]], start: int
) -> None:
    base = [(0, base[0][1]), *base[1:]]
    steps = [at_times(each) for each in factors]
    merged = list(merge(iter(base), [iter(each) for each in steps], start))
    assert merged[0][0] == 0
    assert all(isinstance(wait, int) and wait >= 0 for wait, _ in merged)
    base_steps, merged_steps = at_times(base, start), at_times(merged, start)
    for t in range(start, max(at for at, _ in merged_steps) + 2):
        product = math.prod([value_at(each, t, 1.0) for each in steps])
        assert value_at(merged_steps, t, -1) == int(value_at(base_steps, t, -1) * product)


def on_top_of(base: Changes, *shocks: Shock, device: str = "a", start: int = 0, seed: int = 1) -> Changes:
    return apply_shocks(base, shocks, seed=seed, group="g", device=device, start_ns=start)


def steady(free: int = 1000) -> Changes:
    yield 0, free


def test_without_a_shock_the_base_is_left_alone() -> None:
    base = BoundedWalk().changes(stream(1))
    assert on_top_of(base) is base


def test_a_shock_takes_its_share_and_gives_it_back() -> None:
    shock = Shock(every=Duration(100), spacing="fixed", lasting=Duration(30), keeps=Share(0.25))
    changes = list(itertools.islice(on_top_of(steady(), shock), 5))
    assert changes == [(0, 1000), (100, 250), (30, 1000), (70, 250), (30, 1000)]


def test_a_shock_may_come_and_go_slowly() -> None:
    shock = Shock(
        every=Duration(1000), spacing="fixed", lasting=Duration(100), over=Duration(80), keeps=Share(0.5)
    )
    changes = at_times(list(itertools.islice(on_top_of(steady(1600), shock), 17)))
    fall = [(1000 + 10 * step, 1600 - 100 * step) for step in range(1, 9)]
    rise = [(1180 + 10 * step, 800 + 100 * step) for step in range(1, 9)]
    assert changes == [(0, 1600), *fall, *rise]


def test_a_device_that_starts_in_the_middle_of_a_shock_feels_it() -> None:
    shock = Shock(every=Duration(100), spacing="fixed", lasting=Duration(30))
    assert list(itertools.islice(on_top_of(steady(), shock, start=110), 3)) == [
        (0, 250),
        (20, 1000),
        (70, 250),
    ]


def test_shocks_multiply() -> None:
    half = Shock(every=Duration(100), spacing="fixed", lasting=Duration(50), keeps=Share(0.5))
    none = Shock(every=Duration(125), spacing="fixed", lasting=Duration(50), keeps=Share(0.1))
    changes = at_times(list(itertools.islice(on_top_of(steady(), half, none), 5)))
    assert changes == [(0, 1000), (100, 500), (125, 50), (150, 100), (175, 1000)]


@given(seed=st.integers(0, 2**32), one=st.integers(0, 10**13), other=st.integers(0, 10**13))
def test_all_devices_of_a_group_are_hit_at_the_same_instants(seed: int, one: int, other: int) -> None:
    """Whatever their own memory does and whenever they start."""
    shocks = (
        Shock(every=Duration(2000 * NS_PER_S), lasting=Duration(60 * NS_PER_S), keeps=Share(0.5)),
        Shock(every=Duration(5000 * NS_PER_S), lasting=Duration(60 * NS_PER_S), over=Duration(600)),
    )
    hits = [
        {
            at
            for at, _ in at_times(
                list(
                    itertools.islice(on_top_of(steady(), *shocks, device=name, start=start, seed=seed), 200)
                ),
                start,
            )
            if at > max(one, other)
        }
        for name, start in (("a", one), ("b", other))
    ]
    until = min(max(each) for each in hits)
    assert {at for at in hits[0] if at <= until} == {at for at in hits[1] if at <= until} != set()


def test_another_seed_or_group_has_other_shocks() -> None:
    shock = Shock()
    runs = [
        list(
            itertools.islice(
                apply_shocks(steady(), (shock,), seed=seed, group=group, device="a", start_ns=0), 9
            )
        )
        for seed, group in ((1, "g"), (2, "g"), (1, "h"))
    ]
    assert runs[0] != runs[1] != runs[2] != runs[0]


def test_a_shock_hits_its_share_of_devices_each_time_drawn_anew() -> None:
    shock = Shock(
        every=Duration(100), spacing="fixed", lasting=Duration(50), keeps=Share(0), share=Share(0.3)
    )
    devices, shocks = 400, 10
    hit = [
        {at for at, free in at_times(list(itertools.islice(on_top_of(steady(), shock, device=str(name)), 30)))
         if free == 0 and at <= 100 * shocks}
        for name in range(devices)
    ]  # fmt: skip
    assert {at % 100 for each in hit for at in each} == {0}
    found = sum(map(len, hit)) / (devices * shocks)
    assert abs(found - 0.3) <= 4 * math.sqrt(0.3 * 0.7 / (devices * shocks))
    assert len({frozenset(each) for each in hit}) > 50  # not the same devices every time


def test_what_the_memory_does_by_itself_goes_on_below_a_shock() -> None:
    wave = SquareWave(
        low=Bytes(100), high=Bytes(800), low_for=Duration(40), high_for=Duration(60), phase="aligned"
    )
    shock = Shock(every=Duration(90), spacing="fixed", lasting=Duration(20), keeps=Share(0.5))
    changes = at_times(list(itertools.islice(on_top_of(wave.changes(stream(1)), shock), 8)))
    assert changes == [
        (0, 800),
        (60, 100),
        (90, 50),
        (100, 400),
        (110, 800),
        (160, 100),
        (180, 50),
        (200, 800),
    ]


def test_a_shock_that_hits_next_to_nobody_is_looked_for_no_further_than_time_has_come() -> None:
    """What memory does by itself goes on; of shocks no more are drawn than have begun, and a few."""
    shock = Shock(every=Duration(100), spacing="fixed", lasting=Duration(50), share=Share(1e-12))
    wave = SquareWave(
        low=Bytes(100), high=Bytes(800), low_for=Duration(400), high_for=Duration(600), phase="aligned"
    )
    changes = at_times(list(itertools.islice(on_top_of(wave.changes(stream(1)), shock), 41)))
    assert changes == at_times(list(itertools.islice(wave.changes(stream(1)), 41)))
    assert 200 <= len(shock_times(1, "g", 0, shock)._times) <= 200 + 2 * STEPS_AT_ONCE


@given(share=st.sampled_from([0.002, 0.01, 0.3]), seed=st.integers(0, 50))
def test_those_who_are_rarely_hit_are_hit_when_the_draws_say(share: float, seed: int) -> None:
    shock = Shock(
        every=Duration(100), spacing="fixed", lasting=Duration(50), keeps=Share(0), share=Share(share)
    )
    changes = at_times(list(itertools.islice(on_top_of(steady(), shock, seed=seed), 9)))
    drawn = stream(seed, "shock", "g", 0, "a").random(100_000) < share
    starts = [100 * (int(at) + 1) for at in drawn.nonzero()[0][:4]]
    assert changes == [
        (0, 1000),
        *((at + more, free) for at in starts for more, free in ((0, 0), (50, 1000))),
    ]
