"""The quality of a model version for the users of a fleet."""

from collections.abc import Sequence

import numpy as np

from cloud.blocks.store import BlockStore
from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.quality import HeldOut, UserQuality, user_qualities


def evaluate(
    store: BlockStore, truth: HeldOut, users: Sequence[int]
) -> tuple[dict[int, BlockPrefix], dict[int, UserQuality]]:
    """Return the full ranking of each user group, and the quality of its layers for *users*."""
    prefixes = {
        number: BlockPrefix(store.geometry, group.layers) for number, group in enumerate(store.groups)
    }
    for number, group in enumerate(store.groups):
        prefixes[number].append(group.blocks)
    numbers = np.array(users, dtype=np.int64)
    return prefixes, user_qualities(prefixes, numbers, store.user_groups, store.user_vectors, truth)
