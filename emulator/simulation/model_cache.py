"""The model of a scenario: trained once, cached by everything that it depends on.

Two caches, one folder: stores, by data and model; and trained models, by data and training, so that another
codec, selection or number of layers trains nothing. torch is loaded only when there is something to train.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cloud.blocks.encoding import RankingSettings, encode_model
from cloud.blocks.store import BlockStore, Origin, load_store, save_store
from cloud.blocks.store_cache import default_root, store_key
from cloud.blocks.trained_model import TrainedModel
from cloud.data.interactions import Interactions
from cloud.data.load import check_measurable, load
from cloud.data.sources import Data, Synthetic
from cloud.training.checkpoint import NO_CHECKPOINTS, Checkpoints
from cloud.training.config import Training
from cloud.training.model_cache import TrainedModelCache, from_state, to_state
from scenarios.language.schema import Model
from scenarios.language.types import plain
from wire.errors import InputError, RunError
from wire.geometry import Geometry

if TYPE_CHECKING:
    from cloud.training.train import Progress

TRAINED = "trained"
"""The folder of trained models, among the stores."""

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
    """Whether it was trained just now; else the store was there, or the trained model."""


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
            return msgspec.structs.replace(data, path=os.path.realpath(path))
    hint = "" if given else f"; give --data FOLDER, or set {DATA_VARIABLE} to the folder that holds it"
    raise InputError(f"{tried[-1]}: no such data{hint}")


def prepare_model(
    data: Data, model: Model, root: Path | None, progress: TrainingProgress, *, measured: bool = True
) -> PreparedModel:
    """Return the block store for *data* and *model*, trained now or taken from the cache.

    Where a model of the same data and training is kept, it is only encoded. A training that was killed
    goes on from where it last left a checkpoint, in a hidden folder beside the store, and gives the same
    store as one that was not.

    Args:
        data: resolved (`resolve_data`).
        model: what to train.
        root: where stores are cached; the default is `cloud.blocks.store_cache.default_root`.
        progress: told how training goes.
        measured: whether its quality will be measured, for which somebody must have a test item.

    Raises:
        InputError: the data or a cached store is damaged, or nobody has a test item.
        RunError: the model cannot be stored.
    """
    interactions = load(data)
    if measured:
        check_measurable(interactions)
    origin = store_origin(interactions, model)
    folder = (root or default_root()) / origin.key
    if folder.exists():
        return PreparedModel(interactions, load_store(folder, origin), folder, trained=False)
    check_writable(folder.parent)

    def noticed(words: str) -> None:
        progress("pretrain", 0, 1, words)

    checkpoints = Checkpoints(folder.with_name(f".{origin.key}.training"), origin.key, notice=noticed)
    trained, new = train_once(interactions, model.training, folder.parent, progress, checkpoints)
    store = encode_store(trained, model, lambda done, total: progress("encode", done, total, "user groups"))
    try:
        save_store(store, folder, origin)
    except OSError as error:
        raise RunError(f"{folder}: the model cannot be stored: {error.strerror}") from None
    checkpoints.clear()
    return PreparedModel(interactions, store, folder, trained=new)


def store_origin(interactions: Interactions, model: Model) -> Origin:
    """Return what a store of *interactions* and *model* says of where it comes from."""
    digest, read = interactions.digest(), interactions.read
    data: dict[str, object] = {
        "name": interactions.name,
        "digest": digest,
        "users": interactions.n_users,
        "items": interactions.n_items,
        "train": len(interactions.train.items),
        "valid": len(interactions.valid.items),
        "test": len(interactions.test.items),
    }
    if read is not None:
        data |= {"rows": read.rows, "dropped": dict(read.dropped), "notes": list(read.notes)}
    settings = msgspec.json.decode(msgspec.json.encode(plain(model)), type=dict[str, object])
    return Origin(key=store_key(digest, model), data=data, settings=settings)


def train_once(
    interactions: Interactions,
    training: Training,
    root: Path | None,
    progress: TrainingProgress,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
) -> tuple[TrainedModel, bool]:
    """Return the trained model, and whether it was trained just now; else it was kept.

    Of several processes that ask for the same model one trains it, and the others wait.

    Args:
        interactions: in catalogue order.
        training: the stages and their settings.
        root: below which trained models are kept; the default is `cloud.blocks.store_cache.default_root`.
        progress: told how training goes.
        checkpoints: where an earlier process may have left off.
    """
    cache = TrainedModelCache((root or default_root()) / TRAINED)
    key = store_key(TRAINED, interactions.digest(), training)

    def noticed(words: str) -> None:
        progress("pretrain", 0, 1, words)

    with cache.lock(key, noticed):
        found = cache.load(key, noticed)
        if found is not None:
            return found, False
        state = to_state(_train(interactions, training, progress, checkpoints))
        cache.store(key, state, noticed)
    return from_state(state), True


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
        raise InputError(
            f"{root}: cannot store a model here: {error.strerror}; name another folder with "
            "--store or PEELFLEET_STORE"
        ) from None


def _train(
    interactions: Interactions, training: Training, progress: TrainingProgress, checkpoints: Checkpoints
) -> TrainedModel:
    from cloud.training.train import train  # loads torch

    def told(now: "Progress") -> None:
        progress(now.stage, now.done, now.total, now.note)

    return train(interactions, training, told, checkpoints)


def encode_store(trained: TrainedModel, model: Model, tick: Callable[[int, int], None]) -> BlockStore:
    """Return the blocks of a trained model, cut and stored as *model* says.

    Args:
        trained: tables and weights.
        model: codec, score, selection and layers.
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
    return encode_model(
        trained, geometry, RankingSettings(model.layers, model.selection, model.training.seed), tick
    )
