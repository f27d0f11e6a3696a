"""The rivals that know groups or a single user, and users who were no part of training."""

import functools
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.quality.peel import train_cached
from benchmarks.quality.pretraining import learn_full
from cloud.data.interactions import Interactions
from cloud.training.baselines.coded_head import CodedHeadItems, coded_bytes, longest_prefix, quantize
from cloud.training.baselines.full_model import FullModel, members_of
from cloud.training.baselines.group_heads import GroupHeads, index_bits
from cloud.training.baselines.method import CompressionMethod
from cloud.training.baselines.precision import Precision
from cloud.training.baselines.scoring import score
from cloud.training.baselines.top_list import TopList
from cloud.training.baselines.whole import WholeTable
from emulator.evaluation.peel_method import PeelMethod
from scenarios.language.schema import Model
from tests.benchmarks.worlds import SMALL, a_full, a_world
from wire.codecs import Codec
from wire.ranking_metrics import ItemLists, top_k

WORLD = a_world()
EVERYBODY = np.arange(WORLD.n_users)
SMALL_BUDGET = 18
HEADS = GroupHeads(train_cached)
PEEL = PeelMethod("peel", Model(training=SMALL, codec=Codec.FP32, layers=10_000), train_cached)


@pytest.fixture(scope="module")
def full() -> FullModel:
    return learn_full(WORLD, SMALL)


def ndcg(method: CompressionMethod, full: FullModel, budget: int) -> float:
    candidate = method.fit(full, WORLD).at(budget)
    assert candidate is not None
    assert candidate.bytes <= budget
    return score(candidate.scores, WORLD.known, WORLD.test, WORLD.n_items).means()["ndcg_at_20"]


def test_a_group_keeps_the_items_of_its_own_taste(full: FullModel) -> None:
    # Among the first 40 of 40 items every item would be recommended to everybody.
    met = replace(full, training=msgspec.structs.replace(SMALL, item_weights="met"))
    candidate = HEADS.fit(met, WORLD).at(SMALL_BUDGET)
    assert candidate is not None
    parity = np.array([int(name) % 2 for name in WORLD.item_ids])
    held = np.isfinite(candidate.scores(EVERYBODY))
    assert (held.sum(axis=1) <= WORLD.n_items // 2).all()
    assert [set(parity[row].tolist()) for row in held] == [{user % 2} for user in range(WORLD.n_users)]


def test_with_bytes_enough_heads_are_the_whole_table(full: FullModel) -> None:
    assert ndcg(HEADS, full, full.bytes) == pytest.approx(
        ndcg(WholeTable("full", Precision.FP32), full, full.bytes), rel=0.02
    )


@settings(deadline=None, max_examples=12)
@given(budget=st.integers(0, 600))
def test_heads_and_lists_fit_into_every_budget(budget: int) -> None:
    for method in (HEADS, replace(HEADS, own_order=False), TopList()):
        candidate = method.fit(learn_full(WORLD, SMALL), WORLD).at(budget)
        if candidate is not None:
            assert 0 < candidate.bytes <= budget
            assert candidate.scores(EVERYBODY[:3]).shape == (3, WORLD.n_items)


@given(step=st.floats(0.05, 3.0), budget=st.integers(0, 400))
def test_no_row_more_would_fit(step: float, budget: int) -> None:
    levels = quantize(a_full(WORLD).items, step)
    count, size = longest_prefix(levels, budget, lambda _: 0.0)
    assert size <= budget
    assert size == (coded_bytes(levels[:count]) if count else 0)
    assert count == len(levels) or coded_bytes(levels[: count + 1]) > budget
    indexed, size = longest_prefix(levels, budget, functools.partial(index_bits, len(levels)))
    assert indexed <= count
    assert size <= budget


def test_an_index_says_which_items_of_all() -> None:
    assert index_bits(4, 2) == pytest.approx(np.log2(6))
    assert index_bits(40, 0) == index_bits(40, 40) == pytest.approx(0)


def test_a_list_is_the_best_of_the_full_table_without_what_is_known(full: FullModel) -> None:
    candidate = TopList().fit(full, WORLD).at(8)
    assert candidate is not None
    assert (candidate.bytes, candidate.note) == (8, "10 items")  # six bits name one of forty items
    scores = full.users.astype(np.float64) @ full.items.T.astype(np.float64)
    scores[WORLD.known.pairs()] = -np.inf
    listed = [sorted(np.flatnonzero(np.isfinite(row)).tolist()) for row in candidate.scores(EVERYBODY)]
    assert listed == np.sort(top_k(scores, 10), axis=1).tolist()
    assert ndcg(TopList(), full, 15) == pytest.approx(
        ndcg(WholeTable("full", Precision.FP32), full, full.bytes)
    )


def _without_choices(world: Interactions, newcomers: int) -> Interactions:
    """Return *world* with the validation items of its last users known."""
    users, items = world.valid.pairs()
    choosing = users < world.n_users - newcomers
    valid = ItemLists.of_pairs(users[choosing], items[choosing], world.n_users)
    late = ItemLists.of_pairs(users[~choosing], items[~choosing], world.n_users)
    return replace(world, train=world.train.union(late), valid=valid)


NEWCOMERS = 4
EVERYONE = _without_choices(WORLD, NEWCOMERS)
MEMBERS = members_of(EVERYONE, replace(a_full(EVERYONE), newcomers=WORLD.train.take(EVERYBODY[-NEWCOMERS:])))


def with_newcomers(members: list[int]) -> FullModel:
    """Return a model of all but the last users of `EVERYONE`, who have met what *members* have."""
    trained = learn_full(MEMBERS, SMALL)
    met = MEMBERS.train.take(np.array(members))
    return replace(trained, users=np.concatenate([trained.users, trained.users[members]]), newcomers=met)


METHODS = (PEEL, HEADS, CodedHeadItems(), TopList())


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_nothing_is_learned_from_a_newcomer(method: CompressionMethod) -> None:
    ranked = []
    for members in ([0, 1, 2, 3], [4, 4, 4, 4]):
        full = with_newcomers(members)
        candidate = method.fit(full, EVERYONE).at(full.bytes // 2)
        assert candidate is not None
        ranked.append(candidate.scores(EVERYBODY[:-NEWCOMERS]))
    np.testing.assert_array_equal(ranked[0], ranked[1])


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_newcomer_with_the_taste_of_a_member_gets_what_the_full_table_gives(
    method: CompressionMethod,
) -> None:
    full = with_newcomers([0, 1, 2, 3])
    candidate = method.fit(full, EVERYONE).at(2 * full.bytes)
    assert candidate is not None
    for own, whole in zip(
        candidate.scores(EVERYBODY[-NEWCOMERS:]), full.users[:NEWCOMERS] @ full.items.T, strict=True
    ):
        held = np.isfinite(own)
        assert np.corrcoef(own[held], whole[held])[0, 1] > 0.9
