"""Versions of a lineage: near each other where nothing is new, and as good as anew where something is."""

import msgspec
import numpy as np

from cloud.blocks.encoding import RankingSettings, encode_model
from cloud.blocks.next_version import encode_next_version, settle, settle_vectors
from cloud.blocks.store import BlockStore
from cloud.data.interactions import Interactions
from cloud.service.deltas import first_blocks
from cloud.training.config import Controller, LeastSquares, Refinement, Training
from cloud.training.cosine_settings import CosineSoftmax
from cloud.training.evaluation import ndcg_per_user
from cloud.training.retrain import Lineage
from cloud.training.train import learn_global, personalize
from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.scoring import ItemTable
from tests.cloud.worlds import SMALL, checkerboard
from wire.codecs import Codec
from wire.geometry import Geometry
from wire.ranking_metrics import ItemLists
from wire.version_delta import encode_delta, encode_vector_change

WORLD = checkerboard()
CONFIG = msgspec.structs.replace(
    SMALL,
    backbone="ials",
    ials=LeastSquares(epochs=12, l2_doublings=0),
    refine=Refinement(enabled=False),
    controller=Controller(enabled=False),
)
IDLE = CosineSoftmax(layers=0, rounds=1, learning_rate=1e-9)
GEOMETRY = Geometry(items=40, dim=8, item_groups=4, slice_width=2, codec=Codec.CODED, planes=12)


def first_version(interactions: Interactions, config: Training = CONFIG) -> tuple[BlockStore, Lineage]:
    start = learn_global(interactions, config, lambda _: None)
    model = personalize(start, interactions, config, lambda _: None)
    store = encode_model(model, GEOMETRY, RankingSettings(16), lambda done, total: None)
    return store, Lineage.begin(start, model, interactions.train, config)


def next_version(
    store: BlockStore, lineage: Lineage, known: ItemLists, margin: float = 0.25
) -> tuple[BlockStore, Lineage]:
    lineage, numbers = lineage.retrain(known, store.user_vectors, store.user_groups, 2)
    return encode_next_version(store, numbers, margin, {}), lineage


def delta_bytes(old: BlockStore, new: BlockStore) -> int:
    count = old.groups[0].count
    delta = encode_delta(old.geometry, first_blocks(old, 0, count), first_blocks(new, 0, count))
    assert delta is not None
    return len(delta)


def quality(store: BlockStore) -> float:
    """Return the mean NDCG@20 of all test items, with all blocks."""
    scores = []
    for number, group in enumerate(store.groups):
        prefix = BlockPrefix(store.geometry, group.layers)
        prefix.append(group.blocks)
        table, members = ItemTable(prefix), np.flatnonzero(store.user_groups == number)
        table.hold(group.count)
        known, test = WORLD.known.take(members), WORLD.test.take(members)
        scores.append(ndcg_per_user(store.user_vectors[members], table.values, known, test))
    return float(np.concatenate(scores).mean())


def test_with_nothing_new_less_changes_and_with_more_the_groups_and_the_ranking_stay() -> None:
    first, lineage = first_version(WORLD)
    same, _ = next_version(first, lineage, WORLD.train)
    more, _ = next_version(first, lineage, WORLD.known)
    whole = len(first.groups[0].blocks.data)
    assert delta_bytes(first, same) < delta_bytes(first, more) < whole
    for store in (same, more):
        assert [group.ranking() for group in store.groups] == [group.ranking() for group in first.groups]
        assert [group.layers.blocks for group in store.groups] == [g.layers.blocks for g in first.groups]
        assert store.user_groups.tolist() == first.user_groups.tolist()
        assert quality(store) > 0.9 * quality(first)


def test_dimensions_that_training_has_left_empty_stay_empty_in_every_version() -> None:
    """A large l2 leaves rounding noise in some dimensions; nothing may be divided by it."""
    strict = msgspec.structs.replace(CONFIG, ials=LeastSquares(epochs=12, l2=0.05, l2_doublings=0))
    first, lineage = first_version(WORLD, strict)
    largest = np.abs(first.user_vectors).max()
    store = first
    for known in (WORLD.train, WORLD.known, WORLD.known):
        store, lineage = next_version(store, lineage, known)
        assert np.abs(store.user_vectors).max() < 4 * largest
        assert quality(store) > 0.9 * quality(first)


def test_a_newcomer_joins_the_group_whose_taste_its_items_are_and_stays_there() -> None:
    """Users 38 and 39 have nothing at first; then all that others of their kind have."""
    before, after = WORLD.train, WORLD.known
    users, items = before.pairs()
    early = ItemLists.of_pairs(users[users < 38], items[users < 38], 40)
    world = Interactions("few", early, WORLD.valid, WORLD.test, WORLD.user_ids, WORLD.item_ids)
    first, lineage = first_version(world)
    second, lineage = next_version(first, lineage, after)
    third, _ = next_version(second, lineage, after)
    assert second.user_groups[:38].tolist() == first.user_groups[:38].tolist()
    assert second.user_groups[[38, 39]].tolist() == first.user_groups[[0, 1]].tolist()
    assert third.user_groups.tolist() == second.user_groups.tolist()
    assert not first.user_vectors[38].any()
    assert second.user_vectors[38].any()


def test_a_lineage_goes_on_with_the_backbone_that_auto_chose() -> None:
    """Cosines learn nothing here, so validation prefers least squares; the versions are those of `ials`."""
    auto = msgspec.structs.replace(CONFIG, backbone="auto", cosine=IDLE)
    start = learn_global(WORLD, auto, lambda _: None)
    assert start.report["backbone"] == "ials"
    versions = []
    for config in (auto, CONFIG):
        store, lineage = first_version(WORLD, config)
        versions.append(next_version(store, lineage, WORLD.known)[0].groups)
    assert versions[0] == versions[1]


def test_a_value_stays_in_its_interval_until_it_has_left_it_by_the_margin() -> None:
    """Two planes: the interval of q is from q / 4 to (q + 1) / 4, that of 0 reaches as far below."""
    q = np.array([1, 1, 1, 2, 2, -1, 0, 0])
    new = np.array([0.2, 0.18, 0.6, 0.45, 0.3, 0.0, -0.3, -0.4])
    settled = settle(new, q, planes=2, margin=0.25)
    found = np.sign(settled) * np.floor(np.abs(settled) * 4)
    assert found.tolist() == [1, 0, 1, 2, 1, 0, 0, -1]
    assert np.floor(np.abs(settle(new, q, planes=2, margin=0.0)) * 4).tolist() == [0, 0, 2, 1, 1, 0, 1, 1]


def test_a_vector_moves_in_steps_and_stays_where_it_moves_by_less() -> None:
    old = np.full((2, 4), 1.0, dtype=np.float32)
    new = old + np.array([[0, 0.01, 0.1, -0.1]], dtype=np.float32)
    assert settle_vectors(old, new, 0.0).tolist() == 2 * [[1.0, 1.0, 1.09375, 0.90625]]
    assert settle_vectors(old, old + np.float32(0.02), 0.25).tolist() == old.tolist()
    odd = np.full((1, 64), 317.1234, dtype=np.float32)
    moved = settle_vectors(odd, odd + np.float32(40) * (np.arange(64) == 0).astype(np.float32), 0.25)
    change = encode_vector_change(odd[0], moved[0])
    assert change is not None
    assert len(change) < 10
