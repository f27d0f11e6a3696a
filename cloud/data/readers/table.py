"""Any table of interactions, as text or as Parquet."""

from pathlib import Path

from cloud.data.interactions import Interactions
from cloud.data.readers.columns import ColumnNames
from cloud.data.readers.delimited import DelimitedFormat, read_delimited, separator_of
from cloud.data.readers.parquet import read_parquet
from cloud.data.readers.ratings import interactions_of
from cloud.data.readers.text import read_text, suffix_of
from cloud.data.sources import Table
from wire.errors import InputError

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".psv", ".dat", ".data", ".inter", ".base", ".test", "")
PARQUET_SUFFIXES = (".parquet", ".pq")


def read_table(data: Table, path: Path) -> Interactions:
    """Return the interactions in the table *path*.

    Raises:
        InputError: the file is missing, malformed or of another form, or no interactions are left.
    """
    suffix = suffix_of(path)
    if suffix in PARQUET_SUFFIXES:
        return interactions_of(data, read_parquet(path, _column_names(data)))
    if suffix not in TEXT_SUFFIXES:
        known = ", ".join(filter(None, TEXT_SUFFIXES))
        raise InputError(f"{path}: found the ending {path.suffix!r}, expected .parquet, or text: {known}")
    form = DelimitedFormat(separator_of(data.separator), data.header, data.columns, data.decimal)
    names = _column_names(data, typed=suffix == ".inter")
    return interactions_of(data, read_delimited(read_text(path, data.encoding), form, names))


def _column_names(data: Table, *, typed: bool = False) -> ColumnNames:
    if data.header or data.columns:
        return ColumnNames(data.user, data.item, data.rating, data.time, typed=typed)
    usual = {"user": 1, "item": 2}
    user, item, rating, time = (
        int(name) if isinstance(name, str) and name.isdigit() else usual.get(str(name), name)
        for name in (data.user, data.item, data.rating, data.time)
    )
    assert user is not None
    assert item is not None
    return ColumnNames(user, item, rating, time, typed=typed)
