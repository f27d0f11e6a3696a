"""A trained model before it is cut into blocks, and where it is kept: other blocks of it need no training.

A model depends on the data and `model.training` alone; codec, selection and layers come later. Nothing in
this file knows about torch. Letters: U users, I items, d dimensions, G user groups, M item groups, N slices.
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
from wire.output_files import error_text, os_error_text

MAX_BYTES = 512 * 2**20
"""What the models that are kept take together; that of MovieLens-1M takes 116 MiB."""

_ARRAYS = ("user_vectors", "user_groups", "item_weights", "corrections")


def to_state(model: TrainedModel) -> State:
    """Return *model* as what is written; tables that are one array are written once."""
    distinct = {id(table): table for table in model.item_tables}
    places = {key: place for place, key in enumerate(distinct)}
    arrays: Arrays = {name: getattr(model, name) for name in _ARRAYS}
    arrays |= {_table(place): table for place, table in enumerate(distinct.values())}
    return State(
        arrays, {"tables": [places[id(table)] for table in model.item_tables], "report": model.report}
    )


def from_state(state: State) -> TrainedModel:
    """Return the model that *state* is of; every array has its rows end to end."""
    arrays = {name: np.ascontiguousarray(array) for name, array in state.arrays.items()}
    return TrainedModel(
        **{name: arrays[name] for name in _ARRAYS},
        item_tables=tuple(arrays[_table(place)] for place in state.facts["tables"]),
        report=state.facts["report"],
    )


class TrainedModelCache:
    """The models in one folder, by key. Who uses most recently keeps longest."""

    def __init__(self, folder: Path, most_bytes: int = MAX_BYTES) -> None:
        """Use *folder*, which appears when it is needed, for files of *most_bytes* together."""
        self.folder = folder
        self._most_bytes = most_bytes

    def load(self, key: str, notice: Callable[[str], None]) -> TrainedModel | None:
        """Return the model of *key*; None, after a *notice* if something is there, where it is not whole."""
        state = Checkpoints(self.folder, key).load(key, notice)
        if state is None:
            return None
        with suppress(OSError):  # another process may just have dropped it
            os.utime(self._file(key))
        try:
            return from_state(state)
        except (KeyError, IndexError, TypeError) as error:
            notice(f"{self._file(key).name} is not used: it is no trained model: {error!r}")
            return None

    def keep(self, key: str, state: State, notice: Callable[[str], None]) -> None:
        """Write *state* if it is not too large, and drop what was not used for longest.

        That it cannot be written is a *notice* and no more: it only saves time.
        """
        if sum(array.nbytes for array in state.arrays.values()) > self._most_bytes:
            return
        try:
            Checkpoints(self.folder, key).write(key, state)
            self._make_room()
        except (InputError, OSError) as error:
            notice(f"the trained model is not kept: {error_text(error)}")

    @contextmanager
    def alone(self, key: str, notice: Callable[[str], None]) -> Iterator[None]:
        """Let one process after the other train the model of *key*; the lock of a killed one is void.

        Where no lock can be had there is a *notice*, and several may train at once.
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

    def _make_room(self) -> None:
        """Remove files beyond the most bytes, with drafts that a kill has left; not the latest."""
        files = [path for path in self.folder.iterdir() if path.suffix != ".lock"]
        room = self._most_bytes
        for path in sorted(files, key=lambda path: path.stat().st_mtime_ns, reverse=True):
            room -= path.stat().st_size
            if room < 0:
                path.unlink(missing_ok=True)

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.safetensors"


def _table(place: int) -> str:
    return f"table-{place:04d}"
