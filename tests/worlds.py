"""Small worlds with known numbers, for tests of any part."""

import msgspec
import numpy as np

from cloud.blocks.embedded_table import scale_for_embedding
from cloud.blocks.encoding import encode_group
from cloud.blocks.group_table import GroupTable
from cloud.blocks.next_version import NextNumbers, encode_next_version
from cloud.blocks.store import BlockStore, build_store
from wire.codecs import Codec
from wire.geometry import Geometry, ItemOrder, Unheld


def a_store(
    *,
    codec: Codec = Codec.INT8,
    users: int = 6,
    groups: int = 2,
    items: int = 12,
    layers: int = 64,
    seed: int = 1,
) -> BlockStore:
    """Return a store of *groups* user groups with 4 item groups x 4 slices of 2 dimensions.

    The number of group g's table at (item, dimension) is 100 item + dimension, plus a thousandth of g.
    What the blocks are worth is random; an embedded codec has 6 planes.
    """
    rng = np.random.default_rng(seed)
    geometry = a_geometry(codec, items=items)
    table = 100.0 * np.arange(items)[:, None] + np.arange(8)[None, :]
    tables = [
        GroupTable(
            (table + group / 1000).astype(np.float32),
            np.ones(8),
            np.ones(items, dtype=np.float32),
            rng.random((4, 4)).astype(np.float32),
        )
        for group in range(groups)
    ]
    return build_store(
        geometry,
        groups=[encode_group(geometry, each, layers)[0] for each in tables],
        user_vectors=rng.standard_normal((users, 8)).astype(np.float32),
        user_groups=np.arange(users) % groups,
        report={"seed": seed},
    )


def a_lineage(
    *,
    codec: Codec = Codec.CODED,
    versions: int = 2,
    items: int = 60,
    layers: int = 8,
    drift: float = 0.01,
    own_order: bool = False,
) -> tuple[BlockStore, ...]:
    """Return a store and the versions that follow it: each number moves a little from one to the next.

    With *own_order* item groups are not ranges of the catalogue, but of the even items, then of the odd ones.
    """
    rng, geometry = np.random.default_rng(7), a_geometry(codec, items=items)
    if own_order:
        geometry = msgspec.structs.replace(geometry, unheld=Unheld.ZERO, order=ItemOrder.OWN)
    wanted = (np.arange(items) % 2 == 0).astype(np.float32) + 1
    tables = [(rng.laplace(size=(items, 8)) / 10).clip(-0.9, 0.9) for _ in range(2)]
    vectors = rng.standard_normal((6, 8))
    groups = [
        GroupTable(table.astype(np.float32), np.ones(8), wanted if own_order else np.ones_like(wanted))
        for table in tables
    ]
    scales = [scale_for_embedding(group)[0] / np.where(group.table == 0, 1, group.table) for group in groups]
    stores = [
        build_store(
            geometry,
            groups=[encode_group(geometry, group, layers)[0] for group in groups],
            user_vectors=vectors.astype(np.float32),
            user_groups=np.arange(6) % 2,
            report={},
        )
    ]
    for _ in range(versions - 1):
        tables = [table + drift * rng.standard_normal(table.shape) for table in tables]
        vectors = vectors + (np.arange(6) % 3 == 0)[:, None] * rng.standard_normal(vectors.shape)
        scaled = [(table * scale).astype(np.float32) for table, scale in zip(tables, scales, strict=True)]
        numbers = NextNumbers(scaled, vectors.astype(np.float32), np.arange(6) % 2)
        stores.append(encode_next_version(stores[-1], numbers, 0.25, {}))
    return tuple(stores)


def a_geometry(codec: Codec, *, items: int = 12) -> Geometry:
    """Return the geometry of `a_store`."""
    planes = 6 if codec.embedded else 1
    return Geometry(items=items, dim=8, item_groups=4, slice_width=2, codec=codec, planes=planes)
