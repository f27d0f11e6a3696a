"""Scores of what is held: by hand on two slices, and the same from a table that is kept or decoded anew."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, UnsetType

from cloud.blocks.encoding import encode_group
from cloud.blocks.group_table import GroupTable
from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.pee_file import prefix_of
from devices.recommender.scoring import ItemTable, product_form, streaming_scores, table_scores
from wire.blocks import Blocks
from wire.codecs import Codec
from wire.errors import Reason, RemoteProtocolError
from wire.geometry import Geometry, ItemOrder, Score, Unheld
from wire.ranking_metrics import top_k


@st.composite
def shelves(draw: st.DrawFn) -> BlockPrefix:
    """The whole ranking of a random table, in any codec and score."""
    items, dim, codec = draw(st.integers(1, 40)), draw(st.integers(1, 9)), draw(st.sampled_from(Codec))
    geometry = Geometry(
        items=items,
        dim=dim,
        item_groups=draw(st.integers(1, min(items, 5))),
        slice_width=draw(st.integers(1, dim)),
        codec=codec,
        planes=6 if codec.embedded else 1,
        score=draw(st.sampled_from(Score)),
        unheld=draw(st.sampled_from(Unheld)),
    )
    if codec.embedded and not geometry.floor and draw(st.booleans()):
        geometry = msgspec.structs.replace(geometry, order=ItemOrder.OWN)
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    table = (rng.standard_normal((items, dim)) * 0.7 ** np.arange(dim)).astype(np.float32)
    worth = rng.uniform(0.5, 2, (geometry.item_groups, geometry.slices)).astype(np.float32)
    group = GroupTable(table, np.ones(dim), rng.random(items).astype(np.float32), worth)
    blocks, _ = encode_group(geometry, group, layers=1)
    return prefix_of(geometry, blocks.blocks)


@given(shelves(), st.data())
def test_a_table_that_is_kept_and_one_decoded_anew_rank_alike(
    shelf: BlockPrefix, data: st.DataObject
) -> None:
    """At any prefix of the ranking, whatever was held before."""
    users = np.random.default_rng(1).standard_normal((3, shelf.geometry.dim)).astype(np.float32)
    table = ItemTable(shelf)
    for blocks in data.draw(st.lists(st.integers(0, len(shelf.ids)), min_size=1, max_size=4)):
        table.hold(blocks)
        kept, anew = table.scores(users), streaming_scores(shelf, blocks, users)
        np.testing.assert_allclose(anew, kept, rtol=1e-12, atol=1e-12)
        k = min(10, shelf.geometry.items)
        np.testing.assert_array_equal(top_k(anew.astype(np.float32), k), top_k(kept.astype(np.float32), k))


@pytest.mark.parametrize(
    ("unheld", "left_out"), [(UNSET, -np.inf), (Unheld.LAST, -np.inf), (Unheld.ZERO, 0.0)]
)
@pytest.mark.parametrize(
    ("score", "expected"),
    [
        # Item 0: 1 * 1 + 4 * 1. Item 1, its first slice: 1 * 2 + 2 * 1.
        (Score.ALIGNED, [5.0, 4.0]),
        # The user's slices add up to (4, 6). Item 0, both slices: (1, 1), times 2/2. Item 1: (2, 1) times
        # 2/1.
        (Score.TILED, [10.0, 28.0]),
    ],
)
def test_scores_of_two_slices_by_hand(
    score: Score, expected: list[float], unheld: Unheld | UnsetType, left_out: float
) -> None:
    """Three items in groups of their own: both slices are held, the first alone, none."""
    geometry = Geometry(
        items=3, dim=4, item_groups=3, slice_width=2, codec=Codec.FP32, score=score, unheld=unheld
    )
    user = np.array([[1, 2, 3, 4]], dtype=np.float32)
    values = np.array([[1, 0, 0, 1], [2, 1, 0, 0], [0, 0, 0, 0]], dtype=np.float32)
    held = np.array([[True, True], [True, False], [False, False]])
    assert table_scores(user, values, held, geometry)[0].tolist() == [*expected, left_out]
    cells = [(0, values[:1, :2]), (2, values[1:2, :2]), (1, values[:1, 2:])]
    data = b"".join(Codec.FP32.coder.encode(cell, 0, 1)[1] for _, cell in cells)
    ids = np.array([block for block, _ in cells], dtype="<u2").tobytes()
    shelf = prefix_of(geometry, Blocks(ids, b"", b"", data))
    assert streaming_scores(shelf, 3, user)[0].tolist() == [*expected, left_out]


def test_a_narrow_last_slice_adds_to_the_first_columns() -> None:
    """Slices (u0, u1) and (u2,): sums (1 + 3, 2) and (5 + 7, 6), so 4 * 12 + 2 * 6."""
    geometry = Geometry(items=1, dim=3, item_groups=1, slice_width=2, codec=Codec.FP32, score=Score.TILED)
    user, values = np.array([[1, 2, 3]], dtype=np.float32), np.array([[5, 6, 7]], dtype=np.float32)
    assert table_scores(user, values, np.array([[True, True]]), geometry).tolist() == [[60.0]]


@pytest.mark.parametrize("unheld", Unheld)
def test_without_blocks_no_item_can_be_ranked(unheld: Unheld) -> None:
    geometry = Geometry(items=2, dim=2, item_groups=1, slice_width=1, codec=Codec.INT8, unheld=unheld)
    empty = prefix_of(geometry, Blocks(b"", b"", b"", b""))
    assert streaming_scores(empty, 0, np.ones((1, 2), dtype=np.float32)).tolist() == [[-np.inf, -np.inf]]


def test_numbers_that_are_not_finite_are_refused() -> None:
    geometry = Geometry(items=2, dim=1, item_groups=2, slice_width=1, codec=Codec.FP32)
    data = np.array([1.0, np.nan], dtype="<f4").tobytes()
    shelf = prefix_of(geometry, Blocks(b"\0\0\1\0", b"", b"", data))
    assert streaming_scores(shelf, 1, np.ones((1, 1), dtype=np.float32)).tolist() == [[1.0, -np.inf]]
    with pytest.raises(RemoteProtocolError, match="item group 1 are not finite") as refused:
        streaming_scores(shelf, 2, np.ones((1, 1), dtype=np.float32))
    assert refused.value.reason is Reason.CONTENT


@given(st.integers(1, 7), st.integers(1, 7), st.sampled_from(Score))
def test_the_product_form_gives_the_scores_of_the_whole_table(dim: int, width: int, score: Score) -> None:
    geometry = Geometry(
        items=4, dim=dim, item_groups=2, slice_width=min(dim, width), codec=Codec.FP32, score=score
    )
    users, items = (
        np.random.default_rng(rows).normal(size=(rows, dim)).astype(np.float32) for rows in (3, 4)
    )
    held = np.ones((2, geometry.slices), dtype=bool)
    expected = table_scores(users, items, held, geometry)
    np.testing.assert_allclose(users @ product_form(items, geometry).T, expected, rtol=1e-4, atol=1e-4)
