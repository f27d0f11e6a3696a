"""The cut, and the ranking after it, against the table that `benchmarks/streamsight_table.py` made."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cloud.data.interactions import Interactions, LaterInteractions
from cloud.data.load import load
from cloud.data.sources import ByCut, RecBole
from wire.ranking_metrics import FloatArray, IntArray, ItemLists, rank

TABLE = json.loads((Path(__file__).parent / "streamsight.json").read_text())
DAY_S, K = 86_400, 10


@pytest.fixture(scope="module")
def interactions(data_root: Path) -> Interactions:
    return load(RecBole(path=str(data_root / "ml-100k"), split=ByCut(warm_up=0.8)))


@pytest.fixture(scope="module")
def later(interactions: Interactions) -> LaterInteractions:
    assert interactions.later is not None
    return interactions.later


def test_the_cut_and_every_day_after_it_have_the_same_users_and_interactions(
    interactions: Interactions, later: LaterInteractions
) -> None:
    assert rows(interactions, later, np.full(len(later.users), True)) == only_rows(TABLE["after"])
    known = len(interactions.train.items) + len(interactions.valid.items)
    assert (interactions.n_users, known) == (
        TABLE["background"]["users"],
        TABLE["background"]["interactions"],
    )
    days = (later.times_s // DAY_S).astype(np.int64)
    assert [{"day": int(day), **rows(interactions, later, days == day)} for day in np.unique(days)] == [
        {"day": day["day"], **only_rows(day)} for day in TABLE["days"]
    ]


def test_the_most_popular_items_are_as_good_after_the_cut_and_on_every_day(
    interactions: Interactions, later: LaterInteractions
) -> None:
    after = [quality(interactions, later, 0, np.inf), *(
        quality(interactions, later, day["day"] * DAY_S, (day["day"] + 1) * DAY_S) for day in TABLE["days"]
    )]  # fmt: skip
    names = ("ndcg_at_10", "recall_at_10", "hit_rate_at_10")
    expected = [[part[name] for name in names] for part in (TABLE["after"], *TABLE["days"])]
    np.testing.assert_allclose(after, expected, rtol=1e-7, atol=1e-8)


def only_rows(part: dict[str, object]) -> dict[str, object]:
    return {key: part[key] for key in ("users", "interactions", "rows_sha256")}


def rows(
    interactions: Interactions, later: LaterInteractions, chosen: NDArray[np.bool_]
) -> dict[str, object]:
    users = (*interactions.user_ids, *later.new_user_ids)
    items = (*interactions.item_ids, *later.new_item_ids)
    columns = (later.users[chosen], later.items[chosen], later.times_s[chosen])
    texts = sorted(
        f"{users[user]} {items[item]} {TABLE['cut'] + round(time)}"
        for user, item, time in zip(*columns, strict=True)
    )
    digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
    return {"users": len(set(columns[0].tolist())), "interactions": len(texts), "rows_sha256": digest}


def quality(interactions: Interactions, later: LaterInteractions, start: float, end: float) -> list[float]:
    """Sums over users of NDCG, recall and hit rate of the most popular items, unknown to each at *start*."""
    now = (later.times_s >= start) & (later.times_s < end)
    n_users = interactions.n_users + len(later.new_user_ids)
    met = later.times_s < start
    known_users, known_items = interactions.known.pairs()
    known = ItemLists.of_pairs(
        np.concatenate([known_users, later.users[met]]),
        np.concatenate([known_items, later.items[met]]),
        n_users,
    )
    users = np.unique(later.users[now])
    truth = ItemLists.of_pairs(later.users[now], later.items[now], n_users).take(users)
    scores = np.tile(popularity(interactions, later), (len(users), 1))
    ranking = rank(scores, known.take(users), truth, K)
    return [float(each.sum()) for each in (ranking.ndcg(K), ranking.recall(K), ranking.hit_rate(K))]


def popularity(interactions: Interactions, later: LaterInteractions) -> FloatArray:
    names: IntArray = np.array([int(name) for name in (*interactions.item_ids, *later.new_item_ids)])
    counts = np.bincount(interactions.known.items, minlength=len(names)).astype(float)
    by_number = counts + 1e-3 * (len(names) - names.argsort().argsort()) / len(names)
    return np.where(counts > 0, by_number, -np.inf)
