"""LightGCN's folders: train.txt, test.txt and perhaps valid.txt, with lines `user item item ...`.

Published ones begin at user 0 or 1, skip numbers, have any order, and mostly lack valid.txt: then a share of
train.txt is held out. Letters: U users, I items.
"""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np

from cloud.data.interactions import Interactions, ReadCounts
from cloud.data.readers.text import SUFFIXES, Text, check_file, quote, read_text
from cloud.data.sources import ByRatio, LightGCN
from cloud.data.splits import EventList, split_events
from wire.errors import InputError
from wire.input_files import read_at_most
from wire.ranking_metrics import IntArray, ItemLists
from wire.units import format_share

MAX_COLD_SHARE = 0.2
"""Largest share of items or users without training interactions, if they are more than ten.

With more, train.txt must be incomplete."""
MAX_DIGITS = 18

Pairs = tuple[IntArray, IntArray]


@dataclass(frozen=True, eq=False)
class InteractionLists:
    """One file of a folder: the number, the user and the items of each line that is not blank."""

    path: Path
    lines: IntArray
    users: IntArray
    items: tuple[IntArray, ...]
    notes: tuple[str, ...] = ()

    def pairs(self) -> Pairs:
        """Return all (user, item) pairs as two arrays, by line."""
        counts = [len(items) for items in self.items]
        return np.repeat(self.users, counts), np.concatenate([*self.items, np.empty(0, np.int64)])

    def where(self, user: int, item: int | None = None) -> str:
        """Return the line of *user*, and *item*, as text."""
        index = next(
            index
            for index in np.flatnonzero(self.users == user).tolist()
            if item is None or item in self.items[index].tolist()
        )
        return f"{self.path}, line {self.lines[index]}"


def read_lightgcn(data: LightGCN, folder: Path) -> Interactions:
    """Return the interactions in *folder*.

    Raises:
        InputError: a file is missing, malformed or incomplete.
    """
    folder = _folder_of(folder)
    train, test = (_read_lists(_file(folder, part)) for part in ("train", "test"))
    valid = _read_validation(folder)
    if not len(train.pairs()[1]):
        raise InputError(f"{train.path}: has no interactions")
    files = [train, *([valid] if valid else []), test]
    for later in files[1:]:
        _check_complete(later, train)
    _check_cold(train, files)
    for first, second in combinations(files, 2):
        _check_disjoint(first, second)
    users = np.unique(np.concatenate([file.users for file in files]))
    items = np.unique(np.concatenate([file.pairs()[1] for file in files]))
    parts = [_renumber(file, users, items) for file in files]
    notes = tuple(note for file in files for note in file.notes)
    untrained = int((parts[0].counts() == 0).sum())
    if untrained:
        notes += (f"{folder.name}: {untrained:,} users have nothing in train.txt",)
    if valid is None:
        parts[:1] = _hold_out(parts[0], data)
        notes += (
            f"{folder.name}: without valid.txt, {format_share(data.valid_share)} of each user's training "
            f"items are held out for validation: {len(parts[1].items):,} of {len(train.pairs()[1]):,}",
        )
    rows = sum(len(file.pairs()[1]) for file in files)
    repeated = rows - sum(len(part.items) for part in parts)
    names = tuple(map(str, users.tolist())), tuple(map(str, items.tolist()))
    counts = ReadCounts(rows, {"repeated": repeated}, notes)
    return Interactions(folder.resolve().name, parts[0], parts[1], parts[2], *names, counts)


def _folder_of(folder: Path) -> Path:
    """Return *folder*, or the one folder inside it that has the files."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one with train.txt and test.txt")
    if _has(folder, "train"):
        return folder
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and _has(path, "train"))
    return inside[0] if len(inside) == 1 else folder


def _has(folder: Path, part: str) -> bool:
    return any((folder / f"{part}.txt{suffix}").exists() for suffix in ("", *SUFFIXES))


def _file(folder: Path, part: str) -> Path:
    names = [folder / f"{part}.txt{suffix}" for suffix in ("", *SUFFIXES)]
    return next((path for path in names if path.exists()), names[0])


def _read_validation(folder: Path) -> InteractionLists | None:
    """Return the lists of valid.txt; None if it is missing or empty."""
    path = _file(folder, "valid")
    if not path.exists() or (path.is_file() and _is_blank(path)):
        return None
    lists = _read_lists(path)
    return lists if len(lists.pairs()[1]) else None


def _is_blank(path: Path) -> bool:
    return path.stat().st_size < 100 and not read_at_most(path, 100).strip(b" \t\r\n\xef\xbb\xbf")


def _read_lists(path: Path) -> InteractionLists:
    check_file(path)
    text: Text = read_text(path)
    lines = [(number, line) for number, line in enumerate(text.raw.split(b"\n"), start=1) if line.strip()]
    rows = [_parse_line(path, number, line) for number, line in lines]
    return InteractionLists(
        path,
        np.array([number for number, _ in lines], np.int64),
        np.array([row[0] for row in rows], np.int64),
        tuple(row[1:] for row in rows),
        text.notes,
    )


def _parse_line(path: Path, number: int, line: bytes) -> IntArray:
    words = line.split()
    if not b"".join(words).isdigit() or len(max(words, key=len)) > MAX_DIGITS:
        wrong = next(word for word in words if not word.isdigit() or len(word) > MAX_DIGITS)
        raise InputError(
            f"{path}, line {number}: found {quote(wrong)}, expected numbers >= 0 as in `user item item ...`"
        )
    return np.array(words, dtype=np.int64)


def _check_complete(file: InteractionLists, train: InteractionLists) -> None:
    """Check that a file whose users ascend does not end long before the users of train.txt do."""
    users, trained = file.users, np.unique(train.users)
    missing = np.setdiff1d(users, trained)
    if len(missing) > max(10, MAX_COLD_SHARE * len(np.unique(users))):
        raise InputError(
            f"{file.where(int(missing[0]))}: user {missing[0]} is not in {train.path}, "
            f"which ends at user {train.users[-1]}: it seems cut off"
        )
    # Users without a test item can occur anywhere, but not by chance in a long run at the end.
    later = int((trained > users[-1]).sum())
    if (np.diff(users) > 0).all() and later > max(10, len(trained) // 10):
        raise InputError(
            f"{file.path}: seems cut off: it ends at user {users[-1]}, but train.txt has {later:,} users "
            "after that"
        )


def _check_cold(train: InteractionLists, files: list[InteractionLists]) -> None:
    all_items = np.unique(np.concatenate([file.pairs()[1] for file in files]))
    cold = len(all_items) - len(np.unique(train.pairs()[1]))
    if cold > max(10, MAX_COLD_SHARE * len(all_items)):
        raise InputError(
            f"{train.path}: seems cut off: {cold} of the {len(all_items)} items of all files are not in it"
        )


def _check_disjoint(first: InteractionLists, second: InteractionLists) -> None:
    (users, items), (second_users, second_items) = first.pairs(), second.pairs()
    all_items = np.unique(np.concatenate([items, second_items]))
    known = np.unique(np.concatenate([users, second_users]))

    def keys(users: IntArray, items: IntArray) -> IntArray:
        return np.searchsorted(known, users) * len(all_items) + np.searchsorted(all_items, items)

    shared = np.intersect1d(keys(users, items), keys(second_users, second_items))
    if len(shared):
        user, item = divmod(int(shared[0]), len(all_items))
        user, item = int(known[user]), int(all_items[item])
        raise InputError(
            f"{second.where(user, item)}: item {item} of user {user} is also in {first.path.name}, "
            "expected parts that share no interaction"
        )


def _renumber(file: InteractionLists, users: IntArray, items: IntArray) -> ItemLists:
    of_users, of_items = file.pairs()
    return ItemLists.of_pairs(np.searchsorted(users, of_users), np.searchsorted(items, of_items), len(users))


def _hold_out(train: ItemLists, data: LightGCN) -> list[ItemLists]:
    """Return the training lists that are left, and the held-out ones; the order of lines does not count."""
    split = ByRatio(valid_share=data.valid_share, test_share=0.0, seed=data.seed)
    parts = split_events(EventList(*train.pairs(), None), len(train), split)
    return [parts.train, parts.valid]
