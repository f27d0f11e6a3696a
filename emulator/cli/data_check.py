"""The check of a scenario's data for ``peelfleet validate``, if the data are on this machine."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from cloud.data.load import check_measurable, load
from cloud.data.sources import Data, has_files
from emulator.simulation.model_cache import resolve_data
from wire.errors import InputError

MAX_BYTES: Final = 256 * 2**20
"""Larger data are left to `train`: a check should take seconds."""


def check_data(sources: Sequence[Data], given: Path | None) -> Iterator[str]:
    """Check each of *sources* once, and yield lines that describe the data.

    Args:
        sources: the data of the scenario and of the combinations of its sweep.
        given: the value of ``--data``: it replaces the scenario's path, and must exist.

    Raises:
        InputError: the data exist, and a run would refuse them.
    """
    for data in dict.fromkeys(sources):
        if given is not None or has_files(data):
            yield from _check(data, given)


def _check(data: Data, given: Path | None) -> Iterator[str]:
    try:
        source = resolve_data(data, given)
    except InputError as error:
        if given is not None:
            raise
        yield f"data: not checked: {error}"
        return
    size = _size(Path(getattr(source, "path", "")))
    if size > MAX_BYTES:
        yield f"data: not checked: they have {size:,} bytes; `train` reads them"
        return
    interactions = load(source)
    check_measurable(interactions)
    yield f"data: {interactions.name}, {interactions.n_users:,} users, {interactions.n_items:,} items"
    yield from interactions.read.lines() if interactions.read is not None else ()


def _size(path: Path) -> int:
    try:
        files = list(path.rglob("*")) if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files if file.is_file())
    except OSError:
        return 0
