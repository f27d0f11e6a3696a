"""The catalogue of a model version: a file with the names and titles of its items, by their numbers.

The first line says which model version it is of, each further line is an item, as JSON. Numbers of items
change from version to version, so names of another version are never shown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from devices.recommender.pee_file import ItemNames
from wire.errors import InputError
from wire.geometry import MAX_ITEMS
from wire.input_files import read_at_most
from wire.messages import ModelVersion
from wire.text import printable

FORMAT: Final = "peelfleet-catalogue-1"
MAX_CATALOGUE_BYTES: Final = 2**30


class Heading(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a catalogue."""

    format: Literal["peelfleet-catalogue-1"] = FORMAT
    model: ModelVersion
    """The model version whose item numbers the lines stand for."""
    items: Annotated[int, msgspec.Meta(ge=1, le=MAX_ITEMS)]
    """The number of lines that follow."""


class NamedItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of a catalogue."""

    id: str
    """The item's id in the data that the model was trained with."""
    title: str = ""
    """Its title for people; empty if it has none."""


@dataclass(frozen=True)
class ItemCatalogue:
    """The names of the items of one model version."""

    model: str
    names: ItemNames
    titles: ItemNames | None
    """None if no item has a title."""


def encode_catalogue(model: str, ids: Sequence[str], titles: Sequence[str]) -> bytes:
    """Return the content of a catalogue file."""
    lines: list[msgspec.Struct] = [Heading(model=model, items=len(ids))]
    lines += [NamedItem(id=name, title=title) for name, title in zip(ids, titles, strict=True)]
    return msgspec.json.Encoder().encode_lines(lines)


def read_catalogue(path: Path) -> ItemCatalogue:
    """Return the catalogue in the file *path*.

    Raises:
        InputError: it cannot be read, or is no catalogue.
    """
    try:
        first, _, rest = read_at_most(path, MAX_CATALOGUE_BYTES, "a catalogue").partition(b"\n")
        heading = msgspec.json.decode(first, type=Heading)
        items = msgspec.json.Decoder(NamedItem).decode_lines(rest)
    except OSError as error:
        raise InputError(f"{printable(path)}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{printable(path)}: is no catalogue of items: {error}") from None
    if len(items) != heading.items:
        raise InputError(f"{printable(path)}: has {len(items)} items, and says items(={heading.items})")
    titles = [item.title for item in items]
    return ItemCatalogue(
        heading.model,
        ItemNames.of([item.id for item in items]),
        ItemNames.of(titles) if any(titles) else None,
    )


class CatalogueFile:
    """A catalogue file that may be replaced when the model changes.

    Args:
        path: the file, which may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_ns = -1
        self._catalogue: ItemCatalogue | None = None

    def of_model(self, model: str, items: int) -> ItemCatalogue | None:
        """Return the catalogue, if it is of *model* and has so many *items*; read again if it has changed.

        Raises:
            InputError: the file is no catalogue.
        """
        try:
            changed_ns = self._path.stat().st_mtime_ns
        except OSError:
            return None
        if changed_ns != self._read_ns:
            self._read_ns, self._catalogue = changed_ns, None
            self._catalogue = read_catalogue(self._path)
        found = self._catalogue
        return found if found is not None and (found.model, len(found.names)) == (model, items) else None
