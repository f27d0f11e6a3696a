"""The cache of block stores: its folder, and the keys by which stores are found."""

import functools
import hashlib
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from wire.source_digest import digest_files, imported_modules
from wire.user_folders import cache_folder


def default_root() -> Path:
    """Return the folder that caches stores: PEELFLEET_STORE, else the user's cache folder."""
    if named := os.environ.get("PEELFLEET_STORE"):
        return Path(named)
    return cache_folder() / "stores"


def store_key(*parts: object) -> str:
    """Return the cache key of a store made from *parts*: a hash of them, the training code and its libraries.

    A model is trained again when one of these changes.
    """
    digest = hashlib.sha256(_code_digest())
    for part in parts:
        digest.update(_encode(part) + b"\0")
    return digest.hexdigest()[:16]


_encode = msgspec.json.Encoder(order="deterministic", enc_hook=repr).encode
"""Encodes settings; values with a unit, which only plug-ins have here, by their text."""

TRAINING_ROOTS = (
    "cloud.training.train", "cloud.blocks.encoding", "cloud.training.retrain", "cloud.blocks.next_version",
)  # fmt: skip
"""The modules that make a store from interactions, and the versions after it."""
TRAINING_CODE = (
    "cloud.settings", "cloud.data", "cloud.blocks", "cloud.training",
    "wire.arrays", "wire.blocks", "wire.codecs", "wire.geometry", "wire.item_lists", "wire.layers",
    "wire.random_streams", "wire.ranking_metrics", "wire.version_delta",
)  # fmt: skip
"""The packages and modules whose code decides the content of a store, as far as `TRAINING_ROOTS` import them.

Readers of data do not count: a store's key has the hash of the interactions instead.
`tests/test_code_digests.py` lists the imported modules that do not count, and fails if there is another.
"""
LIBRARIES = ("torch", "numpy", "constriction", "scipy", "scikit-learn")


@functools.cache
def _code_digest() -> bytes:
    """Return a hash of the code and the libraries that decide the result of training."""
    digest = hashlib.sha256()
    for library in LIBRARIES:
        digest.update(_version_of(library).encode() + b"\0")
    digest.update(digest_files(imported_modules(TRAINING_ROOTS, within=TRAINING_CODE)))
    return digest.digest()


def _version_of(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:  # torch is optional
        return "none"
