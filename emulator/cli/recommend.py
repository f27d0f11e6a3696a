"""``peelfleet recommend``: the recommendations of a PEE file.

It imports numpy, safetensors and msgspec; the range coder only if blocks are coded.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from devices.recommender.pee_file import Recommendation, read_pee
from devices.recommender.pee_file import recommend as rank_items
from wire.errors import InputError, RemoteProtocolError


def recommend(
    pee: Annotated[Path, typer.Argument(help="A PEE file, as `pee` writes it.", show_default=False)],
    k: Annotated[int, typer.Option("-k", min=1, help="The number of items.")] = 10,
    everything: Annotated[bool, typer.Option("--all", help="Include items that the user knows.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object per item.")] = False,
) -> None:
    """Rank all items with a PEE file: numpy and safetensors, no network, no model."""
    try:
        items = rank_items(read_pee(pee), k, known=everything)
    except RemoteProtocolError as error:
        raise InputError(f"{pee}: damaged, or no PEE file: {error.detail}") from None
    for line in map(as_json, items) if json else table(items):
        typer.echo(line)


def table(items: Sequence[Recommendation]) -> Iterator[str]:
    """Yield the lines of a table for people, with titles if there are any.

    A text that could disturb a terminal is quoted.
    """
    names, titles = [_shown(each.item) for each in items], [_shown(each.title) for each in items]
    width = max(map(len, [*names, "item"]))
    yield f"{'rank':>4}  {'item':<{width}}  {'score':>10}" + ("  title" if any(titles) else "")
    for item, name, title in zip(items, names, titles, strict=True):
        yield f"{item.rank:>4}  {name:<{width}}  {item.score:>10.4f}  {title}".rstrip()


def _shown(text: str) -> str:
    return text if text.isprintable() else repr(text)


def as_json(item: Recommendation) -> str:
    """Return a recommendation as a JSON object on one line, without a title if it has none."""
    fields = item._asdict()
    if not item.title:
        del fields["title"]
    return msgspec.json.encode(fields).decode()
