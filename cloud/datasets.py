"""Reading interactions from files, each format checked line by line.

Whatever is wrong with a file becomes an `InputError` of one line that says where it is, what was
found and what is expected. A file cut off in the middle is found where its format lets it be.
Letters: L interactions, U users, I items.
"""

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from numpy.typing import NDArray

from cloud.config import ByTime, Data, LightGCN, MovieLens, Ratings, RecBole, Synthetic, Table
from cloud.interactions import Interactions
from cloud.splits import EventList, k_core, split_events, without_repeats
from cloud.synthetic import generate
from wire.errors import InputError
from wire.metrics import IntArray, ItemLists

Column = Any  # pyarrow has no types
Where = Callable[[int], str]  # from the index of a row to words such as "u.data, line 7"

MOST_COLD_ITEMS = 0.2  # with more items that are never trained on, train.txt must be cut off
MOST_UNNAMED_ITEMS = 3.0  # item numbers beyond this multiple of distinct items are a broken number


def load(data: Data, path: Path | None = None) -> Interactions:
    """Return the interactions of *data* in catalogue order.

    Args:
        data: the source.
        path: where its file or folder is, in place of the path that *data* names.

    Raises:
        InputError: the file is missing, malformed or cut off, or nothing is left of it.
    """
    match data:
        case Synthetic():
            found = generate(data)
        case LightGCN():
            found = _read_lightgcn(path or Path(data.path))
        case _:
            found = _read_ratings(data, path or Path(data.path))
    return found.by_popularity()


# --- LightGCN's folders: one line per user ------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Listing:
    """One file of a LightGCN folder: ``users`` has the user of each line, ``items`` the items."""

    path: Path
    users: IntArray
    items: tuple[IntArray, ...]

    def pairs(self) -> tuple[IntArray, IntArray]:
        """Return all (user, item) pairs as two arrays, by line."""
        counts = [len(items) for items in self.items]
        return np.repeat(self.users, counts), np.concatenate([*self.items, np.empty(0, np.int64)])

    def where(self, user: int) -> str:
        """Return the line of *user*, in words."""
        return f"{self.path}, line {int(np.flatnonzero(self.users == user)[0]) + 1}"


def _read_lightgcn(folder: Path) -> Interactions:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one with train.txt, valid.txt and test.txt")
    train, valid, test = (_read_listing(folder / f"{part}.txt") for part in ("train", "valid", "test"))
    _check_every_user(train)
    for listing in (valid, test):
        _check_users(listing, len(train.users))
    n_items = _count_items(folder, train, valid, test)
    for first, second in ((train, valid), (train, test), (valid, test)):
        _check_disjoint(first, second, n_items)
    n_users = len(train.users)
    return Interactions(
        folder.resolve().name,
        ItemLists.of_pairs(*train.pairs(), n_users),
        ItemLists.of_pairs(*valid.pairs(), n_users),
        ItemLists.of_pairs(*test.pairs(), n_users),
        tuple(map(str, range(n_users))),
        tuple(map(str, range(n_items))),
    )


def _read_listing(path: Path) -> Listing:
    lines = _whole_text(path).split(b"\n")[:-1]
    rows = [_whole_numbers(path, at, line) for at, line in enumerate(lines, start=1)]
    return Listing(path, np.array([row[0] for row in rows], np.int64), tuple(row[1:] for row in rows))


def _whole_numbers(path: Path, at: int, line: bytes) -> IntArray:
    words = line.split()
    if not words:
        raise InputError(f"{path}, line {at}: found an empty line, expected `user item item ...`")
    if not b"".join(words).isdigit() or len(max(words, key=len)) > 18:
        wrong = next(word for word in words if not word.isdigit() or len(word) > 18)
        raise InputError(
            f"{path}, line {at}: found {_shown(wrong)}, expected numbers >= 0 as in `user item item ...`"
        )
    return np.array(words, dtype=np.int64)


def _check_every_user(train: Listing) -> None:
    wrong = np.flatnonzero(train.users != np.arange(len(train.users)))
    if len(wrong):
        at = int(wrong[0])
        raise InputError(
            f"{train.path}, line {at + 1}: found user {train.users[at]}, expected user {at}: "
            "there must be a line for every user, in ascending order"
        )


def _check_users(listing: Listing, n_users: int) -> None:
    users = listing.users
    if (unknown := users[users >= n_users]).size:
        train = listing.path.with_name("train.txt")
        raise InputError(
            f"{listing.where(int(unknown[0]))}: user {unknown[0]} is not in {train}, "
            f"which ends at user {n_users - 1}: it seems cut off"
        )
    back = np.flatnonzero(np.diff(users) <= 0)
    if len(back):
        raise InputError(
            f"{listing.path}, line {back[0] + 2}: found user {users[back[0] + 1]} after user "
            f"{users[back[0]]}, expected users in ascending order, one line each"
        )
    # Users without a test item lie anywhere; a long run of them at the end does not happen by chance.
    if n_users - 1 - users[-1] > max(10, n_users // 10):
        raise InputError(
            f"{listing.path}: seems cut off: it ends at user {users[-1]}, but train.txt has {n_users} users"
        )


def _count_items(folder: Path, *listings: Listing) -> int:
    """Return I, the largest item number plus one, after checking that the numbers make sense."""
    distinct = [np.unique(listing.pairs()[1]) for listing in listings]
    every = np.unique(np.concatenate(distinct))
    if not len(distinct[0]):
        raise InputError(f"{folder / 'train.txt'}: has no interactions")
    if every[-1] + 1 > MOST_UNNAMED_ITEMS * len(every) + 1000:
        raise InputError(
            f"{folder}: found item {every[-1]}, expected items numbered from 0 without large gaps: "
            f"there are {len(every)} different ones"
        )
    cold = len(every) - len(distinct[0])
    if cold > MOST_COLD_ITEMS * len(every):
        raise InputError(
            f"{folder / 'train.txt'}: seems cut off: {cold} of the {len(every)} items of valid.txt and "
            "test.txt are not in it"
        )
    return int(every[-1]) + 1


def _check_disjoint(first: Listing, second: Listing, n_items: int) -> None:
    (users, items), (more_users, more_items) = first.pairs(), second.pairs()
    shared = np.intersect1d(users * n_items + items, more_users * n_items + more_items)
    if len(shared):
        user, item = divmod(int(shared[0]), n_items)
        raise InputError(
            f"{second.where(user)}: item {item} of user {user} is also in {first.path.name}, "
            "expected parts that share no interaction"
        )


# --- one interaction a row ----------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """The names of the columns to read; *optional* ones are read where the file has them."""

    user: str
    item: str
    rating: str | None
    time: str | None
    optional: frozenset[str] = frozenset()


@dataclass(frozen=True, eq=False)
class Rows:
    """A table in memory: columns by name, and where each row stands in its file."""

    path: Path
    columns: dict[str, Column]
    where: Where


def _read_ratings(data: Ratings, path: Path) -> Interactions:
    wanted = _wanted(data)
    match data:
        case RecBole():
            rows = _read_recbole(_one_of(path, ("*.inter",)), wanted)
        case MovieLens():
            rows = _read_movielens(_one_of(path, ("ratings.dat", "ratings.csv", "u.data")), wanted)
        case Table():
            rows = _read_table(path, wanted)
    users, user_names = _codes(rows, wanted.user)
    items, item_names = _codes(rows, wanted.item)
    times = _numbers(rows, wanted.time) if wanted.time in rows.columns else None
    events = EventList(users, items, times)
    if wanted.rating in rows.columns:
        events = events.keep(_numbers(rows, wanted.rating) >= data.min_rating)
    return _divided(data, rows.path, events, user_names, item_names)


def _wanted(data: Ratings) -> Wanted:
    match data:
        case Table():
            return Wanted(data.user, data.item, data.rating, data.time)
        case MovieLens():
            return Wanted("userId", "movieId", "rating", "timestamp")
        case RecBole():
            unused = {"rating"} if data.min_rating <= 0 else set()
            unused |= set() if isinstance(data.split, ByTime) else {"timestamp"}
            return Wanted("user_id", "item_id", "rating", "timestamp", frozenset(unused))


def _divided(
    data: Ratings, path: Path, events: EventList, user_names: Sequence[str], item_names: Sequence[str]
) -> Interactions:
    """Filter and split; users and items that are left keep the order of their first appearance."""
    events = k_core(without_repeats(events), data.min_user_interactions, data.min_item_interactions)
    if not len(events):
        raise InputError(
            f"{path}: no interaction is left with min_rating(={data.min_rating}), "
            f"min_user_interactions(={data.min_user_interactions}) and "
            f"min_item_interactions(={data.min_item_interactions})"
        )
    kept_users, users = np.unique(events.users, return_inverse=True)
    kept_items, items = np.unique(events.items, return_inverse=True)
    parts = split_events(EventList(users, items, events.times), len(kept_users), data.split)
    return Interactions(
        path.stem,
        parts.train,
        parts.valid,
        parts.test,
        tuple(user_names[user] for user in kept_users),
        tuple(item_names[item] for item in kept_items),
    )


def _one_of(path: Path, patterns: tuple[str, ...]) -> Path:
    """Return *path*, or the one file in that folder which matches one of *patterns*."""
    if not path.is_dir():
        return path
    found = sorted(file for pattern in patterns for file in path.glob(pattern))
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise InputError(f"{path}: found {names}, expected exactly one of {', '.join(patterns)}")
    return found[0]


def _read_recbole(path: Path, wanted: Wanted) -> Rows:
    text = _whole_text(path)
    header = [name.split(":")[0] for name in _header(path, text).split("\t")]
    return _read_delimited(path, text, "\t", header, wanted, skip=1)


def _read_movielens(path: Path, wanted: Wanted) -> Rows:
    names = ["userId", "movieId", "rating", "timestamp"]
    text = _whole_text(path)
    match path.suffix:
        case ".dat":
            return _read_delimited(path, text.replace(b"::", b"\t"), "\t", names, wanted, skip=0)
        case ".data":
            return _read_delimited(path, text, "\t", names, wanted, skip=0)
        case ".csv":
            return _read_csv(path, text, wanted)
    raise InputError(f"{path}: found the ending {path.suffix!r}, expected ratings.dat, ratings.csv or u.data")


def _read_table(path: Path, wanted: Wanted) -> Rows:
    match path.suffix:
        case ".csv":
            return _read_csv(path, _whole_text(path), wanted)
        case ".parquet":
            return _read_parquet(path, wanted)
    raise InputError(f"{path}: found the ending {path.suffix!r}, expected .csv or .parquet")


def _read_csv(path: Path, text: bytes, wanted: Wanted) -> Rows:
    header = next(csv.reader([_header(path, text)]))
    return _read_delimited(path, text, ",", header, wanted, skip=1)


def _read_delimited(
    path: Path, text: bytes, delimiter: str, header: list[str], wanted: Wanted, *, skip: int
) -> Rows:
    """Return the wanted columns as texts; every line must have as many fields as *header*."""
    names = _names_present(path, header, wanted)
    _check_utf8(path, text)  # pyarrow cannot tell us of a wrong row that is no text
    wrong: list[Any] = []  # pyarrow.csv.InvalidRow

    def note(row: Any) -> str:
        wrong.append(row)
        return "error"

    parse = pyarrow.csv.ParseOptions(
        delimiter=delimiter,
        quote_char='"' if delimiter == "," else False,
        ignore_empty_lines=False,
        invalid_row_handler=note,
    )
    read = pyarrow.csv.ReadOptions(use_threads=False, column_names=header, skip_rows=skip)
    convert = pyarrow.csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()), include_columns=names, null_values=[]
    )
    try:
        table = pyarrow.csv.read_csv(pa.BufferReader(text), read, parse, convert)
    except pa.ArrowInvalid as error:
        if wrong:
            raise InputError(
                f"{path}, line {wrong[0].number}: found {wrong[0].actual_columns} fields, "
                f"expected {len(header)}: {', '.join(header)}"
            ) from None
        _refuse(path, error)
    if len(table) != text.count(b"\n") - skip:
        raise InputError(f"{path}: found a quoted field with a line break in it, expected one row a line")
    columns = {name: pc.utf8_trim_whitespace(table[name].combine_chunks()) for name in names}
    return Rows(path, columns, lambda row: f"{path}, line {row + skip + 1}")


def _read_parquet(path: Path, wanted: Wanted) -> Rows:
    _check_there(path)
    try:
        names = _names_present(path, pyarrow.parquet.read_schema(path).names, wanted)
        table = pyarrow.parquet.read_table(path, columns=names)
    except (pa.ArrowException, OSError) as error:
        _refuse(path, error)
    columns = {name: table[name].combine_chunks() for name in names}
    return Rows(path, columns, lambda row: f"{path}, row {row + 1}")


def _names_present(path: Path, header: list[str], wanted: Wanted) -> list[str]:
    """Return the wanted columns that are there, after checking that none is missing or doubled."""
    names = [name for name in (wanted.user, wanted.item, wanted.rating, wanted.time) if name is not None]
    for name in names:
        count = header.count(name)
        if count > 1 or (count == 0 and name not in wanted.optional):
            raise InputError(
                f"{path}: found {count or 'no'} column{'s' * (count > 1)} {name!r}, expected one; "
                f"the columns are {', '.join(header)}"
            )
    return [name for name in names if name in header]


# --- columns ------------------------------------------------------------------------------------


def _codes(rows: Rows, name: str) -> tuple[IntArray, list[str]]:
    """Return a number for each row, shape (L,), and the texts that the numbers stand for.

    Numbers are given in the order of first appearance.
    """
    column = rows.columns[name]
    try:
        texts = column.cast(pa.string())
    except pa.ArrowException as error:
        _refuse(rows.path, error)
    empty = pc.fill_null(pc.equal(pc.utf8_length(texts), 0), True)
    if (row := pc.index(empty, True).as_py()) >= 0:
        raise InputError(f"{rows.where(row)}: found nothing in column {name!r}, expected a name")
    encoded = texts.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes, encoded.dictionary.to_pylist()


def _numbers(rows: Rows, name: str) -> NDArray[np.int64] | NDArray[np.float64]:
    """Return a column as whole numbers, or where it has others as floating-point numbers, (L,)."""
    column = rows.columns[name]
    for kind in (pa.int64(), pa.float64()):
        if _casts(column, kind) and not column.null_count:
            numbers: NDArray[Any] = column.cast(kind).to_numpy(zero_copy_only=False)
            _check_finite(rows, name, numbers)
            return numbers
    row = _first_not(column, pa.float64())
    found = _shown(str(column[row].as_py()).encode())
    raise InputError(f"{rows.where(row)}: found {found} in column {name!r}, expected a number")


def _check_finite(rows: Rows, name: str, numbers: NDArray[Any]) -> None:
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        row = int(wrong[0])
        raise InputError(
            f"{rows.where(row)}: found {numbers[row]} in column {name!r}, expected a finite number"
        )


def _casts(column: Column, kind: Any) -> bool:
    try:
        column.cast(kind)
    except pa.ArrowException:
        return False
    return not column.null_count


def _first_not(column: Column, kind: Any) -> int:
    """Return the first row that is not of *kind*, by bisection; there must be one."""
    low, high = 0, len(column)  # all rows before low are fine, some row before high is not
    while high - low > 1:
        middle = (low + high) // 2
        if _casts(column.slice(low, middle - low), kind):
            low = middle
        else:
            high = middle
    return low


# --- files --------------------------------------------------------------------------------------


def _check_there(path: Path) -> None:
    try:
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        if not path.stat().st_size:
            raise InputError(f"{path}: the file is empty")
    except OSError as error:
        _refuse(path, error)


def _whole_text(path: Path) -> bytes:
    """Return what a text file holds, with a line break at its very end."""
    _check_there(path)
    try:
        text = path.read_bytes()
    except OSError as error:
        _refuse(path, error)
    if not text.endswith(b"\n"):
        count = text.count(b"\n") + 1
        last = _shown(text[text.rfind(b"\n") + 1 :])
        raise InputError(
            f"{path}, line {count}: found {last} without a line break at the end, expected whole lines: "
            "the file seems cut off"
        )
    return text


def _check_utf8(path: Path, text: bytes) -> None:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        found = _shown(text[error.start : error.end])
        raise InputError(f"{path}, line {line}: found {found}, expected text in UTF-8") from None


def _header(path: Path, text: bytes) -> str:
    first, _, rest = text.partition(b"\n")
    if not rest:
        raise InputError(f"{path}: has no line after the header")
    try:
        return first.decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError:
        raise InputError(f"{path}, line 1: found {_shown(first)}, expected names of columns") from None


def _refuse(path: Path, error: Exception) -> NoReturn:
    words = re.sub(r"Row #(\d+)", r"line \1", " ".join(str(error).split()))
    raise InputError(f"{path}: cannot be read: {words}") from None


def _shown(text: bytes) -> str:
    """Return *text* between quotes, unprintable bytes escaped, cut to a readable length."""
    return repr(text[:40].decode("utf-8", "backslashreplace") + ("..." if len(text) > 40 else ""))
