"""Reading interactions from files, each format checked row by row.

Whatever is wrong with a file becomes an `InputError` of one line that says where it is, what was
found and what is expected; whatever is left out is counted. `cloud/readers` knows the formats.
Letters: L interactions, U users, I items.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cloud.data.interactions import Interactions, ReadCounts
from cloud.data.readers.columns import (
    ColumnNames,
    Numbers,
    TableRows,
    encode_ids,
    mixes_time_units,
    parse_numbers,
    parse_optional_numbers,
    parse_times,
)
from cloud.data.readers.delimited import DelimitedFormat, read_delimited
from cloud.data.readers.lightgcn import read_lightgcn
from cloud.data.readers.parquet import read_parquet
from cloud.data.readers.text import SUFFIXES, quote, raise_unreadable, read_text, shorten, suffix_of
from cloud.data.sources import (
    SEPARATORS,
    ByRatio,
    ByTime,
    Data,
    LightGCN,
    MovieLens,
    Ratings,
    RecBole,
    Split,
    Synthetic,
    Table,
)
from cloud.data.splits import EventList, drop_repeats, k_core, keep_split, split_events
from cloud.data.synthetic import generate
from wire.errors import InputError
from wire.ranking_metrics import IntArray

TEXT_SUFFIXES = (".csv", ".tsv", ".txt", ".tab", ".psv", ".dat", ".data", ".inter", ".base", ".test", "")
"""Of tables as text."""
PARQUET_SUFFIXES = (".parquet", ".pq")
_PARTS = ("train", "valid", "test")


def load(data: Data, path: Path | None = None) -> Interactions:
    """Return the interactions of *data* in catalogue order.

    Args:
        data: the source.
        path: where its file or folder is, in place of the path that *data* names.

    Raises:
        InputError: the file is missing, malformed or cut off, or nothing is left of it.
    """
    try:
        match data:
            case Synthetic():
                found = generate(data)
            case LightGCN():
                found = read_lightgcn(data, path or Path(data.path))
            case _:
                found = _read_ratings(data, path or Path(data.path))
        return found.by_popularity()
    except MemoryError:
        source = "synthetic data" if isinstance(data, Synthetic) else str(path or data.path)
        raise InputError(f"{source}: there is not enough memory for them") from None
    except (pa.ArrowException, csv.Error) as error:  # in pyarrow's words: ours were expected before
        raise_unreadable(Path() if isinstance(data, Synthetic) else path or Path(data.path), error)


def check_measurable(interactions: Interactions) -> None:
    """Check that somebody has a test item, without which a run can measure nothing.

    Raises:
        InputError: nobody has.
    """
    if not len(interactions.test.items):
        counts = interactions.train.counts() + interactions.valid.counts()
        raise InputError(
            f"{interactions.name}: no user has test interactions, so quality has no meaning: its "
            f"{interactions.n_users:,} users have at most {counts.max(initial=0):,} interactions each; "
            "see data.split"
        )


# --- one interaction a row ----------------------------------------------------------------------


def _read_ratings(data: Ratings, path: Path) -> Interactions:
    rows = _rows_of(data, path, _wanted(data))
    users, user_names = encode_ids(rows, "user")
    items, item_names = encode_ids(rows, "item")
    notes = list(rows.notes)
    events = EventList(users, items, _times(data, rows, notes), rows.parts)
    if data.split is None and events.times is None and rows.parts is None:
        notes.append(f"{rows.path.name}: without times, it is divided at random: data.split {{type: ratio}}")
    dropped: dict[str, int] = {}

    def keep(fewer: EventList, reason: str) -> EventList:
        dropped[reason] = len(events) - len(fewer)
        return fewer

    if "rating" in rows.columns:
        liked = _liked(data, rows, notes)
        events = keep(events.keep(liked), f"below min_rating {data.min_rating:g}")
    events = keep(drop_repeats(events), "repeated")
    least = data.min_user_interactions, data.min_item_interactions
    events = keep(k_core(events, *least), "of users or items with too few interactions")
    if not len(events):
        raise InputError(
            f"{rows.path}: no interaction is left with min_rating(={data.min_rating}), "
            f"min_user_interactions(={data.min_user_interactions}) and "
            f"min_item_interactions(={data.min_item_interactions}): "
            f"{ReadCounts(len(rows), dropped).describe()}"
        )
    read = ReadCounts(len(rows), dropped, tuple(notes))
    return _divided(data, rows.path, events, user_names, item_names, read)


def _wanted(data: Ratings) -> ColumnNames:
    match data:
        case Table():
            if data.header or data.columns:
                return ColumnNames(data.user, data.item, data.rating, data.time)
            usual = {"user": 1, "item": 2}
            user, item, rating, time = (
                int(name) if isinstance(name, str) and name.isdigit() else usual.get(str(name), name)
                for name in (data.user, data.item, data.rating, data.time)
            )
            assert user is not None
            assert item is not None
            return ColumnNames(user, item, rating, time)
        case MovieLens():
            return ColumnNames("userId", "movieId", "rating", "timestamp", frozenset({"rating"}))
        case RecBole():
            unused = {"rating"} if data.min_rating <= 0 else set()
            unused |= set() if isinstance(data.split, ByTime) else {"time"}
            return ColumnNames(data.user, data.item, data.rating, data.time, frozenset(unused), typed=True)


def _liked(data: Ratings, rows: TableRows, notes: list[str]) -> NDArray[np.bool_]:
    """Return which rows are rated high enough; where no minimum is asked for, no rating is none too low."""
    if data.min_rating > 0:
        return np.asarray(parse_numbers(rows, "rating") >= data.min_rating)
    found = parse_optional_numbers(rows, "rating")
    unknown = int(np.isnan(found).sum())
    if unknown:
        notes.append(f"{rows.path.name}: ratings that are no numbers: {unknown:,}; their rows stay")
    return ~(found < data.min_rating)


def _times(data: Ratings, rows: TableRows, notes: list[str]) -> Numbers | None:
    """Return the times; where nothing is split by them, they may be anything."""
    if "time" not in rows.columns:
        return None
    try:
        found = parse_times(rows)
    except InputError:
        if not isinstance(data.split, ByRatio) and rows.parts is None:
            raise
        return None
    if mixes_time_units(found):
        notes.append(
            f"{rows.path.name}: column {shorten(rows.names['time'])} seems to have seconds in some rows and "
            "milliseconds in others"
        )
    return found


def _divided(
    data: Ratings,
    path: Path,
    events: EventList,
    user_names: Sequence[str],
    item_names: Sequence[str],
    read: ReadCounts,
) -> Interactions:
    """Filter and split; users and items that are left keep the order of their first appearance."""
    kept_users, users = np.unique(events.users, return_inverse=True)
    kept_items, items = np.unique(events.items, return_inverse=True)
    renumbered = EventList(users, items, events.times, events.parts)
    divide = split_events if events.parts is None else keep_split
    parts = divide(renumbered, len(kept_users), _split(data, events))
    return Interactions(
        path.stem,
        parts.train,
        parts.valid,
        parts.test,
        tuple(user_names[user] for user in kept_users),
        tuple(item_names[item] for item in kept_items),
        read,
    )


def _split(data: Ratings, events: EventList) -> Split:
    """Return how to divide: where nothing is said, by time if there are times."""
    return data.split or (ByRatio() if events.times is None else ByTime())


# --- files ----------------------------------------------------------------------------------------


def _rows_of(data: Ratings, path: Path, wanted: ColumnNames) -> TableRows:
    match data:
        case RecBole():
            layout = DelimitedFormat(_separator(data.separator), header=True)
            parts = _split_files(path)
            if parts:
                return _joined([_read_inter(part, data, layout, wanted) for part in parts.values()], [*parts])
            return _read_inter(_one_of(path, "*.inter"), data, layout, wanted)
        case MovieLens():
            file = _one_of(path, "ratings.dat", "ratings.csv", "rating.csv", "u.data")
            return _read_movielens(file, wanted)
        case Table():
            return _read_table(path, data, wanted)


def _separator(given: str | None) -> str | None:
    return given if given is None else SEPARATORS.get(given, given)


def _read_inter(path: Path, data: RecBole, layout: DelimitedFormat, wanted: ColumnNames) -> TableRows:
    return read_delimited(read_text(path, data.encoding), layout, wanted)


def _read_movielens(path: Path, wanted: ColumnNames) -> TableRows:
    names = ("userId", "movieId", "rating", "timestamp")
    layouts = {
        ".dat": DelimitedFormat("::", header=False, columns=names),
        ".data": DelimitedFormat("\t", header=False, columns=names),
        ".base": DelimitedFormat("\t", header=False, columns=names),
        ".test": DelimitedFormat("\t", header=False, columns=names),
        ".csv": DelimitedFormat(","),
    }
    layout = layouts.get(suffix_of(path))
    if layout is None:
        raise InputError(
            f"{path}: found the ending {path.suffix!r}, expected ratings.dat, ratings.csv or u.data"
        )
    text = read_text(path)
    first = text.raw.lstrip().partition(b"\n")[0].decode("utf-8", "replace")
    separator = layout.separator or ","
    fields = [field.strip(' "') for field in first.split(separator)]
    if not {"userId", "movieId"} <= set(fields) if layout.header else len(fields) != len(names):
        raise InputError(
            f"{path}: found {quote(first)} in the first line, expected {separator.join(names)}"
            f"{'' if layout.header else ', without a header'}; "
            "data.type: table reads other columns and separators"
        )
    return read_delimited(text, layout, wanted)


def _read_table(path: Path, data: Table, wanted: ColumnNames) -> TableRows:
    suffix = suffix_of(path)
    if suffix in PARQUET_SUFFIXES:
        return read_parquet(path, wanted)
    if suffix not in TEXT_SUFFIXES:
        known = ", ".join(each for each in TEXT_SUFFIXES if each)
        raise InputError(f"{path}: found the ending {path.suffix!r}, expected .parquet, or text: {known}")
    layout = DelimitedFormat(_separator(data.separator), data.header, data.columns, data.decimal)
    typed = ColumnNames(wanted.user, wanted.item, wanted.rating, wanted.time, typed=suffix == ".inter")
    return read_delimited(read_text(path, data.encoding), layout, typed)


def _one_of(path: Path, *patterns: str) -> Path:
    """Return *path*, or the one file in that folder, or one below it, that fits one of *patterns*."""
    if not path.is_dir():
        return path
    for depth in ("", "*/"):
        found = [file for file in _fitting(path, depth, *patterns) if _part_of(file) is None]
        if len(found) == 1:
            return found[0]
        if found:
            break
    names = ", ".join(shorten(file.name) for file in found[:12]) or "none"
    raise InputError(f"{path}: found {names}, expected exactly one of {', '.join(patterns)}")


def _fitting(path: Path, depth: str, *patterns: str) -> list[Path]:
    try:
        return sorted(
            file
            for pattern in patterns
            for suffix in ("", *SUFFIXES)
            for file in path.glob(f"{depth}{pattern}{suffix}")
        )
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


# --- files that are split already -----------------------------------------------------------------


def _part_of(file: Path) -> str | None:
    """Return which part ``NAME.train.inter`` and its like is; None where it is none."""
    words = file.name.split(".")
    return next((part for part in _PARTS if part in words[1:-1]), None)


def _split_files(path: Path) -> dict[str, Path]:
    """Return the files of a folder that is split already, by part; nothing where it is not."""
    if not path.is_dir():
        return {}
    for depth in ("", "*/"):
        every = _fitting(path, depth, "*.inter")
        if any(_part_of(file) is None for file in every):
            return {}
        if every:
            return _checked_parts(path, every)
    return {}


def _checked_parts(path: Path, files: Sequence[Path]) -> dict[str, Path]:
    parts = {part: [file for file in files if _part_of(file) == part] for part in _PARTS}
    for part, found in parts.items():
        if len(found) > 1 or (not found and part != "valid"):
            names = ", ".join(shorten(file.name) for file in files[:12])
            raise InputError(
                f"{path}: found {names}, expected one NAME.{part}.inter (and NAME.train.inter, "
                "NAME.valid.inter or none, NAME.test.inter)"
            )
    return {part: found[0] for part, found in parts.items() if found}


class _Stretch(NamedTuple):
    """The rows of one file among those of several."""

    first: int
    rows: TableRows


def _joined(files: Sequence[TableRows], names: Sequence[str]) -> TableRows:
    """Return the rows of all *files*, one after the other; *names* says which part each is."""
    ends = np.cumsum([len(rows) for rows in files]).tolist()
    stretches = [_Stretch(end - len(rows), rows) for end, rows in zip(ends, files, strict=True)]

    def where(row: int) -> str:
        stretch = max((each for each in stretches if each.first <= row), key=lambda each: each.first)
        return stretch.rows.where(row - stretch.first)

    shared = [role for role in files[0].columns if all(role in rows.columns for rows in files)]
    columns: dict[str, Any] = {
        role: pa.chunked_array([rows.columns[role] for rows in files]).combine_chunks() for role in shared
    }
    numbers_of: list[IntArray] = [
        np.full(len(rows), _PARTS.index(name)) for rows, name in zip(files, names, strict=True)
    ]
    notes = tuple(note for rows in files for note in rows.notes)
    if "valid" not in names:
        notes += (
            f"{files[0].path.parent.name}: without a validation file, a share of the training is held out",
        )
    first = files[0]
    path = first.path.with_name(first.path.name.split(".")[0] + ".inter")
    return TableRows(path, columns, first.names, where, notes, np.concatenate(numbers_of))
