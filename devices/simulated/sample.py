"""The sample of a fleet: a share of each group's devices, drawn by the seed and the device's id.

A device is in the sample if its number, drawn from the seed and its id, is among the smallest of its group.
So a larger sample holds every smaller one, and no group is without a device.
"""

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from wire.random_streams import draw


def sample_size(count: int, share: float) -> int:
    """Return the number of devices that are drawn from a group of *count*: at least one."""
    return max(round(Fraction(repr(float(share))) * count), 1)


def draw_sample(group: str, count: int, seed: int, share: float) -> NDArray[np.int64]:
    """Return which devices of a group are in the sample: their numbers in the group, rising.

    Args:
        group: its name.
        count: number of its devices.
        seed: of the run.
        share: the share of them that is drawn.
    """
    numbers = np.fromiter((draw(seed, "sample", f"{group}-{at:05d}") for at in range(count)), float, count)
    order = np.argsort(numbers, kind="stable")
    return np.sort(order[: sample_size(count, share)]).astype(np.int64)
