"""Titles of items, where the data have them: films, songs and products by name, for people.

They stay out of `Interactions`: nothing is trained on them, so a model does not depend on them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cloud.data.readers.columns import ColumnNames, TableRows
from cloud.data.readers.delimited import DelimitedFormat, read_delimited, separator_of
from cloud.data.readers.folders import matching_files
from cloud.data.readers.parquet import read_parquet
from cloud.data.readers.table import PARQUET_SUFFIXES
from cloud.data.readers.text import Text, read_text, suffix_of
from cloud.data.sources import ColumnName, Data, MovieLens, RecBole, Table
from wire.errors import InputError

_FILMS: Final[Mapping[str, tuple[DelimitedFormat, ColumnName, ColumnName]]] = {
    "movies.dat": (DelimitedFormat("::", header=False), 1, 2),
    "u.item": (DelimitedFormat("|", header=False), 1, 2),
    "movies.csv": (DelimitedFormat(","), "movieId", "title"),
    "movie.csv": (DelimitedFormat(","), "movieId", "title"),
}
"""The files of films that GroupLens' data sets have, with the columns of item and title."""
_TITLE_WORDS: Final = ("title", "name")
"""Parts of the names of columns with titles, in RecBole's files of items; the first that fits is taken."""


def read_titles(data: Data, path: Path | None = None) -> Mapping[str, str]:
    """Return the title of each item that has one, by its name in the data; nothing where there are none.

    Args:
        data: the source.
        path: its file or folder, instead of the path in *data*.

    Raises:
        InputError: a file with titles is damaged, or a column that is named is missing.
    """
    match data:
        case MovieLens():
            return _of_films(_folder(path or Path(data.path)))
        case RecBole():
            return _of_items(data, _folder(path or Path(data.path)))
        case Table(title=title) if title is not None:
            return _of_table(data, path or Path(data.path), title)
    return {}


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _of_films(folder: Path) -> Mapping[str, str]:
    for name, (form, item, title) in _FILMS.items():
        for file in (*matching_files(folder, "", name), *matching_files(folder, "*/", name)):
            return _pairs(read_delimited(_text(file), form, _columns(item, title)))
    return {}


def _of_items(data: RecBole, folder: Path) -> Mapping[str, str]:
    files = [*matching_files(folder, "", "*.item"), *matching_files(folder, "*/", "*.item")]
    if len(files) != 1:
        return {}
    text = _text(files[0])
    separator = separator_of(data.separator) or "\t"
    header = text.raw.partition(b"\n")[0].decode("utf-8", "replace").split(separator)
    names = [field.split(":")[0].strip(' "') for field in header]
    others = [name for name in names if name != data.item]
    found = [name for word in _TITLE_WORDS for name in others if word in name.lower()]
    if not found or str(data.item) not in names:
        return {}
    return _pairs(read_delimited(text, DelimitedFormat(separator), _columns(data.item, found[0], typed=True)))


def _of_table(data: Table, file: Path, title: ColumnName) -> Mapping[str, str]:
    item: ColumnName = data.item
    if not (data.header or data.columns):
        item = 2 if item == "item" else item
    names = _columns(item, title)
    if suffix_of(file) in PARQUET_SUFFIXES:
        return _pairs(read_parquet(file, names))
    form = DelimitedFormat(separator_of(data.separator), data.header, data.columns, data.decimal)
    return _pairs(read_delimited(read_text(file, data.encoding), form, names))


def _columns(item: ColumnName, title: ColumnName, *, typed: bool = False) -> ColumnNames:
    """Return the two columns; a table of items has no user, so the item stands in its place."""
    whole = [int(name) if isinstance(name, str) and name.isdigit() else name for name in (item, title)]
    return ColumnNames(whole[0], whole[1], None, None, typed=typed)


def _pairs(rows: TableRows) -> Mapping[str, str]:
    """Return the first title of each item that is not empty."""
    titles: dict[str, str] = {}
    items, texts = (rows.columns[role].to_pylist() for role in ("user", "item"))
    for item, title in zip(items, texts, strict=True):
        if item is not None and title is not None and (text := str(title).strip()):
            titles.setdefault(str(item), text)
    return titles


def _text(file: Path) -> Text:
    """Return the text of *file*, in UTF-8 or, as GroupLens' older files are, in Latin-1."""
    try:
        return read_text(file)
    except InputError as error:
        try:
            return read_text(file, "latin-1")
        except InputError:
            raise error from None
