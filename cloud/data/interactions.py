"""Interactions of users with items: the only form in which data reach the stages of PEEL.

Letters: U users, I items.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

import numpy as np

from wire.ranking_metrics import FloatArray, IntArray, ItemLists
from wire.text import printable


@dataclass(frozen=True)
class ReadCounts:
    """The number of interactions of a source, and of those that were left out."""

    rows: int
    """Number of interactions in the source."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Number of interactions that were left out, by reason."""
    notes: tuple[str, ...] = ()
    """Further remarks about the source, for the user."""

    @property
    def total_dropped(self) -> int:
        """Number of interactions that were left out."""
        return sum(self.dropped.values())

    def describe(self) -> str:
        """Return the counts as text, such as ``480 rows, 190 below min_rating 0``."""
        counts = [f"{count:,} {reason}" for reason, count in self.dropped.items() if count]
        return ", ".join([f"{self.rows:,} row{'s' * (self.rows != 1)}", *counts])

    def lines(self) -> Iterator[str]:
        """Yield the counts and the notes as lines for people."""
        yield f"read: {printable(self.describe())}"
        yield from (f"note: {printable(note)}" for note in self.notes)


@dataclass(frozen=True, eq=False)
class LaterInteractions:
    """L interactions after the cut, by time, which training does not see; all arrays have shape (L,).

    Numbers below those of the model's users and items are theirs; higher ones are users and items first seen
    after the cut, in the order of their first interaction.
    """

    users: IntArray
    items: IntArray
    times_s: FloatArray
    """Seconds since the cut."""
    new_user_ids: tuple[str, ...]
    new_item_ids: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Interactions:
    """Interactions of U users with I items, in three parts that share no (user, item) pair.

    Users and items are numbers; ``user_ids[u]`` and ``item_ids[i]`` are their names in the source.
    """

    name: str
    train: ItemLists
    valid: ItemLists
    test: ItemLists
    user_ids: tuple[str, ...]
    item_ids: tuple[str, ...]
    read: ReadCounts | None = None
    """Counts of reading the source; None if the interactions are synthetic."""
    later: LaterInteractions | None = None
    """The interactions after the cut, if the split is one; the test has those that the model can rank."""

    @property
    def n_users(self) -> int:
        """The number of users, U."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """The number of items, I."""
        return len(self.item_ids)

    @cached_property
    def known(self) -> ItemLists:
        """The items that are masked when the test is ranked: training and validation items together."""
        return self.train.union(self.valid)

    def popularity(self) -> IntArray:
        """Return the number of training interactions of each item, shape (I,)."""
        return np.bincount(self.train.items, minlength=self.n_items)

    def digest(self) -> str:
        """Return the SHA-256 of the content, in hexadecimal; the name does not count.

        Nor do later interactions: what the model can rank of them is the test.
        """
        total = hashlib.sha256()
        for chunk in self._contents():
            total.update(len(chunk).to_bytes(8, "little"))  # lengths separate neighbouring chunks
            total.update(chunk)
        return total.hexdigest()

    def by_popularity(self) -> Self:
        """Return the same interactions in catalogue order: item i is the i-th most popular.

        Popularity is the number of training interactions; equally popular items keep their order.
        """
        order = np.lexsort((np.arange(self.n_items), -self.popularity()))
        new_number = np.empty(self.n_items, dtype=np.int64)
        new_number[order] = np.arange(self.n_items)
        return type(self)(
            self.name,
            _renumber(self.train, new_number),
            _renumber(self.valid, new_number),
            _renumber(self.test, new_number),
            self.user_ids,
            tuple(self.item_ids[i] for i in order),
            self.read,
            self._renumber_later(new_number),
        )

    def _renumber_later(self, new_number: IntArray) -> LaterInteractions | None:
        if self.later is None:
            return None
        new_items = self.n_items + np.arange(len(self.later.new_item_ids))
        return replace(self.later, items=np.concatenate([new_number, new_items])[self.later.items])

    def _contents(self) -> Iterator[bytes]:
        for part in (self.train, self.valid, self.test):
            yield part.starts.astype("<i8").tobytes()
            yield part.items.astype("<i8").tobytes()
        for ids in (self.user_ids, self.item_ids):
            yield len(ids).to_bytes(8, "little")
            for name in ids:
                yield name.encode()


def _renumber(lists: ItemLists, new_number: IntArray) -> ItemLists:
    users, items = lists.pairs()
    return ItemLists.of_pairs(users, new_number[items], len(lists))


def item_group_bounds(n_items: int, item_groups: int) -> IntArray:
    """Return the M + 1 bounds of the item groups: group m has the rows ``bounds[m]:bounds[m + 1]``.

    Groups are contiguous ranges of near-equal size in catalogue order.
    """
    return np.arange(item_groups + 1, dtype=np.int64) * n_items // item_groups
