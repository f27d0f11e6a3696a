"""``peelfleet recommend``: what a PEE file recommends, as lines of text.

It loads numpy, safetensors and msgspec; the range coder only where blocks are coded.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from devices.recommender.pee_file import Recommendation, read_pee, recommend
from wire.errors import InputError, RemoteProtocolError


def recommended(path: Path, k: int, *, known: bool) -> list[Recommendation]:
    """Return the *k* best items of the PEE file *path*; those that the user has met only if *known*.

    Raises:
        InputError: the file cannot be read, is damaged, or is no PEE file.
    """
    pee = read_pee(path)
    try:
        return recommend(pee, k, known=known)
    except RemoteProtocolError as error:
        raise InputError(f"{path}: damaged, or not a PEE file: {error.detail}") from None


def table(found: Sequence[Recommendation]) -> Iterator[str]:
    """Yield the lines of a table for people; a name that would disturb a terminal is quoted."""
    names = [each.item if each.item.isprintable() else repr(each.item) for each in found]
    width = max(map(len, [*names, "item"]))
    yield f"{'rank':>4}  {'item':<{width}}  {'score':>10}"
    for each, name in zip(found, names, strict=True):
        yield f"{each.rank:>4}  {name:<{width}}  {each.score:>10.4f}"


def as_json(each: Recommendation) -> str:
    """Return a recommendation as a JSON object on one line."""
    return msgspec.json.encode(each._asdict()).decode()
