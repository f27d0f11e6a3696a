"""Lists of items: which items of the catalogue a user group has in an item group, where the order is its own.

With `wire.geometry.ItemOrder.OWN` the data of the first block of each item group in a ranking begin with the
list of its items. They are written as places, from 0, among the items that no earlier list has, ascending: of
each, how many places lie between it and the one before. Gap after gap is a Golomb-Rice code with a parameter
that follows the gaps: k is the least number with N 2^k >= A, at first N = 1 and A = 4; then floor(gap / 2^k)
ones and a zero, and the k low bits of the gap, most significant first; then A grows by the gap and N by 1,
and if N is 16 both are halved, rounded down. Bits are packed most significant first, and filled up to whole
bytes. A list of all items that are left takes no bytes.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np

from wire.errors import Reason, RemoteProtocolError
from wire.geometry import Geometry, ItemOrder
from wire.ranking_metrics import IntArray

Rows = slice | IntArray
"""Items of an item group, ascending."""

_START_SUM, _MOST_COUNT = 4, 16


class ItemGroups:
    """The items of each item group, as far as lists have come.

    Args:
        geometry: of the table.
    """

    def __init__(self, geometry: Geometry) -> None:
        self._geometry = geometry
        self._left: IntArray = np.arange(geometry.items)
        self._rows: dict[int, Rows] = {}
        if geometry.order is not ItemOrder.OWN:
            self._rows = {m: geometry.item_group(m) for m in range(geometry.item_groups)}

    def rows(self, item_group: int) -> Rows:
        """Return the items of an item group that is known."""
        return self._rows[item_group]

    def known(self) -> Iterable[tuple[int, Rows]]:
        """Return the item groups that are known, and their items."""
        return self._rows.items()

    def read(self, item_group: int, data: bytes) -> int:
        """Read the list at the start of *data* if the item group is not known, and return its bytes.

        Args:
            item_group: of the block whose data these are.
            data: of the next block of the ranking.

        Raises:
            RemoteProtocolError: there is no list of so many items.
        """
        if item_group in self._rows:
            return 0
        rows = self._geometry.item_group(item_group)
        size = rows.stop - rows.start
        places, length = decode_list(data, size, len(self._left))
        self._rows[item_group] = self._left[places]
        self._left = np.delete(self._left, places)
        return length

    def write(self, item_group: int, items: IntArray) -> bytes:
        """Return the list of the *items* of an item group, ascending, if it is not known; else nothing."""
        if item_group in self._rows:
            return b""
        places = np.searchsorted(self._left, items)
        data = encode_list(places, len(self._left))
        self._rows[item_group] = items
        self._left = np.delete(self._left, places)
        return data


def read_lists(
    geometry: Geometry, ids: Sequence[int], data: bytes, starts: Sequence[int]
) -> tuple[ItemGroups, list[int]]:
    """Return the item groups of a ranking's first blocks, and the bytes of the list in each block, mostly 0.

    Args:
        geometry: of the table.
        ids: block ids from the start of the ranking.
        data: the blocks' data, end to end.
        starts: the start of each block in *data*, and the end of the last one.

    Raises:
        RemoteProtocolError: a list is damaged.
    """
    groups = ItemGroups(geometry)
    sizes = [
        groups.read(geometry.cell(block)[0], data[starts[at] : starts[at + 1]])
        for at, block in enumerate(ids)
    ]
    return groups, sizes


def encode_list(places: Sequence[int] | IntArray, left: int) -> bytes:
    """Return the list of *places*, ascending, among *left* items."""
    if len(places) == left:
        return b""
    gaps = np.asarray(np.diff(places, prepend=-1), dtype=np.int64) - 1
    low = _parameters(gaps)
    high = gaps >> low
    ends = np.cumsum(high + 1 + low)
    zeros = ends - low - 1
    edges = np.zeros(ends[-1], dtype=np.int8)
    edges[zeros - high] += 1  # a run of ones begins
    edges[zeros] -= 1  # and ends
    bits = np.cumsum(edges, dtype=np.uint8)
    for place in range(int(low.max())):
        has = low > place
        bits[ends[has] - 1 - place] = gaps[has] >> place & 1
    return np.packbits(bits).tobytes()


def _parameters(gaps: IntArray) -> IntArray:
    """Return the parameter k of each gap, all at once: as `_next` and `_parameter` say."""
    # Rounds of gaps between halvings: N is 1 to 15 in the first, then 8 to 15. In a round A only grows.
    starts = np.concatenate([[0], np.arange(_MOST_COUNT - 1, len(gaps), _MOST_COUNT // 2)])
    sums = np.concatenate([[0], np.cumsum(gaps)])
    grown = np.diff(sums[starts]).tolist()
    totals = list(accumulate(grown, lambda total, more: (total + more) >> 1, initial=_START_SUM))
    counts = np.where(starts > 0, _MOST_COUNT // 2, 1)
    lengths = np.diff(starts, append=len(gaps))
    total = sums[:-1] + np.repeat(np.array(totals) - sums[starts], lengths)
    count = np.arange(len(gaps)) + np.repeat(counts - starts, lengths)
    least = np.maximum(-(-total // count) - 1, 0)
    return np.asarray(np.frexp(least)[1], dtype=np.int64)  # the number of its bits


def decode_list(data: bytes, size: int, left: int) -> tuple[IntArray, int]:
    """Return the places of a list of *size* among *left* items, and the number of its bytes.

    Raises:
        RemoteProtocolError: *data* do not begin with such a list.
    """
    if size == left:
        return np.arange(left), 0
    places = np.empty(size, dtype=np.int64)
    text = f"{int.from_bytes(data, 'big'):0{8 * len(data)}b}" if data else ""
    total, count, before, at = _START_SUM, 1, -1, 0
    for number in range(size):
        k = _parameter(total, count)
        end = text.find("0", at)
        low = text[end + 1 : end + 1 + k]
        gap = ((end - at) << k) + int(low or "0", 2)
        before, at = before + 1 + gap, end + 1 + k
        if end < 0 or len(low) < k or before >= left:
            raise RemoteProtocolError(Reason.CONTENT, f"{len(data)} bytes have no list of {size} items")
        places[number] = before
        total, count = _next(total, count, gap)
    return places, -(-at // 8)


def _parameter(total: int, count: int) -> int:
    """Return the least k with count 2^k >= total."""
    return max(0, -(-total // count) - 1).bit_length()


def _next(total: int, count: int, gap: int) -> tuple[int, int]:
    total, count = total + gap, count + 1
    return (total >> 1, count >> 1) if count == _MOST_COUNT else (total, count)
