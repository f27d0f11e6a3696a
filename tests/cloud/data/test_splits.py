from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.data.sources import ByRatio, ByTime, SplitPerUser
from cloud.data.splits import EventList, TrainValidTest, drop_repeats, k_core, part_sizes, split_events

Triple = tuple[int, int, int]

events_of = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(0, 6)), min_size=1)
shares = st.floats(0, 0.49)
splits: st.SearchStrategy[SplitPerUser] = st.one_of(
    st.builds(ByTime, valid_share=shares, test_share=shares),
    st.builds(ByRatio, valid_share=shares, test_share=shares, seed=st.integers(0, 99)),
)


def event_list(triples: list[Triple]) -> EventList:
    users, items, times = np.array(triples, dtype=np.int64).reshape(-1, 3).T
    return EventList(users, items, times)


def triples_of(events: EventList) -> list[Triple]:
    assert events.times is not None
    return list(zip(events.users.tolist(), events.items.tolist(), events.times.tolist(), strict=True))


def lists_of(parts: TrainValidTest) -> list[list[list[int]]]:
    return [[each[u].tolist() for u in range(len(each))] for each in (parts.train, parts.valid, parts.test)]


def test_by_time_tests_on_the_last_and_keeps_the_order_of_the_file_on_ties() -> None:
    late_first = [(0, item, 100 - item) for item in range(10)]
    all_at_once = [(1, item, 5) for item in (3, 1, 4, 0, 9, 2, 6, 8, 7, 5)]
    parts = split_events(event_list(late_first + all_at_once), 3, ByTime(valid_share=0.1, test_share=0.2))
    assert lists_of(parts) == [
        [[3, 4, 5, 6, 7, 8, 9], [0, 1, 2, 3, 4, 6, 9], []],
        [[2], [8], []],
        [[0, 1], [5, 7], []],
    ]


def test_by_time_needs_times() -> None:
    with pytest.raises(ValueError, match=r"times\(=None\) must be given"):
        split_events(EventList(np.zeros(3, np.int64), np.arange(3), None), 1, ByTime())


def test_shares_are_rounded_and_one_interaction_is_left_to_train_on() -> None:
    counts = np.array([0, 1, 2, 3, 4, 5, 10, 15])
    valid, test = part_sizes(counts, ByRatio(valid_share=0.1, test_share=0.3))
    assert list(zip(counts.tolist(), valid.tolist(), test.tolist(), strict=True)) == [
        (0, 0, 0),
        (1, 0, 0),
        (2, 0, 1),
        (3, 0, 1),
        (4, 0, 1),
        (5, 1, 2),
        (10, 1, 3),
        (15, 2, 5),
    ]


@given(events_of, splits)
def test_a_split_loses_nothing_and_shares_nothing(triples: list[Triple], split: SplitPerUser) -> None:
    events = drop_repeats(event_list(triples))
    parts = split_events(events, 5, split)
    actual = sorted(
        (user, item)
        for part in (parts.train, parts.valid, parts.test)
        for user in range(5)
        for item in part[user].tolist()
    )
    assert actual == sorted({(user, item) for user, item, _ in triples})
    counts = np.bincount(events.users, minlength=5)
    assert (parts.train.counts()[counts > 0] > 0).all()
    assert (parts.test.counts() <= counts * split.test_share + 0.5 + 1e-6).all()


@given(events_of)
def test_by_time_nothing_of_the_future_is_trained_on(triples: list[Triple]) -> None:
    events = drop_repeats(event_list(triples))
    parts = split_events(events, 5, ByTime(valid_share=0.3, test_share=0.3))
    when = {(user, item): time for user, item, time in triples_of(events)}
    for user in range(5):
        times = [
            [when[user, item] for item in part[user].tolist()]
            for part in (parts.train, parts.valid, parts.test)
        ]
        assert all(max(before) <= min(after) for before, after in pairwise(filter(None, times)))


def test_by_ratio_the_seed_decides() -> None:
    events = event_list([(0, item, 0) for item in range(100)])
    once, again, other = (split_events(events, 1, ByRatio(seed=seed)).test[0].tolist() for seed in (1, 1, 2))
    assert once == again != other
    assert len(once) == 20


def test_of_repeated_pairs_the_earliest_is_kept() -> None:
    events = event_list([(0, 7, 5), (0, 8, 1), (0, 7, 3), (1, 7, 9), (0, 8, 1)])
    assert triples_of(drop_repeats(events)) == [(0, 8, 1), (0, 7, 3), (1, 7, 9)]


def test_a_core_shrinks_until_it_holds() -> None:
    # Item 9 falls for want of users; then user 1 has too few, then item 1 has too few.
    pairs = [(0, 0), (0, 2), (0, 1), (1, 1), (1, 9), (2, 0), (2, 2)]
    core = k_core(event_list([(user, item, 0) for user, item in pairs]), 2, 2)
    assert [(user, item) for user, item, _ in triples_of(core)] == [(0, 0), (0, 2), (2, 0), (2, 2)]


@given(events_of, st.integers(0, 4), st.integers(0, 4))
def test_a_core_holds_its_minima(triples: list[Triple], per_user: int, per_item: int) -> None:
    core = k_core(drop_repeats(event_list(triples)), per_user, per_item)
    for codes, least in ((core.users, per_user), (core.items, per_item)):
        counts = np.bincount(codes)
        assert (counts[counts > 0] >= least).all()
