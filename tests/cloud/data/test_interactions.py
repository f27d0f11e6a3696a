from dataclasses import replace

import numpy as np

from cloud.data.interactions import Interactions, item_group_bounds
from wire.ranking_metrics import ItemLists


def lists(*rows: list[int]) -> ItemLists:
    users = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    items = np.array([item for row in rows for item in row], dtype=np.int64)
    return ItemLists.of_pairs(users, items, len(rows))


def as_rows(actual: ItemLists) -> list[list[int]]:
    return [actual[user].tolist() for user in range(len(actual))]


SMALL = Interactions(
    "small", lists([0, 2], [2, 3]), lists([1], []), lists([3], [1]), ("ann", "bob"), ("a", "b", "c", "d")
)


def test_catalogue_order_is_by_training_interactions() -> None:
    ordered = SMALL.by_popularity()
    assert ordered.item_ids == ("c", "a", "d", "b")
    assert [as_rows(part) for part in (ordered.train, ordered.valid, ordered.test, ordered.known)] == [
        [[0, 1], [0, 2]],
        [[3], []],
        [[2], [3]],
        [[0, 1, 3], [0, 2]],
    ]
    assert ordered.popularity().tolist() == [2, 1, 1, 0]
    assert ordered.by_popularity().digest() == ordered.digest()


def test_the_digest_is_of_the_contents() -> None:
    changed = [
        replace(SMALL, valid=lists([0], [])),
        replace(SMALL, train=SMALL.test, test=SMALL.train),
        replace(SMALL, user_ids=("annb", "ob")),
        replace(SMALL, user_ids=("ann", "bob", "a"), item_ids=("b", "c", "d")),
        SMALL.by_popularity(),
    ]
    digests = {SMALL.digest(), *(each.digest() for each in changed)}
    assert len(digests) == 1 + len(changed)
    assert replace(SMALL, name="other").digest() == SMALL.digest()


def test_item_groups_are_ranges_of_near_equal_size() -> None:
    assert item_group_bounds(10, 4).tolist() == [0, 2, 5, 7, 10]
