"""Layers: a ranking divided at block boundaries, so that a PEE has a short name.

A budget selects the largest number of layers that fit. Layer 0 is empty; layer l holds the first
``blocks[l]`` blocks of the group's ranking, for which a device stores ``bytes[l]`` bytes.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Self

import msgspec


class Layers(msgspec.Struct, frozen=True):
    """The layer table of one user group's ranking, layer 0 included."""

    blocks: tuple[int, ...]
    bytes: tuple[int, ...]

    def __post_init__(self) -> None:
        rising = all(a < b for column in (self.blocks, self.bytes) for a, b in pairwise(column))
        if (
            len(self.blocks) != len(self.bytes)
            or self.blocks[:1] != (0,)
            or self.bytes[:1] != (0,)
            or not rising
        ):
            raise ValueError("layers must start at 0 blocks and 0 bytes and rise")

    @classmethod
    def above_zero(cls, blocks: Sequence[int], sizes: Sequence[int]) -> Self:
        """Return the table with *blocks* and *sizes* of layers 1, 2, ..."""
        return cls((0, *map(int, blocks)), (0, *map(int, sizes)))

    @property
    def top(self) -> int:
        """The number of the last layer, which holds the whole ranking."""
        return len(self.blocks) - 1

    def best(self, budget_bytes: int) -> int:
        """Return the highest layer that fits into *budget_bytes*."""
        return bisect_right(self.bytes, budget_bytes) - 1

    def complete(self, held: int) -> int:
        """Return the highest layer that the first *held* blocks of the ranking complete."""
        return bisect_right(self.blocks, held) - 1
