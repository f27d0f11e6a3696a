"""A user group's own order of items, from which its item groups are cut: those that it wants most come first.

Letters: I items, M item groups.
"""

import numpy as np

from wire.arrays import Float32Array
from wire.geometry import Geometry, ItemOrder
from wire.item_lists import ItemGroups
from wire.ranking_metrics import IntArray

GROWTH = 1.2
"""Each item group is about so many times as long as the one before: chosen by validation with 12 to 32 item
groups on three sets of ratings. A budget of a few hundred bytes holds the first few, so they should be short;
lists of many short item groups cost more than they gain."""


def growing_ends(items: int, item_groups: int) -> tuple[int, ...]:
    """Return the end of each item group in a user group's own order."""
    reach = np.cumsum(GROWTH ** np.arange(item_groups))
    ends, before = [], 0
    for group, end in enumerate(np.floor(items * reach / reach[-1]).astype(int).tolist(), 1):
        before = min(max(end, before + 1), items - item_groups + group)  # one item at least in each
        ends.append(before)
    return (*ends[:-1], items)


def item_order(geometry: Geometry, item_weights: Float32Array) -> IntArray:
    """Return the items in the order of item groups, and within each in that of the catalogue, shape (I,).

    Args:
        geometry: of the table.
        item_weights: the weight of each item in the user group, shape (I,).
    """
    if geometry.order is not ItemOrder.OWN:
        return np.arange(geometry.items)
    order = np.argsort(-item_weights, kind="stable")
    rows = [geometry.item_group(m) for m in range(geometry.item_groups)]
    return np.concatenate([np.sort(order[each]) for each in rows])


def list_sizes(geometry: Geometry, order: IntArray) -> list[int]:
    """Return the bytes of the list of each item group, if they come in their order."""
    groups = ItemGroups(geometry)
    return [len(groups.write(m, order[geometry.item_group(m)])) for m in range(geometry.item_groups)]
