"""Shared tables of layers: those that a device decodes alone, in any order, and with little memory."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.blocks.encoding import encode_group
from cloud.blocks.group_table import GroupTable
from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.decoded_tables import MOST_BYTES, DecodedTables
from devices.recommender.learning import LearningSettings
from devices.recommender.scoring import ItemTable
from wire.codecs import Codec
from wire.geometry import Geometry, Unheld

LAYERS = 6


@functools.cache
def ranking(codec: Codec, seed: int, unheld: Unheld) -> BlockPrefix:
    """Return the complete ranking of a random table."""
    geometry = Geometry(
        items=30,
        dim=6,
        item_groups=4,
        slice_width=2,
        codec=codec,
        planes=5 if codec.embedded else 1,
        unheld=unheld,
    )
    rng = np.random.default_rng(seed)
    table = (rng.standard_normal((30, 6)) * 0.6 ** np.arange(6)).astype(np.float32)
    worth = rng.uniform(0.5, 2, (4, geometry.slices)).astype(np.float32)
    group = GroupTable(table, np.ones(6), np.ones(30, dtype=np.float32), worth)
    encoded, _ = encode_group(geometry, group, layers=LAYERS)
    prefix = BlockPrefix(geometry, encoded.layers)
    prefix.append(encoded.blocks)
    return prefix


@pytest.mark.parametrize("most_bytes", [1, MOST_BYTES])
@given(
    codec=st.sampled_from([Codec.CODED, Codec.PLANES, Codec.INT8]),
    unheld=st.sampled_from(Unheld),
    asked=st.lists(st.tuples(st.integers(0, 1), st.integers(0, LAYERS)), min_size=1, max_size=8),
)
def test_a_shared_table_scores_as_one_decoded_alone(
    most_bytes: int, codec: Codec, unheld: Unheld, asked: list[tuple[int, int]]
) -> None:
    """Layers of two groups in any order, from a cache that keeps all of them or one."""
    rankings = {group: ranking(codec, group, unheld) for group in (0, 1)}
    tables = DecodedTables({"m": rankings}, LearningSettings(), most_bytes)
    user = np.random.default_rng(9).standard_normal(6).astype(np.float32)
    for group, layer in asked:
        layers = rankings[group].layers
        alone = ItemTable(rankings[group])
        alone.hold(layers.blocks[min(layer, layers.top)])
        shared = tables.at("m", group, min(layer, layers.top))
        np.testing.assert_allclose(shared.scores(user), alone.scores(user[None]), rtol=1e-12, atol=1e-12)
        np.testing.assert_array_equal(shared.factors, alone.values)
    assert tables.full("m", 0) is tables.at("m", 0, rankings[0].layers.top)
