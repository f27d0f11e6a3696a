"""The cache of trained models: a run with another codec, selection or number of layers trains nothing.

A model depends only on the data and `model.training`. This file does not import torch. Letters: U users, I
items, d dimensions, G user groups, M item groups, N slices.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from cloud.blocks.trained_model import TrainedModel
from cloud.training.checkpoint import Arrays, Checkpoints, State
from wire.errors import InputError
from wire.locks import acquire_lock
from wire.output_files import error_text, os_error_text, remove_oldest

MAX_BYTES = 512 * 2**20
"""Largest total size of the cached models; the model of MovieLens-1M has 116 MiB."""

_ARRAYS = ("user_vectors", "user_groups", "second_moments", "item_weights", "corrections")


def to_state(model: TrainedModel) -> State:
    """Return *model* as a state to write; tables that are one array are written once."""
    distinct = {id(table): table for table in model.item_tables}
    index_of = {key: index for index, key in enumerate(distinct)}
    arrays: Arrays = {name: getattr(model, name) for name in _ARRAYS}
    arrays |= {_table(index): table for index, table in enumerate(distinct.values())}
    return State(
        arrays, {"tables": [index_of[id(table)] for table in model.item_tables], "report": model.report}
    )


def from_state(state: State) -> TrainedModel:
    """Return the model of *state*, with contiguous arrays."""
    arrays = {name: np.ascontiguousarray(array) for name, array in state.arrays.items()}
    return TrainedModel(
        **{name: arrays[name] for name in _ARRAYS},
        item_tables=tuple(arrays[_table(index)] for index in state.facts["tables"]),
        report=state.facts["report"],
    )


class StateCache:
    """The states in one folder, by key. The least recently used are removed first."""

    content = "the result"
    """Name of what is cached, for people."""

    def __init__(self, folder: Path, most_bytes: int = MAX_BYTES) -> None:
        """Use *folder*, which is created when needed, for at most *most_bytes* of files."""
        self.folder = folder
        self._most_bytes = most_bytes

    def load_state(self, key: str, notice: Callable[[str], None]) -> State | None:
        """Return the state of *key*; None, after a *notice* if a file exists, if there is no complete one."""
        state = Checkpoints(self.folder, key).load(key, notice)
        if state is not None:
            with suppress(OSError):  # another process may just have removed it
                os.utime(self._file(key))
        return state

    def store(self, key: str, state: State, notice: Callable[[str], None]) -> None:
        """Write *state* unless it is too large, and remove the least recently used states.

        If it cannot be written there is a *notice* only: the cache just saves time.
        """
        if sum(array.nbytes for array in state.arrays.values()) > self._most_bytes:
            return
        try:
            Checkpoints(self.folder, key).write(key, state)
            remove_oldest(self.folder, self._most_bytes)
        except (InputError, OSError) as error:
            notice(f"{self.content} is not cached: {error_text(error)}")

    @contextmanager
    def lock(self, key: str, notice: Callable[[str], None]) -> Iterator[None]:
        """Let one process at a time make the state of *key*; a lock ends with its process.

        If no lock can be taken there is a *notice*, and several processes may make it at once.
        """
        path = self.folder / f".{key}.lock"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = acquire_lock(path, lambda: notice("another process trains this model; waiting for it"))
        except OSError as error:
            notice(f"{path}: cannot be locked: {os_error_text(error)}")
            yield
            return
        with lock:
            yield

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


class TrainedModelCache(StateCache):
    """The trained models in one folder, by key."""

    content = "the trained model"

    def load(self, key: str, notice: Callable[[str], None]) -> TrainedModel | None:
        """Return the model of *key*; None, after a *notice* if a file exists, if there is no complete one."""
        state = self.load_state(key, notice)
        if state is None:
            return None
        try:
            return from_state(state)
        except (KeyError, IndexError, TypeError) as error:
            notice(f"{self._file(key).name} is not used: it is no trained model: {error!r}")
            return None


def _table(index: int) -> str:
    return f"table-{index:04d}"
