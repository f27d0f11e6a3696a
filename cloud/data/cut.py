"""One cut in time for all users: what is before it trains the model, what comes after it is met by devices.

This file reads no files. No number, order or minimum depends on an interaction after the cut.
Letters: L interactions.
"""

import numpy as np
from numpy.typing import NDArray

from cloud.data.interactions import Interactions, LaterInteractions, ReadCounts
from cloud.data.sources import ByCut, ByTime
from cloud.data.splits import EventList, split_events
from wire.ranking_metrics import FloatArray, IntArray, ItemLists

UNITS_PER_S = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
"""Times above the first number have the second number of units a second: nanoseconds, micro-, milliseconds.

As seconds they would be dates after the year 5000.
"""


def cut_events(events: EventList, warm_up: float) -> tuple[EventList, EventList]:
    """Return the interactions before one moment, in the order of their source, and the others, by time.

    Args:
        events: with times.
        warm_up: part of the interactions before the moment, which is that of the first one of the others.
    """
    assert events.times is not None
    order = np.argsort(events.times, kind="stable")
    cut = events.times[order[min(int(warm_up * len(events)), len(events) - 1)]]
    return events.keep(events.times < cut), events.keep(order[events.times[order] >= cut])


def divide_at_cut(
    split: ByCut, name: str, events: tuple[EventList, EventList], ids: tuple[list[str], list[str]],
    read: ReadCounts,
) -> Interactions:  # fmt: skip
    """Return interactions that were cut, with new numbers for users and items.

    Args:
        split: the settings.
        name: of the data.
        events: before the cut, without repeats and with all minima applied; and after it, by time. Both
            have the numbers of their source.
        ids: the names of users and of items by the numbers of the source.
        read: the counts of reading.
    """
    before, after = events
    assert after.times is not None
    users, new_users, user_ids = _renumber(before.users, after.users, ids[0])
    items, new_items, item_ids = _renumber(before.items, after.items, ids[1])
    n_users, n_items = int(users.max()) + 1, int(items.max()) + 1
    parts = split_events(
        EventList(users, items, before.times), n_users, ByTime(valid_share=split.valid_share, test_share=0.0)
    )
    later = LaterInteractions(
        new_users, new_items, seconds_since_first(after.times), user_ids[n_users:], item_ids[n_items:]
    )
    rankable = (new_users < n_users) & (new_items < n_items)
    test = ItemLists.of_pairs(new_users[rankable], new_items[rankable], n_users)
    return Interactions(
        name, parts.train, parts.valid, test, user_ids[:n_users], item_ids[:n_items], read, later
    )


def seconds_since_first(times: NDArray[np.int64] | NDArray[np.float64]) -> FloatArray:
    """Return rising times as seconds since the first; their unit is told by their size."""
    if not len(times):
        return np.empty(0)
    per_s = next((units for least, units in UNITS_PER_S if abs(float(times[-1])) > least), 1.0)
    return np.asarray((times - times[0]) / per_s, dtype=np.float64)


def _renumber(
    before: IntArray, after: IntArray, names: list[str]
) -> tuple[IntArray, IntArray, tuple[str, ...]]:
    """Number everything in *before* by first appearance, then the rest in *after*; return the names, too."""
    distinct, first = np.unique(np.concatenate([before, after]), return_index=True)
    by_appearance = np.argsort(first)
    number = np.empty(len(distinct), dtype=np.int64)
    number[by_appearance] = np.arange(len(distinct))
    new_before, new_after = (number[np.searchsorted(distinct, part)] for part in (before, after))
    return new_before, new_after, tuple(names[old] for old in distinct[by_appearance])
