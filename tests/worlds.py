"""Small worlds with known numbers, for tests of any part."""

import numpy as np

from cloud.store import BlockStore, build_store
from wire.geometry import Codec, Geometry


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
    """
    rng = np.random.default_rng(seed)
    table = 100.0 * np.arange(items)[:, None] + np.arange(8)[None, :]
    return build_store(
        Geometry(items=items, dim=8, item_groups=4, slice_width=2, codec=codec),
        item_tables=np.stack([table + group / 1000 for group in range(groups)]).astype(np.float32),
        user_vectors=rng.standard_normal((users, 8)).astype(np.float32),
        user_groups=np.arange(users) % groups,
        block_weights=rng.random((groups, 4, 4)),
        layers=layers,
        report={"seed": seed},
    )
