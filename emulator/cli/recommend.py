"""``peelfleet recommend``: the recommendations of a PEE file.

It imports numpy, safetensors and msgspec; the range coder only if blocks are coded.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from devices.recommender.interactions_file import read_interactions
from devices.recommender.learning import LearningSettings, learn_pee
from devices.recommender.pee_file import Pee, Recommendation, read_pee
from devices.recommender.pee_file import recommend as rank_items
from emulator.cli.options import path_option
from wire.errors import InputError, RemoteProtocolError
from wire.text import printable


def recommend(
    pee: Annotated[Path, typer.Argument(help="A PEE file, as `pee` writes it.", show_default=False)],
    k: Annotated[int, typer.Option("-k", min=1, help="The number of items.")] = 10,
    everything: Annotated[bool, typer.Option("--all", help="Include items that the user knows.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object per item.")] = False,
    interactions: Annotated[
        Path | None, path_option("Items that the user has met since: learn from them first.")
    ] = None,
) -> None:
    """Rank all items with a PEE file: numpy and safetensors, no network, no model."""
    held = read_pee(pee)
    try:
        if interactions is not None:
            held = learn_pee(held, met_items(held, interactions), LearningSettings())
        items = rank_items(held, k, known=everything)
    except RemoteProtocolError as error:
        raise InputError(f"{pee}: damaged, or no PEE file: {error.detail}") from None
    for line in map(as_json, items) if json else table(items):
        typer.echo(line)


def met_items(pee: Pee, path: Path) -> list[int]:
    """Return the numbers of the items in the file *path*, the latest last.

    Items that the catalogue lacks, such as new ones, are left out, with a line that says so.

    Raises:
        InputError: the file is not valid, or the catalogue has none of its items.
    """
    names = read_interactions(path)
    numbers = [(name, pee.item_names.number(name)) for name in names]
    missing = [name for name, number in numbers if number is None]
    some = f"such as {printable(missing[0], 40)!r}" if missing else ""
    if missing and len(missing) == len(names):
        raise InputError(f"{printable(path)}: none of its {len(names)} items is in the catalogue, {some}")
    if missing:
        typer.echo(
            f"{printable(path)}: {len(missing)} of {len(names)} items are not in the catalogue, {some}: "
            "left out", err=True,
        )  # fmt: skip
    return [number for _, number in numbers if number is not None]


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
