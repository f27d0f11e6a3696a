"""Small worlds with known numbers, for tests of any part."""

import numpy as np

from cloud.blocks.encoding import encode_group
from cloud.blocks.group_table import GroupTable
from cloud.blocks.store import BlockStore, build_store
from wire.codecs import Codec
from wire.geometry import Geometry


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


def a_geometry(codec: Codec, *, items: int = 12) -> Geometry:
    """Return the geometry of `a_store`."""
    planes = 6 if codec.embedded else 1
    return Geometry(items=items, dim=8, item_groups=4, slice_width=2, codec=codec, planes=planes)
