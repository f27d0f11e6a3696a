"""What holds for any trained model, whatever its numbers: nesting, budgets, whole tables, single users."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.blocks.store import BlockStore
from cloud.blocks.trained_model import TrainedModel
from cloud.data.interactions import Interactions
from cloud.data.load import load
from cloud.data.sources import LightGCN, Synthetic
from cloud.training.config import Training
from cloud.training.evaluation import ndcg_per_user
from cloud.training.train import train
from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.quality import HeldOut, user_qualities
from devices.recommender.scoring import ItemTable
from emulator.simulation.evaluation import full_prefixes
from emulator.simulation.model_cache import encode_store
from scenarios.language.schema import Model
from wire.codecs import Codec

CODECS = list(Codec)


@cache
def world() -> tuple[Interactions, TrainedModel]:
    data = load(Synthetic(users=160, items=200, interactions_per_user=20))
    return data, train(data, Training(dim=16, slice_width=4, item_groups=8), lambda _: None)


@cache
def stored(codec: Codec) -> BlockStore:
    model = Model(training=Training(dim=16, slice_width=4, item_groups=8), codec=codec)
    return encode_store(world()[1], model, lambda _done, _total: None)


@cache
def shelves(codec: Codec) -> dict[int, BlockPrefix]:
    return full_prefixes(stored(codec))


@pytest.fixture(scope="module", autouse=True)
def everything_is_trained_and_stored() -> None:
    """Do once what all examples share, so that none of them is slow for it."""
    for codec in CODECS:
        shelves(codec)


@given(st.sampled_from(CODECS), st.integers(0, 20_000), st.integers(0, 20_000))
def test_pees_nest_and_never_exceed_their_budgets(codec: Codec, one: int, other: int) -> None:
    store, (smaller, larger) = stored(codec), sorted((one, other))
    for number, group in enumerate(store.groups):
        layers, shelf = group.layers, shelves(codec)[number]
        few, many = (layers.blocks[layers.best(budget)] for budget in (smaller, larger))
        assert few <= many
        ranking = group.ranking()
        assert ranking[:many][:few] == ranking[:few]
        for budget, count in ((smaller, few), (larger, many)):
            overhead = count * store.geometry.codec.overhead
            assert group.starts[count] + overhead == shelf.resident[count] <= budget or count == 0


@given(st.sampled_from(CODECS))
@settings(max_examples=len(CODECS))
def test_a_ranking_names_each_block_once_and_each_cell_plane_by_plane(codec: Codec) -> None:
    geometry = stored(codec).geometry
    for group in stored(codec).groups:
        ranking = group.ranking()
        assert len(set(ranking)) == len(ranking)
        if not codec.embedded:
            assert sorted(ranking) == list(range(geometry.blocks))
        for cell in {geometry.cell(block) for block in ranking}:
            planes = [geometry.plane(block) for block in ranking if geometry.cell(block) == cell]
            assert planes == sorted(planes)


@settings(deadline=None, max_examples=40)  # a layer is evaluated anew in each example
@given(
    st.sampled_from(CODECS), st.lists(st.integers(0, 159), min_size=1, max_size=12, unique=True), st.data()
)
def test_what_a_user_gets_depends_on_that_user_only(
    codec: Codec, users: list[int], data: st.DataObject
) -> None:
    """Row i of every layer: the same alone, in any company, and in any order."""
    interactions, store = world()[0], stored(codec)
    truth = HeldOut(interactions.known, interactions.test)

    def found(which: list[int]) -> dict[int, object]:
        each = user_qualities(shelves(codec), np.array(which), store.user_groups, store.user_vectors, truth)
        return {user: each[user].at(min(layer, each[user].top)) for user in which}

    layer = data.draw(st.integers(0, 64))
    together, alone = found(users), {user: found([user])[user] for user in users}
    assert together == alone == found(data.draw(st.permutations(users)))


def assert_whole_is_as_good(
    data: Interactions, model: TrainedModel, store: BlockStore, within: float
) -> None:
    """Every group's whole ranking keeps the NDCG@20 of the group's table, to within a share of it."""
    for number, table in enumerate(model.item_tables):
        members = np.flatnonzero(model.user_groups == number)
        known, wanted = data.known.take(members), data.test.take(members)
        full = ndcg_per_user(model.user_vectors[members], table, known, wanted).mean()
        shelf = BlockPrefix(store.geometry, store.groups[number].layers)
        shelf.append(store.groups[number].blocks)
        held = ItemTable(shelf)
        held.hold(store.groups[number].count)
        whole = ndcg_per_user(store.user_vectors[members], held.values, known, wanted).mean()
        assert abs(whole - full) <= within * full, f"group {number}: {whole:.5f} of {full:.5f}"


@pytest.mark.parametrize("codec", [Codec.FP32, Codec.CODED, Codec.PLANES])
def test_everything_held_ranks_as_the_table_does_in_every_group(codec: Codec) -> None:
    assert_whole_is_as_good(*world(), stored(codec), within=0.003)


@pytest.mark.slow
@pytest.mark.data
def test_everything_held_ranks_as_the_table_does_in_every_group_of_movielens_1m(data_root: object) -> None:
    data = load(LightGCN(path=f"{data_root}/ml-1m"))
    model = Model(training=Training(user_groups=16))
    trained = train(data, model.training, lambda _: None)
    assert_whole_is_as_good(
        data, trained, encode_store(trained, model, lambda _done, _total: None), within=0.003
    )
