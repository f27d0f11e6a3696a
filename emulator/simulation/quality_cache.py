"""The cache of evaluated layers: one file for a model version and its users, beside the block stores.

A file is a SHA-256 and a safetensors content. A damaged one is found by it, and evaluated again.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from devices.recommender.quality import QualityTable
from wire.errors import InputError
from wire.input_files import read_at_most
from wire.locks import acquire_lock
from wire.output_files import atomic_file, remove_oldest

FOLDER = "evaluated"
"""Folder of the files, beside the stores."""
MAX_BYTES = 256 * 2**20
"""Largest total size of the files; that of MovieLens-1M has 9 MiB."""
_DIGEST_BYTES = 32
_SUFFIX = ".layers"
_USERS, _GROUPS = "users", "groups"


class QualityCache:
    """Quality tables in one folder, by key. The least recently used are removed first.

    An error of the disk is no error of a run: the table is then evaluated again.
    """

    def __init__(self, root: Path, most_bytes: int = MAX_BYTES) -> None:
        """Use a folder in *root*, the cache of stores, for at most *most_bytes* of files."""
        self.folder = root / FOLDER
        self._most_bytes = most_bytes

    def load(self, key: str) -> QualityTable | None:
        """Return the table of *key*; None if there is none, or a damaged one."""
        try:
            content = read_at_most(self.file(key), self._most_bytes)
            os.utime(self.file(key))
        except (OSError, InputError):
            return None
        digest, tensors = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(tensors).digest() != digest:
            return None
        arrays = safetensors.numpy.load(tensors)
        users, groups = arrays.pop(_USERS), arrays.pop(_GROUPS)
        return QualityTable(
            users, groups, {int(number): arrays[number] for number in sorted(arrays, key=int)}
        )

    def store(self, key: str, table: QualityTable) -> None:
        """Write *table*, unless it is too large, and remove the least recently used ones."""
        arrays: dict[str, NDArray[Any]] = {_USERS: table.users, _GROUPS: table.groups}
        arrays |= {str(number): np.ascontiguousarray(values) for number, values in table.by_group.items()}
        tensors = safetensors.numpy.save(arrays)
        if len(tensors) + _DIGEST_BYTES > self._most_bytes:
            return
        with suppress(OSError, InputError):
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_file(self.file(key), sync=False) as draft:
                draft.write_bytes(hashlib.sha256(tensors).digest() + tensors)
            remove_oldest(self.folder, self._most_bytes)

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Let one process at a time evaluate the table of *key*; without locks, several may."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = acquire_lock(self.folder / f".{key}.lock", lambda: None)
        except OSError:
            yield
            return
        with lock:
            yield

    def file(self, key: str) -> Path:
        """Return the file of *key*."""
        return self.folder / f"{key}{_SUFFIX}"
