"""Sums by clock second, from which peaks are read.

Seconds of the simulated clock are the same for all devices, so sums by second can be added. They are kept by
hour; hours without any event take no memory.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emulator.metrics.exact_sums import limbs
from emulator.metrics.row_index import IntArray, find_distinct
from wire.units import NS_PER_S

PAGE_SECONDS = 3600
Pages = Mapping[int, IntArray]
"""Sums by second, of each hour in which there is any."""


def sum_by_second(t_ns: IntArray, values: NDArray[Any]) -> Pages:  # Any: whole numbers of any width
    """Return the sums of *values* by the clock second of their time."""
    if not len(t_ns):
        return {}
    second = t_ns // NS_PER_S
    hour = second // PAGE_SECONDS
    hours, page = find_distinct(hour, int(hour.max()) + 1)
    sums = np.zeros(len(hours) * PAGE_SECONDS, dtype=np.int64)
    for shift, limb in limbs(values):
        sums += (
            np.bincount(page * PAGE_SECONDS + second % PAGE_SECONDS, limb, len(sums)).astype(np.int64)
            << shift
        )
    pages = sums.reshape(-1, PAGE_SECONDS)
    return dict(zip(hours.tolist(), pages, strict=True))


def add_pages(first: Pages, second: Pages) -> Pages:
    """Return the sums of both."""
    sums = dict(first)
    for hour, page in second.items():
        sums[hour] = sums[hour] + page if hour in sums else page
    return dict(sorted(sums.items()))


def busiest(pages: Pages, seconds: int) -> float:
    """Return the largest sum in any clock second or minute, per second.

    Args:
        pages: sums by second.
        seconds: length of the spans, which begin at multiples of it; it divides an hour.
    """
    most = (int(page.reshape(-1, seconds).sum(axis=1).max()) for page in pages.values())
    return max(most, default=0) / seconds


def running_totals(pages: Pages) -> tuple[IntArray, IntArray]:
    """Return all seconds of the hours of *pages*, and the total of all sums until the end of each."""
    if not pages:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    seconds = [hour * PAGE_SECONDS + np.arange(PAGE_SECONDS) for hour in pages]
    return np.concatenate(seconds), np.cumsum(np.concatenate(list(pages.values())))
