"""Loading of interactions from any source."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from cloud.data.interactions import Interactions
from cloud.data.readers.lightgcn import read_lightgcn
from cloud.data.readers.movielens import read_movielens
from cloud.data.readers.recbole import read_recbole
from cloud.data.readers.table import read_table
from cloud.data.readers.text import raise_unreadable
from cloud.data.sources import Data, LightGCN, MovieLens, RecBole, Synthetic, Table, has_files
from cloud.data.synthetic import generate
from wire.errors import InputError

READERS: Final[Mapping[type[Data], Callable[[Any, Path], Interactions]]] = {
    Synthetic: lambda data, _: generate(data),
    LightGCN: read_lightgcn,
    RecBole: read_recbole,
    MovieLens: read_movielens,
    Table: read_table,
}
"""The registry of readers, by type of settings: each returns the interactions of a file or folder.

To add a source, write its settings in `cloud.data.sources`, its reader in a new file of `cloud.data.readers`,
and one line here.
"""


def load(data: Data, path: Path | None = None) -> Interactions:
    """Return the interactions of *data* in catalogue order.

    Args:
        data: the source.
        path: its file or folder, instead of the path in *data*.

    Raises:
        InputError: the file is missing, malformed or incomplete, or no interactions are left.
    """
    location = path or Path(data.path) if has_files(data) else Path()  # type: ignore[union-attr]  # has a path
    try:
        return _read(data, location).by_popularity()
    except MemoryError:
        name = str(location) if has_files(data) else "synthetic data"
        raise InputError(f"{name}: there is not enough memory for them") from None
    except (pa.ArrowException, csv.Error) as error:  # an error that no reader expected
        raise_unreadable(location, error)


def _read(data: Any, location: Path) -> Interactions:  # Any: settings of a plug-in, too
    reader = READERS.get(type(data))
    interactions = data.read(location) if reader is None else reader(data, location)
    if not isinstance(interactions, Interactions):
        raise InputError(f"{location}: the reader of data {type(data).__name__} must return Interactions")
    return interactions


def check_measurable(interactions: Interactions) -> None:
    """Check that a user has a test item, without which a run cannot measure quality.

    Raises:
        InputError: no user has one.
    """
    if not len(interactions.test.items):
        counts = interactions.train.counts() + interactions.valid.counts()
        raise InputError(
            f"{interactions.name}: no user has test interactions, so quality cannot be measured: its "
            f"{interactions.n_users:,} users have at most {counts.max(initial=0):,} interactions each; "
            "see data.split"
        )
