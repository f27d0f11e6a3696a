"""The visits of users in simulated time: which items a user meets, and when.

Letters: U users, V visits, L interactions.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from wire.ranking_metrics import IntArray, ItemLists


@dataclass(frozen=True, eq=False)
class Visits:
    """The V visits of one user, by time; visit v meets ``items[starts[v]:starts[v + 1]]``."""

    times_ns: IntArray
    """Shape (V,), strictly rising."""
    starts: IntArray
    """Shape (V + 1,)."""
    items: IntArray


@dataclass(frozen=True, eq=False)
class FleetVisits:
    """The visits of all users, which no device, clock or shard changes.

    Users are members of the model first, then newcomers. Items from ``n_items`` on are not in the model.
    """

    known: ItemLists
    """The items that each user had met before the run; no visit meets one of them, or an item twice."""
    newcomers: NDArray[np.bool_]
    """True for users that training did not see, shape (U,)."""
    n_items: int
    """The number of items of the model."""
    times_ns: IntArray
    """Times of all interactions, by user and then by time, shape (L,)."""
    items: IntArray
    """Items of all interactions, likewise."""
    user_starts: IntArray
    """The first interaction of each user, and the end, shape (U + 1,)."""

    @classmethod
    def of_events(
        cls,
        users: IntArray,
        times_ns: IntArray,
        items: IntArray,
        known: ItemLists,
        members: int,
        n_items: int,
    ) -> Self:
        """Return the visits of interactions in any order; those of a user at one moment are one visit.

        Args:
            users: numbers of the users, shape (L,).
            times_ns: simulated times, likewise.
            items: numbers of the items, likewise.
            known: the items met before the run, of all users.
            members: the number of users that training saw, the first ones.
            n_items: the number of items of the model.
        """
        order = np.lexsort((items, times_ns, users))
        starts = np.searchsorted(users[order], np.arange(len(known) + 1))
        newcomers = np.arange(len(known)) >= members
        return cls(known, newcomers, n_items, times_ns[order], items[order], starts)

    def of(self, user: int) -> Visits:
        """Return the visits of one user."""
        part = slice(self.user_starts[user], self.user_starts[user + 1])
        times_ns, first = np.unique(self.times_ns[part], return_index=True)
        items = self.items[part]
        return Visits(times_ns, np.append(first, len(items)).astype(np.int64), items)

    @cached_property
    def users(self) -> IntArray:
        """The users that meet any item."""
        return np.flatnonzero(np.diff(self.user_starts))

    def first_ns(self, user: int) -> int:
        """Return the time of the first visit of a user that has one."""
        return int(self.times_ns[self.user_starts[user]])

    @cached_property
    def met(self) -> ItemLists:
        """The items of the model that each user meets in the run."""
        users = np.repeat(np.arange(len(self.known)), np.diff(self.user_starts))
        modelled = self.items < self.n_items
        return ItemLists.of_pairs(users[modelled], self.items[modelled], len(self.known))
