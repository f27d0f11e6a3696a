"""GroupLens' own files of ratings."""

from pathlib import Path

from cloud.data.interactions import Interactions
from cloud.data.readers.columns import ColumnNames
from cloud.data.readers.delimited import DelimitedFormat, read_delimited
from cloud.data.readers.folders import one_file
from cloud.data.readers.ratings import interactions_of
from cloud.data.readers.text import quote, read_text, suffix_of
from cloud.data.sources import MovieLens
from wire.errors import InputError

NAMES = ("userId", "movieId", "rating", "timestamp")
FORMATS = {
    ".dat": DelimitedFormat("::", header=False, columns=NAMES),
    ".data": DelimitedFormat("\t", header=False, columns=NAMES),
    ".base": DelimitedFormat("\t", header=False, columns=NAMES),
    ".test": DelimitedFormat("\t", header=False, columns=NAMES),
    ".csv": DelimitedFormat(","),
}


def read_movielens(data: MovieLens, path: Path) -> Interactions:
    """Return the interactions in the file *path*, or in the one file of that folder.

    Raises:
        InputError: the file is missing, of another form, or no interactions are left.
    """
    file = one_file(path, "ratings.dat", "ratings.csv", "rating.csv", "u.data")
    form = FORMATS.get(suffix_of(file))
    if form is None:
        raise InputError(
            f"{file}: found the ending {file.suffix!r}, expected ratings.dat, ratings.csv or u.data"
        )
    text = read_text(file)
    first = text.raw.lstrip().partition(b"\n")[0].decode("utf-8", "replace")
    separator = form.separator or ","
    fields = [field.strip(' "') for field in first.split(separator)]
    if not {"userId", "movieId"} <= set(fields) if form.header else len(fields) != len(NAMES):
        raise InputError(
            f"{file}: found {quote(first)} in the first line, expected {separator.join(NAMES)}"
            f"{'' if form.header else ', without a header'}; "
            "data.type: table reads other columns and separators"
        )
    return interactions_of(data, read_delimited(text, form, ColumnNames(*NAMES, frozenset({"rating"}))))
