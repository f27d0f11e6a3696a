"""``peelfleet validate``: the data of a scenario, looked at where they are there already."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from cloud.data.datasets import check_measurable, load
from cloud.data.sources import Data, Synthetic
from emulator.simulation.model_cache import resolve_data
from wire.errors import InputError

MOST_BYTES = 256 * 2**20
"""Larger data are left to `train`: a check is to take seconds."""


def checked_data(sources: Sequence[Data], given: Path | None) -> Iterator[str]:
    """Yield what was seen of *sources*, each once, in lines.

    Args:
        sources: what the scenario says, and the combinations of its sweep.
        given: ``--data``: wins over the scenario's path, and must be there.

    Raises:
        InputError: they are there, and a run would refuse them.
    """
    for data in dict.fromkeys(sources):
        if given is not None or not isinstance(data, Synthetic):
            yield from _checked(data, given)


def _checked(data: Data, given: Path | None) -> Iterator[str]:
    try:
        found = resolve_data(data, given)
    except InputError as error:
        if given is not None:
            raise
        yield f"data: not looked at: {error}"
        return
    size = _size(Path(getattr(found, "path", "")))
    if size > MOST_BYTES:
        yield f"data: not looked at: they have {size:,} bytes; `train` reads them"
        return
    interactions = load(found)
    check_measurable(interactions)
    yield f"data: {interactions.name}, {interactions.n_users:,} users, {interactions.n_items:,} items"
    yield from interactions.read.lines() if interactions.read is not None else ()


def _size(path: Path) -> int:
    try:
        files = list(path.rglob("*")) if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files if file.is_file())
    except OSError:
        return 0
