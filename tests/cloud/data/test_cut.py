from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.data.cut import cut_events, divide_at_cut, seconds_since_first
from cloud.data.interactions import Interactions, ReadCounts
from cloud.data.load import load
from cloud.data.sources import ByCut, RecBole, Table
from cloud.data.splits import EventList, drop_repeats
from wire.errors import InputError

Triple = tuple[int, int, int]

events_of = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 20)), min_size=2)
NAMES = [f"u{number}" for number in range(30)], [f"i{number}" for number in range(30)]


def event_list(triples: list[Triple]) -> EventList:
    users, items, times = np.array(triples, dtype=np.int64).reshape(-1, 3).T
    return drop_repeats(EventList(users, items, times))


def named(interactions: Interactions) -> list[set[tuple[str, str]]]:
    """Training, validation and later interactions, each as pairs of names."""
    later = interactions.later
    assert later is not None
    users = (*interactions.user_ids, *later.new_user_ids)
    items = (*interactions.item_ids, *later.new_item_ids)
    pairs = [interactions.train.pairs(), interactions.valid.pairs(), (later.users, later.items)]
    return [{(users[u], items[i]) for u, i in zip(*part, strict=True)} for part in pairs]


def cut(events: EventList, warm_up: float) -> Interactions | None:
    before, after = cut_events(events, warm_up)
    if not len(before):
        return None
    split = ByCut(warm_up=warm_up, valid_share=0.2)
    return divide_at_cut(split, "story", (before, after), NAMES, ReadCounts(len(events)))


@given(events_of, st.floats(0.01, 0.99))
def test_a_cut_loses_nothing_and_all_before_it_is_older_than_all_after_it(
    triples: list[Triple], warm_up: float
) -> None:
    events = event_list(triples)
    interactions = cut(events, warm_up)
    if interactions is None:
        return
    train, valid, later = named(interactions)
    assert events.times is not None
    rows = zip(events.users.tolist(), events.items.tolist(), events.times.tolist(), strict=True)
    when = {(f"u{user}", f"i{item}"): time for user, item, time in rows}
    assert (train | valid | later, len(train) + len(valid) + len(later)) == (set(when), len(when))
    assert max(when[pair] for pair in train | valid) < min(when[pair] for pair in later)
    assert {user for user, _ in valid} <= {user for user, _ in train}


@given(events_of, st.floats(0.01, 0.99), st.data())
def test_training_is_the_same_whatever_comes_after_the_cut(
    triples: list[Triple], warm_up: float, data: st.DataObject
) -> None:
    events = event_list(triples)
    interactions = cut(events, warm_up)
    if interactions is None:
        return
    assert events.times is not None
    before, after = cut_events(events, warm_up)
    assert after.times is not None
    others = data.draw(
        st.lists(
            st.tuples(st.integers(0, 9), st.integers(0, 19)),
            min_size=len(after),
            max_size=len(after),
            unique=True,
        )
    )
    users, items = np.array(others, dtype=np.int64).reshape(-1, 2).T + 10
    users -= data.draw(st.sampled_from([0, 10]))  # members, too
    order = data.draw(st.permutations(range(len(events))))
    changed = EventList(
        np.concatenate([before.users, users]), np.concatenate([before.items, items]),
        np.concatenate([before.times, after.times]),
    )  # fmt: skip
    # The rows after the cut may stand anywhere in the file; those before it keep their order.
    spots = sorted(order[: len(before)])
    place = [*spots, *(spot for spot in range(len(events)) if spot not in set(spots))]
    other = cut(changed.keep(np.argsort(place)), warm_up)
    assert other is not None
    assert seen_by_training(other) == seen_by_training(interactions)


def seen_by_training(interactions: Interactions) -> list[object]:
    ordered = interactions.by_popularity()
    return [
        ordered.user_ids, ordered.item_ids,
        *([*map(np.ndarray.tolist, part.pairs())] for part in (ordered.train, ordered.valid)),
    ]  # fmt: skip


def test_the_story_of_a_cut(tmp_path: Path) -> None:
    rows = "ann,a,1 ann,b,2 bob,b,3 bob,a,4 cat,b,5 cat,z,6 ann,c,8 dan,b,8 dan,d,9 bob,z,9"
    file = tmp_path / "story.csv"
    file.write_text("\n".join(["user,item,time", *rows.split()]))
    settings = Table(
        path=str(file), time="time", split=ByCut(warm_up=0.6, valid_share=0.5), min_item_interactions=2
    )
    interactions = load(settings)
    later = interactions.later
    assert later is not None
    assert (interactions.user_ids, interactions.item_ids) == (("ann", "bob", "cat"), ("b", "a"))
    assert interactions.read is not None
    assert interactions.read.dropped["of users or items with too few interactions"] == 1  # z, met once before
    assert named(interactions) == [
        {("ann", "a"), ("bob", "b"), ("cat", "b")},
        {("ann", "b"), ("bob", "a")},
        {("ann", "c"), ("dan", "b"), ("dan", "d"), ("bob", "z")},
    ]
    assert (later.new_user_ids, later.new_item_ids) == (("dan",), ("c", "d", "z"))
    assert later.times_s.tolist() == [0, 0, 1, 1]
    assert len(interactions.test.items) == 0  # a member meets nothing that the model has
    assert interactions.item_ids[later.items[1]] == "b"


def test_the_unit_of_times_is_told_by_their_size() -> None:
    start = 1_600_000_000
    for per_s in (1, 10**3, 10**6, 10**9):
        assert seconds_since_first(np.array([start, start + 90]) * per_s).tolist() == [0, 90]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            "u,a,5 u,b,5 v,a,5",
            "no interaction is before data.split.warm_up(=0.8) of them: the first ones all",
        ),
        ("u,a,x u,b,y", "found 'x' in column 'time', expected a number"),
    ],
)
def test_a_cut_that_leaves_nothing_to_train_on_is_refused(tmp_path: Path, rows: str, said: str) -> None:
    file = tmp_path / "x.csv"
    file.write_text("\n".join(["user,item,time", *rows.split()]))
    with pytest.raises(InputError) as error:
        load(Table(path=str(file), time="time", split=ByCut()))
    assert said in str(error.value)


def test_a_cut_needs_one_file_with_times(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / f"x.{part}.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\nu\ta\t1\n")
    with pytest.raises(InputError, match=r"it is split already, and data\.split\(=cut\) needs one file"):
        load(RecBole(path=str(tmp_path), split=ByCut(), min_rating=0))
    with pytest.raises(ValueError, match="must name a column when the split is by time or a cut"):
        Table(path="x.csv", split=ByCut())
