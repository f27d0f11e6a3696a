"""Users whom training did not see: their groups and vectors, and the store that has them."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cloud.blocks.fold_in import KnownUsers, add_users, fold_in
from cloud.blocks.store import BlockStore, load_store, save_store
from cloud.service.responder import Responder, notice_of
from devices.protocol.agent import Agent, Receipt
from devices.protocol.block_prefix import BlockCache
from devices.recommender.scoring import whole_table
from emulator.simulation.evaluation import full_prefixes
from tests.worlds import a_store
from wire.arrays import Float32Array
from wire.ranking_metrics import ItemLists, top_k

STORE = a_store(items=60)


def whole_tables(store: BlockStore) -> list[Float32Array]:
    return [whole_table(prefix) for _, prefix in sorted(full_prefixes(store).items())]


def histories(lists: list[list[int]]) -> ItemLists:
    owners = np.repeat(np.arange(len(lists)), [len(each) for each in lists])
    return ItemLists.of_pairs(owners, np.concatenate(lists).astype(np.int64), len(lists))


def test_a_user_who_met_what_a_member_likes_is_closer_to_that_taste_than_any_mean() -> None:
    """The share of a member's best eight items that is found again, by the vector and by the group's mean."""
    tables = whole_tables(STORE)

    def best(vector: Float32Array, group: int) -> list[int]:
        return list(map(int, top_k((vector @ tables[group].T)[None], 8)[0]))

    members = list(enumerate(STORE.user_groups.tolist()))
    liked = [best(STORE.user_vectors[user], group) for user, group in members]
    folded = fold_in(KnownUsers.of(STORE), tables.__getitem__, histories(liked))
    own = list(zip(folded.vectors, folded.groups.tolist(), strict=True))
    means = [(STORE.user_vectors[STORE.user_groups == group].mean(axis=0), group) for _, group in members]
    found, by_mean = (
        np.mean([np.isin(best(*each), items).mean() for each, items in zip(vectors, liked, strict=True)])
        for vectors in (own, means)
    )
    assert found > by_mean + 0.1, (found, by_mean)


@given(seed=st.integers(0, 2**16), groups=st.integers(1, 3), users=st.integers(4, 30))
def test_bases_of_groups_and_the_mean_of_their_tables_change_no_ranking(
    seed: int, groups: int, users: int
) -> None:
    rng, dim, items = np.random.default_rng(seed), 4, 25
    of = np.arange(users) % groups
    vectors, table = rng.normal(size=(users, dim)), rng.normal(size=(items, dim))
    met = histories([rng.choice(items, 5, replace=False).tolist() for _ in range(3)])
    scores = []
    for turned in (False, True):
        turns = [np.eye(dim) + turned * rng.normal(size=(dim, dim)) / 4 for _ in range(groups)]
        own = np.stack([np.linalg.solve(turns[group], row) for row, group in zip(vectors, of, strict=True)])
        tables = [(table @ turn + turned).astype(np.float32) for turn in turns]
        folded = fold_in(KnownUsers(own.astype(np.float32), of, 10.0), tables.__getitem__, met)
        found = [tables[g] @ vector for vector, g in zip(folded.vectors, folded.groups, strict=True)]
        scores.append((folded.groups.tolist(), np.stack([each - each.mean() for each in found])))
    assert scores[0][0] == scores[1][0]
    np.testing.assert_allclose(scores[0][1], scores[1][1], rtol=0.01, atol=0.01)


def test_a_store_with_more_users_answers_them_and_leaves_all_blocks_as_they_are(tmp_path: Path) -> None:
    tables = whole_tables(STORE)
    folded = fold_in(KnownUsers.of(STORE), tables.__getitem__, histories([[3, 5, 8], [1]]))
    later = add_users(STORE, folded)
    save_store(later, tmp_path / "later")
    assert load_store(tmp_path / "later").version == later.version != STORE.version
    assert later.groups == STORE.groups
    cache = BlockCache()
    cache.announce(notice_of(later))
    agent = Agent(STORE.users + 1, cache)
    agent.set_budget(10**6)
    receipts = [agent.receive(part) for part in Responder(later).answer(agent.report())]
    assert receipts[-1] is Receipt.APPLIED
    assert agent.user_vector == folded.vectors[1].astype("<f4").tobytes()
    assert agent.group == folded.groups[1]
