"""Blocks of a trained table: decoded prefixes, their utility, and that utility falls."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.blocks.embedded_table import convex_hull, rank_embedded, scale_for_embedding
from cloud.blocks.encoding import encode_group
from cloud.blocks.group_table import GroupTable
from cloud.blocks.item_order import growing_ends, item_order
from cloud.blocks.partition import partition_of
from cloud.blocks.selection import Selection, ranking_policy
from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.scoring import ItemTable
from wire.codecs import Codec
from wire.codecs.planes import dequantise
from wire.geometry import Geometry, ItemOrder, Unheld
from wire.random_streams import stream


@st.composite
def groups(draw: st.DrawFn) -> tuple[Geometry, GroupTable]:
    """A table as rotation leaves it: falling columns; popular items are wanted more."""
    items, dim, codec = draw(st.integers(3, 60)), draw(st.integers(1, 9)), draw(st.sampled_from(Codec))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    item_groups, width = draw(st.integers(1, min(items, 5))), draw(st.integers(1, dim))
    geometry = Geometry(
        items=items,
        dim=dim,
        item_groups=item_groups,
        slice_width=width,
        codec=codec,
        planes=9 if codec.embedded else 1,
        unheld=draw(st.sampled_from(Unheld)),
    )
    if codec.embedded and not geometry.floor and draw(st.booleans()):
        ends = growing_ends(items, item_groups)
        geometry = msgspec.structs.replace(geometry, order=ItemOrder.OWN, item_group_ends=ends)
    table = rng.standard_normal((items, dim)) * 0.7 ** np.arange(dim)
    if draw(st.booleans()):
        table[geometry.rows(0)] = 0.0  # nobody has met these
    moments = rng.random(dim) * (rng.random(dim) < 0.9)
    weights = rng.permutation(1 / np.arange(1, items + 1))
    corrections = rng.uniform(0.5, 2, (item_groups, geometry.slices))
    return geometry, GroupTable(
        table.astype(np.float32),
        moments,
        (weights / weights.sum()).astype(np.float32),
        corrections.astype(np.float32),
    )


@given(groups())
def test_more_budget_never_lowers_what_the_ranking_maximizes(made: tuple[Geometry, GroupTable]) -> None:
    """The corrected drop in weighted distortion, exactly as decoded on a device, grows block by block.

    With an embedded codec every block buys no more per byte than the one before it, past a floor, and the
    blocks of a floor reach every item group.
    """
    geometry, group = made
    if not geometry.floor:
        group = group.centred()
    blocks, user_scale = encode_group(geometry, group, layers=10_000)
    shelf = BlockPrefix(geometry, blocks.layers)
    shelf.append(blocks.blocks)
    assert shelf.resident == list(blocks.layers.bytes)
    table = ItemTable(shelf)
    group = group.taken(order := item_order(geometry, group.item_weights))
    target = scale_for_embedding(group)[0] if geometry.codec.embedded else group.table
    partition = partition_of(geometry)
    moments = np.ones(geometry.dim) if geometry.codec.embedded else group.second_moment

    def distortion() -> float:
        rest = target.astype(np.float64) - table.values[order]
        energy = group.item_weights[:, None] * moments * np.square(rest)
        return float(group.apply_corrections(partition.sums(energy)).sum())

    left = [distortion()]
    for count in range(1, blocks.count + 1):
        table.hold(count)
        left.append(distortion())
    assert (np.diff(left) <= 1e-9 * max(left)).all()
    _check_floor(geometry, blocks.ranking())
    assert user_scale.shape == (geometry.dim,)
    if not geometry.codec.embedded:
        assert sorted(blocks.ranking()) == list(range(geometry.blocks))


def _check_floor(geometry: Geometry, ranking: list[int]) -> None:
    """Check that a ranking begins with a block of each item group, where it must."""
    if geometry.floor:
        floor = {geometry.cell(block)[0] for block in ranking[: geometry.item_groups]}
        assert floor == set(range(geometry.item_groups))


@given(groups())
def test_the_whole_ranking_scores_like_the_table(made: tuple[Geometry, GroupTable]) -> None:
    """But for one constant for each user, where the table is centred."""
    geometry, group = made
    blocks, user_scale = encode_group(geometry, group, layers=8)
    shelf = BlockPrefix(geometry, blocks.layers)
    shelf.append(blocks.blocks)
    table = ItemTable(shelf)
    table.hold(blocks.count)
    users = np.random.default_rng(0).standard_normal((4, geometry.dim)) * np.sqrt(group.second_moment)
    expected = users @ (group.table if geometry.floor else group.centred().table).T
    actual = table.scores((users * user_scale).astype(np.float32))
    # int4 keeps 1/14 of a block's largest number; nine planes 1/512 of the table's, per dimension's spread;
    # eight, where the last buys nothing, 1/256
    loss = {Codec.FP32: 1e-6, Codec.FP16: 1e-3, Codec.INT8: 1 / 250, Codec.INT4: 1 / 13}.get(geometry.codec)
    if loss is None:
        allowed = 2.0**-8 * np.abs(users * user_scale).sum(axis=1, keepdims=True)
    else:
        allowed = loss * np.abs(users).sum(axis=1, keepdims=True) * 2 * np.abs(group.table).max()
    assert (np.abs(actual - expected) <= allowed + 1e-6).all()


@given(groups(), st.sampled_from(Selection))
def test_every_policy_stores_the_same_blocks_a_floor_first(
    made: tuple[Geometry, GroupTable], selection: Selection
) -> None:
    """Held whole they decode to the same table."""
    geometry, group = made
    tables = []
    for rank in (ranking_policy(Selection.PEEL, stream(0)), ranking_policy(selection, stream(0, "other"))):
        blocks, _ = encode_group(geometry, group, 10_000, rank)
        _check_floor(geometry, blocks.ranking())
        shelf = BlockPrefix(geometry, blocks.layers)
        shelf.append(blocks.blocks)
        table = ItemTable(shelf)
        table.hold(blocks.count)
        tables.append(table.values.tobytes())
    assert tables[0] == tables[1]


def test_the_steps_of_an_embedded_ranking_buy_less_and_less_per_byte() -> None:
    rng = np.random.default_rng(1)
    table = (rng.standard_normal((200, 8)) * 0.7 ** np.arange(8)).astype(np.float32)
    group = GroupTable(
        table,
        np.ones(8),
        np.full(200, 1 / 200, dtype=np.float32),
        np.ones((4, 2), dtype=np.float32),
    )
    geometry = Geometry(items=200, dim=8, item_groups=4, slice_width=4, codec=Codec.CODED, planes=10)
    steps = rank_embedded(geometry, scale_for_embedding(group)[0], group)
    floor, rest = steps[:4], steps[4:]
    assert sorted(step.item_group for step in floor) == [0, 1, 2, 3]
    utility = [step.utility for step in rest]
    assert utility == sorted(utility, reverse=True)
    for m, n in {(step.item_group, step.slice) for step in steps}:
        planes = [(step.held, step.planes) for step in steps if (step.item_group, step.slice) == (m, n)]
        assert [held for held, _ in planes] == [0, *(end for _, end in planes[:-1])]  # without a gap


@pytest.mark.parametrize("codec", [Codec.PLANES, Codec.CODED])
def test_a_step_buys_and_costs_what_the_plan_says(codec: Codec) -> None:
    """What is foreseen from counts is what the encoder makes, and what a device then knows."""
    rng = np.random.default_rng(2)
    table = (rng.standard_normal((300, 10)) * 0.8 ** np.arange(10)).astype(np.float32)
    table[:50, 3] = 0.0
    weights = (1 / np.arange(1, 301)).astype(np.float32)
    group = GroupTable(table, np.ones(10), weights, np.ones((3, 3), dtype=np.float32))
    geometry = Geometry(items=300, dim=10, item_groups=3, slice_width=4, codec=codec, planes=16)
    values, _ = scale_for_embedding(group)
    steps = rank_embedded(geometry, values, group)
    for step in steps:
        block = (step.item_group * geometry.slices + step.slice) * geometry.planes
        rows = geometry.rows(block)
        cell = values[rows, geometry.columns(block)]
        data = codec.coder.encode(cell, step.held, step.planes)[1]
        assert step.bytes == pytest.approx(len(data) + codec.overhead, abs=6)  # the last word may be cut
        before, after = (cell - dequantise(cell, planes - 1) for planes in (step.held, step.planes))
        bought = weights[rows] @ (np.square(before) - np.square(after)).sum(axis=1)
        assert step.utility * step.bytes == pytest.approx(bought, rel=1e-3)
    assert max(step.planes for step in steps) == 16


def test_the_hull_joins_planes_that_buy_nothing_alone() -> None:
    """Distortion 10, 10, 4, 2, 2 after 0 to 4 planes of 1, 2, 2, 9 bytes, no overhead.

    The first plane buys nothing, with the second 6 for 3 bytes: 2 a byte; then 2 for 2 bytes: 1 a
    byte; the last buys nothing and is left out.
    """
    blocks = convex_hull(np.array([10.0, 10, 4, 2, 2]), np.array([1.0, 2, 2, 9]), overhead=0)
    assert blocks == [(0, 2, 2.0, 3.0), (2, 3, 1.0, 2.0)]
