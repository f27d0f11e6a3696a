"""Filtering and splitting of interactions into training, validation and test.

This file reads no files. Letters: L interactions, U users, I items.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cloud.data.sources import ByRatio, ByTime, SplitPerUser
from wire.random_streams import stream
from wire.ranking_metrics import IntArray, ItemLists


@dataclass(frozen=True, eq=False)
class EventList:
    """L interactions in the order of their source; all arrays have shape (L,).

    ``times`` is None if the source has none; the unit does not matter, only the order.
    """

    users: IntArray
    items: IntArray
    times: NDArray[np.int64] | NDArray[np.float64] | None
    parts: IntArray | None = None
    """The part of each interaction if the source is already split: 0 training, 1 validation, 2 test."""

    def __len__(self) -> int:
        return len(self.users)

    def keep(self, chosen: NDArray[np.bool_] | IntArray) -> Self:
        """Return the interactions at *chosen*, a mask or indices."""
        times = None if self.times is None else self.times[chosen]
        parts = None if self.parts is None else self.parts[chosen]
        return type(self)(self.users[chosen], self.items[chosen], times, parts)


@dataclass(frozen=True, eq=False)
class TrainValidTest:
    """Three lists per user that share no item."""

    train: ItemLists
    valid: ItemLists
    test: ItemLists


def drop_repeats(events: EventList) -> EventList:
    """Return the first interaction of each (user, item) pair, by time and then by order in the source.

    Otherwise a repeated pair could be in both training and test. If the source is already split, the
    earliest part counts.
    """
    position = np.arange(len(events))
    times = position if events.times is None else events.times
    parts = times if events.parts is None else events.parts
    order = np.lexsort((position, times, parts, events.items, events.users))
    users, items = events.users[order], events.items[order]
    first = np.ones(len(order), dtype=bool)
    first[1:] = (users[1:] != users[:-1]) | (items[1:] != items[:-1])
    return events.keep(np.sort(order[first]))


def k_core(events: EventList, least_per_user: int, least_per_item: int) -> EventList:
    """Drop users and items with too few interactions until all that remain have enough."""
    while len(events):
        enough = np.bincount(events.users)[events.users] >= least_per_user
        enough &= np.bincount(events.items)[events.items] >= least_per_item
        if enough.all():
            break
        events = events.keep(enough)
    return events


def split_events(events: EventList, n_users: int, split: SplitPerUser) -> TrainValidTest:
    """Split interactions without repeats per user, as *split* says.

    Sizes are those of `part_sizes`; the last interactions of a user, by time or in a random order, are the
    test, those before them the validation.
    """
    order = np.lexsort((*_order_within_user(events, split), events.users))
    users, items = events.users[order], events.items[order]
    counts = np.bincount(users, minlength=n_users)
    remaining = np.cumsum(counts)[users] - np.arange(len(users))  # 1 for a user's last, then 2, ...
    n_valid, n_test = part_sizes(counts, split)
    is_test = remaining <= n_test[users]
    is_valid = ~is_test & (remaining <= (n_test + n_valid)[users])
    return TrainValidTest(
        ItemLists.of_pairs(users[~is_test & ~is_valid], items[~is_test & ~is_valid], n_users),
        ItemLists.of_pairs(users[is_valid], items[is_valid], n_users),
        ItemLists.of_pairs(users[is_test], items[is_test], n_users),
    )


def keep_split(events: EventList, n_users: int, split: SplitPerUser) -> TrainValidTest:
    """Return the parts of interactions that are already split.

    Without validation interactions, the `valid_share` of *split* is taken from the training interactions.
    """
    assert events.parts is not None
    chosen = [events.keep(events.parts == part) for part in range(3)]
    train, valid, test = (
        ItemLists.of_pairs(part_events.users, part_events.items, n_users) for part_events in chosen
    )
    if not len(valid.items):
        by_time = isinstance(split, ByTime) and events.times is not None
        seed = split.seed if isinstance(split, ByRatio) else 0
        share: SplitPerUser = (
            ByTime(valid_share=split.valid_share, test_share=0.0)
            if by_time
            else ByRatio(valid_share=split.valid_share, test_share=0.0, seed=seed)
        )
        split_again = split_events(chosen[0], n_users, share)
        train, valid = split_again.train, split_again.valid
    return TrainValidTest(train, valid, test)


def part_sizes(counts: IntArray, split: SplitPerUser) -> tuple[IntArray, IntArray]:
    """Return the sizes of validation and test for users with *counts* interactions, each (U,).

    Each share is rounded to the nearest integer, half up. One interaction is always left for training, taken
    from the validation first, then from the test.
    """
    spare = np.maximum(counts - 1, 0)
    n_test = np.minimum(_round_half_up(counts * split.test_share), spare)
    n_valid = np.minimum(_round_half_up(counts * split.valid_share), spare - n_test)
    return n_valid, n_test


def _round_half_up(numbers: NDArray[np.floating]) -> IntArray:
    # 1e-9 makes 0.3 * 5 = 1.4999999999999998 round like the intended 1.5
    rounded: IntArray = np.floor(numbers + 0.5 + 1e-9).astype(np.int64)
    return rounded


def _order_within_user(events: EventList, split: SplitPerUser) -> tuple[NDArray[np.generic], ...]:
    """Return sort keys in the order of lexsort: the last key counts most."""
    position = np.arange(len(events))
    match split:
        case ByRatio(seed=seed):
            return (stream(seed, "split").permutation(len(events)),)
        case ByTime():
            if events.times is None:
                raise ValueError("times(=None) must be given to split by time")
            return (events.items, position, events.times)
