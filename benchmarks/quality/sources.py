"""Data of the comparison, and the training of the model."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from cloud.data.interactions import Interactions
from cloud.data.load import load
from cloud.data.sources import ByCut, ByRatio, Data, LightGCN, MovieLens, RecBole
from emulator.simulation.model_cache import DATA_VARIABLE, resolve_data
from scenarios.language import load as scenario_files
from scenarios.language.schema import Model
from wire.errors import InputError

DEFAULT_DATA = ("ml-1m", "ml-100k")


@dataclass(frozen=True, eq=False)
class Source:
    """Interactions, the model to train on them, and the folder they come from, if any."""

    interactions: Interactions
    model: Model
    folder: Path | None
    cut: bool = False
    """True if one moment for all users is where the test begins, and not a random part of each user's."""

    @property
    def title(self) -> str:
        """The name of the data, and how they are split."""
        return f"{self.interactions.name}, one cut in time" if self.cut else self.interactions.name


def open_source(data: Path | None, scenario: Path | None) -> Source:
    """Return the data of a folder or a scenario; MovieLens-1M if neither is given.

    Raises:
        InputError: the data are missing or damaged.
    """
    if scenario is not None:
        read = scenario_files.load(scenario)
        return _source(resolve_data(read.data, data), read.model)
    return _source(detect_source(data or default_folder()), Model())


def open_sources(data: Sequence[Path] | None, scenario: Path | None, *, cut: bool) -> list[Source]:
    """Return the data of folders or a scenario; MovieLens-1M and -100K if none is given.

    Args:
        data: folders.
        scenario: its data and its model.
        cut: true for one cut in time, beside the split, of each folder; the default has it where it can.

    Raises:
        InputError: the data are missing or damaged, or without times that are to be cut.
    """
    if scenario is not None:
        return [open_source(data[0] if data else None, scenario)]
    folders = data or [default_folder(name) for name in DEFAULT_DATA]
    timed = [
        folder for folder in folders if cut or (not data and not isinstance(detect_source(folder), LightGCN))
    ]
    return [open_source(folder, None) for folder in folders] + [_cut_in_time(folder) for folder in timed]


def _cut_in_time(folder: Path) -> Source:
    found = detect_source(folder)
    if isinstance(found, LightGCN):
        raise InputError(f"{folder}: has no times to cut: leave out --cut")
    return replace(_source(msgspec.structs.replace(found, split=ByCut()), Model()), cut=True)


def default_folder(name: str = DEFAULT_DATA[0]) -> Path:
    """Return the folder of a data set below PEELFLEET_DATA, else beside the checkout."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    return Path(os.environ.get(DATA_VARIABLE, beside)) / name


def detect_source(folder: Path) -> LightGCN | RecBole | MovieLens:
    """Return the source of the data in *folder*, by its files; tables are split 7:1:2 at random.

    Raises:
        InputError: no reader accepts it.
    """
    if (folder / "train.txt").is_file():
        return LightGCN(path=str(folder))
    if any(folder.glob("*.inter")):
        return RecBole(path=str(folder), split=ByRatio())
    if any((folder / name).is_file() for name in ("ratings.dat", "ratings.csv", "u.data")):
        return MovieLens(path=str(folder), split=ByRatio())
    raise InputError(f"{folder}: expected train.txt, a .inter file, ratings.dat, ratings.csv or u.data")


def with_threads(source: Source, threads: int) -> Source:
    """Return *source*, to be trained with so many threads."""
    training = msgspec.structs.replace(source.model.training, threads=threads)
    return replace(source, model=msgspec.structs.replace(source.model, training=training))


def _source(data: Data, model: Model) -> Source:
    path = Path(path) if (path := getattr(data, "path", None)) else None
    return Source(load(data), model, path if path is None or path.is_dir() else path.parent)
