"""The model of a scenario: it is trained once, and cached by everything that it depends on.

The folder holds two caches: block stores, by data and model; and trained models, by data and training. With
another codec, selection or number of layers nothing is trained again. torch is loaded only for training.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import UNSET

import scenarios
from cloud.blocks.encoding import RankingSettings, encode_model
from cloud.blocks.item_order import growing_ends
from cloud.blocks.store import BlockStore, Origin, load_store, read_origin, save_store
from cloud.blocks.store_cache import default_root, store_key
from cloud.blocks.trained_model import TrainedModel
from cloud.data.interactions import Interactions
from cloud.data.load import check_measurable, load
from cloud.data.sources import Data, Synthetic, has_files
from cloud.training.checkpoint import NO_CHECKPOINTS, Checkpoints
from cloud.training.config import Training
from cloud.training.model_cache import TrainedModelCache, from_state, to_state
from scenarios.language.plugin_types import model_plugins, training_plugins
from scenarios.language.schema import Model
from scenarios.language.types import plain
from wire.errors import InputError, RunError
from wire.extras import is_installed, needs_extra
from wire.geometry import Geometry, ItemOrder, Unheld
from wire.input_files import open_regular
from wire.output_files import os_error_text
from wire.text import printable

if TYPE_CHECKING:
    from cloud.training.train import GlobalModel, Progress

TRAINED = "trained"
"""Folder of the trained models, beside the stores."""

TRAIN_MODULES: Final = ("torch", "sklearn", "threadpoolctl")
"""The modules of the extra `train`."""

SHIPPED: Final = Path(scenarios.__file__).parent / "stores"
"""Folder of the stores that come with peelfleet: `make shipped-store` writes it."""

DATA_VARIABLE = "PEELFLEET_DATA"
"""Environment variable with the folder of data sets, for relative paths that do not exist."""

TrainingProgress = Callable[[str, int, int, str], None]
"""Receives the stage, the steps done, the number of steps, and a note."""


class ModelSource(StrEnum):
    """The source of a model, in words for the user."""

    TRAINED = "trained"
    CACHE = "from the cache"
    NAMED = "from model.store"
    SHIPPED = "comes with peelfleet"


@dataclass(frozen=True)
class PreparedModel:
    """A block store with the interactions behind it."""

    interactions: Interactions
    store: BlockStore
    folder: Path
    """Folder of the store."""
    source: ModelSource
    cache: Path
    """Folder that caches what is computed from it; a store that is named may lie where nobody can write."""

    @property
    def trained(self) -> bool:
        """True if it was trained now."""
        return self.source is ModelSource.TRAINED


def resolve_data(data: Data, given: Path | None) -> Data:
    """Return *data* with the absolute path of its files.

    Args:
        data: as in the scenario.
        given: value of ``--data``; it replaces the scenario's path.

    Raises:
        InputError: the path does not exist, or the source has no files.
    """
    if isinstance(data, Synthetic) or not has_files(data):
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

    A cached model of the same data and training is only encoded. A training that was killed continues from
    its last checkpoint, in a hidden folder beside the store, and gives the same store as one that was not.

    Args:
        data: resolved (`resolve_data`).
        model: what to train.
        root: where stores are cached; the default is `cloud.blocks.store_cache.default_root`.
        progress: receives the progress of training.
        measured: True if quality will be measured; some user must have a test item then.

    Raises:
        InputError: the data or a cached store is damaged, or no user has a test item.
        RunError: the model cannot be stored.
    """
    interactions = load(data)
    if measured:
        check_measurable(interactions)
    if model.store is not None:
        folder = Path(model.store)
        cache = root or _default_cache(folder.parent)
        return PreparedModel(interactions, load_named(folder, interactions), folder, ModelSource.NAMED, cache)
    cache = root or default_root()
    origin = store_origin(interactions, model)
    folder = cache / origin.key
    if folder.exists():
        return PreparedModel(interactions, load_store(folder, origin), folder, ModelSource.CACHE, cache)
    if not can_train() and (shipped := find_shipped(origin)) is not None:
        return PreparedModel(interactions, load_store(shipped), shipped, ModelSource.SHIPPED, cache)
    check_writable(folder.parent)

    def notice(text: str) -> None:
        progress("pretrain", 0, 1, text)

    checkpoints = Checkpoints(folder.with_name(f".{origin.key}.training"), origin.key, notice=notice)
    trained, new = train_once(interactions, model.training, folder.parent, progress, checkpoints)
    store = encode_store(trained, model, lambda done, total: progress("encode", done, total, "user groups"))
    try:
        save_store(store, folder, origin)
    except OSError as error:
        raise RunError(f"{folder}: the model cannot be stored: {error.strerror}") from None
    checkpoints.clear()
    return PreparedModel(
        interactions, store, folder, ModelSource.TRAINED if new else ModelSource.CACHE, cache
    )


def _default_cache(without_home: Path) -> Path:
    """Return the user's cache of stores; *without_home* for a user who has no home folder."""
    try:
        return default_root()
    except InputError:
        return without_home


def load_named(folder: Path, interactions: Interactions) -> BlockStore:
    """Return the store that a scenario names.

    Args:
        folder: of the store.
        interactions: of the scenario; the store must have been trained with the same.

    Raises:
        InputError: there is no store, it is damaged, or it was trained with other data.
    """
    origin = read_origin(folder)
    if origin is None:
        raise InputError(f"{folder}: this block store does not say with which data it was trained")
    if origin.data.get("digest") != interactions.digest():
        raise InputError(
            f"model.store(={str(folder)!r}) was trained with other data "
            f"({printable(origin.data.get('name'), 40)}), not with the scenario's {interactions.name}"
        )
    return load_store(folder)


def can_train() -> bool:
    """Tell if the modules that train are installed, without importing them."""
    return all(is_installed(module) for module in TRAIN_MODULES)


def find_shipped(origin: Origin) -> Path | None:
    """Return the folder of the store with the data and settings of *origin* that comes with peelfleet.

    Its code and libraries may be others, so its figures may differ a little from those of a model trained
    here. The version of the model tells them apart.
    """
    for folder in sorted(path.parent for path in SHIPPED.glob("*/manifest.json")):
        shipped = read_origin(folder)
        if shipped is not None and (shipped.data, shipped.settings) == (origin.data, origin.settings):
            return folder
    return None


def store_origin(interactions: Interactions, model: Model) -> Origin:
    """Return the origin of a store of *interactions* and *model*: its key, data and settings."""
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
    plugins = model_plugins(model)
    settings = msgspec.json.decode(msgspec.json.encode(plain(model)), type=dict[str, object])
    if plugins:
        settings["plugins"] = [msgspec.to_builtins(use) for use in plugins]
    return Origin(key=model_key(digest, model), data=data, settings=settings)


def model_key(digest: str, model: Model, *versions: str) -> str:
    """Return the key of the store of *model* and of the interactions with that *digest*.

    Args:
        digest: of the interactions.
        model: its settings.
        versions: version of the store that the model names, if it names one.
    """
    return store_key(digest, model, *versions, *model_sources(model))


def model_sources(model: Model) -> Iterator[str]:
    """Yield what decides *model* beside its settings: files of vectors, and its plug-ins.

    Raises:
        InputError: a file cannot be read.
    """
    yield from _vectors_sha256(model.training)
    yield from (use.identity for use in model_plugins(model))


def training_sources(training: Training) -> Iterator[str]:
    """Yield what decides a trained model beside its settings: files of vectors, its backbone if of a plug-in.

    A changed file, or another version of the plug-in, is another model.

    Raises:
        InputError: a file cannot be read.
    """
    yield from _vectors_sha256(training)
    yield from (use.identity for use in training_plugins(training))


def _vectors_sha256(training: Training) -> Iterator[str]:
    for name in training.file.names:
        try:
            with open_regular(Path(name), "a file of vectors") as file:
                yield hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        except OSError as error:
            raise InputError(f"{name}: cannot be read: {os_error_text(error)}") from None


def train_once(
    interactions: Interactions,
    training: Training,
    root: Path | None,
    progress: TrainingProgress,
    checkpoints: Checkpoints = NO_CHECKPOINTS,
    pretrain: "Callable[[], GlobalModel] | None" = None,
) -> tuple[TrainedModel, bool]:
    """Return the trained model, and True if it was trained now, False if it was in the cache.

    If several processes need the same model, one trains it, and the others wait.

    Args:
        interactions: in catalogue order.
        training: the stages and their settings.
        root: folder of the caches; the default is `cloud.blocks.store_cache.default_root`.
        progress: receives the progress of training.
        checkpoints: checkpoints of an earlier process, if there are any.
        pretrain: returns the global tables, if the caller has them or will need them, too.
    """
    cache = TrainedModelCache((root or default_root()) / TRAINED)
    key = store_key(TRAINED, interactions.digest(), training, *training_sources(training))

    def notice(text: str) -> None:
        progress("pretrain", 0, 1, text)

    with cache.lock(key, notice):
        cached = cache.load(key, notice)
        if cached is not None:
            return cached, False
        state = to_state(_train(interactions, training, progress, checkpoints, pretrain))
        cache.store(key, state, notice)
    return from_state(state), True


def check_writable(root: Path) -> None:
    """Check before training, not after it, that a store can be written below *root*.

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
    interactions: Interactions,
    training: Training,
    progress: TrainingProgress,
    checkpoints: Checkpoints,
    pretrain: "Callable[[], GlobalModel] | None",
) -> TrainedModel:
    with needs_extra("train", TRAIN_MODULES, "training a model"):
        from cloud.training.train import personalize, train  # loads torch

    def on_progress(now: "Progress") -> None:
        progress(now.stage, now.done, now.total, now.note)

    if pretrain is not None:
        return personalize(pretrain(), interactions, training, on_progress)
    return train(interactions, training, on_progress, checkpoints)


def encode_store(trained: TrainedModel, model: Model, tick: Callable[[int, int], None]) -> BlockStore:
    """Return the block store of a trained model, with the settings of *model*.

    Args:
        trained: tables and weights.
        model: codec, score, selection and layers.
        tick: receives the number of encoded user groups, and the number of all.
    """
    items, item_groups = len(trained.item_tables[0]), trained.corrections.shape[1]
    geometry = Geometry(
        items=items,
        dim=trained.user_vectors.shape[1],
        item_groups=item_groups,
        slice_width=model.training.slice_width,
        codec=model.codec,
        planes=model.planes,
        score=model.score,
        unheld=UNSET if model.floor else Unheld.ZERO,
        order=ItemOrder.OWN if model.own_order else UNSET,
        item_group_ends=growing_ends(items, item_groups) if model.own_order else UNSET,
    )
    return encode_model(
        trained, geometry, RankingSettings(model.layers, model.selection, model.training.seed), tick
    )
