"""The model of a scenario: trained once, cached by everything that it depends on.

torch is loaded only when there is something to train.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cloud.checkpoint import Checkpoints
from cloud.config import Data, Synthetic
from cloud.datasets import load
from cloud.encoding import encode_model
from cloud.interactions import Interactions
from cloud.store import BlockStore, default_root, load_store, save_store, store_key
from scenarios.schema import Model
from wire.errors import InputError
from wire.geometry import Geometry

if TYPE_CHECKING:
    from cloud.training import Progress, TrainedModel

DATA_VARIABLE = "PEELFLEET_DATA"
"""The folder that holds data sets, for paths that are not found otherwise."""

TrainingProgress = Callable[[str, int, int, str], None]
"""Told the stage, steps done, steps in all, and a note."""


@dataclass(frozen=True)
class PreparedModel:
    """A block store with the interactions behind it."""

    interactions: Interactions
    store: BlockStore
    folder: Path
    """Where the store lies."""
    trained: bool
    """Whether it was trained just now; else it was there."""


def resolve_data(data: Data, given: Path | None) -> Data:
    """Return *data* with the path that its files really have, absolute.

    Args:
        data: what the scenario says.
        given: ``--data``: wins over the scenario's path.

    Raises:
        InputError: nothing is there, or the source has no files.
    """
    if isinstance(data, Synthetic):
        if given is not None:
            raise InputError(f"--data {given}: the scenario's data are synthetic, they have no files")
        return data
    root = os.environ.get(DATA_VARIABLE)
    tried = [given] if given else [Path(data.path), *([Path(root) / data.path] if root else [])]
    for path in tried:
        if path.exists():
            return msgspec.structs.replace(data, path=str(path.resolve()))
    hint = "" if given else f"; give --data FOLDER, or set {DATA_VARIABLE} to the folder that holds it"
    raise InputError(f"{tried[-1]}: no such data{hint}")


def prepare_model(data: Data, model: Model, root: Path | None, progress: TrainingProgress) -> PreparedModel:
    """Return the block store for *data* and *model*, trained now or taken from the cache.

    A training that was killed goes on from where it last left a checkpoint, in a hidden folder beside the
    store, and gives the same store as one that was not.

    Args:
        data: resolved (`resolve_data`).
        model: what to train.
        root: where stores are cached; the default is `cloud.store.default_root`.
        progress: told how training goes.

    Raises:
        InputError: the data or a cached store is damaged.
    """
    interactions = load(data)
    key = store_key(interactions.digest(), model)
    folder = (root or default_root()) / key
    if folder.exists():
        return PreparedModel(interactions, load_store(folder), folder, trained=False)
    check_writable(folder.parent)
    checkpoints = Checkpoints(folder.with_name(f".{key}.training"), key)
    store = _train(interactions, model, progress, checkpoints)
    save_store(store, folder)
    checkpoints.clear()
    return PreparedModel(interactions, store, folder, trained=True)


def check_writable(root: Path) -> None:
    """Find out before training, not after it, whether a store can be written below *root*.

    Raises:
        InputError: it cannot.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
    except OSError as error:
        raise InputError(f"{root}: cannot store a model here: {error.strerror}") from None


def _train(
    interactions: Interactions, model: Model, progress: TrainingProgress, checkpoints: Checkpoints
) -> BlockStore:
    from cloud.training import train  # loads torch

    def told(now: "Progress") -> None:
        progress(now.stage, now.done, now.total, now.note)

    trained = train(interactions, model.training, told, checkpoints)
    return store_of(trained, model, lambda done, total: progress("encode", done, total, "user groups"))


def store_of(trained: "TrainedModel", model: Model, tick: Callable[[int, int], None]) -> BlockStore:
    """Return the blocks of a trained model, cut and stored as *model* says.

    Args:
        trained: tables and weights.
        model: codec, score and layers.
        tick: told after each user group how many of how many are encoded.
    """
    geometry = Geometry(
        items=len(trained.item_tables[0]),
        dim=trained.user_vectors.shape[1],
        item_groups=trained.corrections.shape[1],
        slice_width=model.training.slice_width,
        codec=model.codec,
        planes=model.planes,
        score=model.score,
    )
    return encode_model(trained, geometry, model.layers, tick)
