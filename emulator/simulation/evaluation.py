"""The quality of a model version for the users of a fleet, evaluated once and kept beside the block store."""

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cloud.blocks.store import BlockStore
from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.quality import HeldOut, QualityTable, UserQuality, evaluate_users
from emulator.simulation.quality_cache import QualityCache
from scenarios.language.plugin_types import codec_plugins
from wire.ranking_metrics import IntArray
from wire.source_digest import digest_files, imported_modules

EVALUATED_SCORES = 4_000_000
"""Scores of all measurable users at one layer up to which all of them are evaluated, whatever the fleet: most
of the time goes into decoding then, and all fleets of the model share one file."""
EVALUATION_ROOTS = ("devices.recommender.quality",)
EVALUATION_CODE = (
    "devices.protocol.block_prefix", "devices.recommender", "wire.arrays", "wire.blocks", "wire.codecs",
    "wire.geometry", "wire.layers", "wire.ranking_metrics",
)  # fmt: skip
"""The packages and modules whose code decides a quality, as far as `EVALUATION_ROOTS` import them."""


def full_prefixes(store: BlockStore) -> dict[int, BlockPrefix]:
    """Return the complete ranking of each user group."""
    prefixes = {}
    for number, group in enumerate(store.groups):
        prefixes[number] = BlockPrefix(store.geometry, group.layers)
        prefixes[number].append(group.blocks)
    return prefixes


def evaluate(store: BlockStore, truth: HeldOut, users: Sequence[int]) -> QualityTable:
    """Return the quality of all layers of *store* for *users*."""
    numbers = np.array(users, dtype=np.int64)
    return evaluate_users(full_prefixes(store), numbers, store.user_groups, store.user_vectors, truth)


def look_up_or_evaluate(store: BlockStore, truth: HeldOut, users: Sequence[int], root: Path) -> QualityTable:
    """Return the quality of all layers for *users*, and perhaps others, from the cache if it has it.

    Args:
        store: of the model version.
        truth: of all users.
        users: of the fleet.
        root: the folder that caches stores.
    """
    numbers = _evaluated_users(store, truth, users)
    cache = QualityCache(root)
    key = _key(store, truth, numbers)
    with cache.lock(key):
        table = cache.load(key)
        if table is None:
            table = evaluate(store, truth, numbers.tolist())
            cache.store(key, table)
    return table


def qualities_by_user(store: BlockStore, table: QualityTable) -> dict[int, UserQuality]:
    """Return the quality of each user of *table* by user number."""
    return table.by_user({number: group.layers for number, group in enumerate(store.groups)})


def _evaluated_users(store: BlockStore, truth: HeldOut, users: Sequence[int]) -> IntArray:
    """Return the numbers of all users with test items, if they are few, else those of *users*."""
    measurable = np.flatnonzero(truth.test.counts() > 0)
    few = len(measurable) * store.geometry.items <= EVALUATED_SCORES
    return np.unique(np.concatenate([np.array(users, dtype=np.int64), measurable if few else measurable[:0]]))


def _key(store: BlockStore, truth: HeldOut, users: IntArray) -> str:
    """Return the key of a table: a hash of the model version, the users, their items and the code."""
    plugins = "\0".join(use.identity for use in codec_plugins(store.geometry.codec))
    digest = hashlib.sha256(store.version.encode() + _code_digest() + plugins.encode())
    for lists in (truth.known.take(users), truth.test.take(users)):
        for array in (lists.starts, lists.items):
            digest.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
    digest.update(users.astype("<i8").tobytes())
    return digest.hexdigest()[:32]


@functools.cache
def _code_digest() -> bytes:
    """Return a hash of the code that decides a quality, and of numpy's version."""
    code = digest_files(imported_modules(EVALUATION_ROOTS, within=EVALUATION_CODE))
    return hashlib.sha256(code + np.__version__.encode()).digest()
