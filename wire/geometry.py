"""The geometry of an item table: its blocks, their codec, and the way of scoring.

Letters: I items, d dimensions, M item groups, N slices of w dimensions, P precision planes. Items are in
catalogue order, most popular first. Cell ``(m, n)`` is the rows of item group m, ``m * I // M`` up to ``(m +
1) * I // M``, and the columns of slice n, ``n * w`` up to ``(n + 1) * w``. Block ``(m * N + n) * P + p``
brings cell (m, n) to plane p, from the plane to which the cell's last block before it in the ranking brought
it. Most codecs have one plane: then a block is a whole cell.
"""

from enum import StrEnum
from itertools import pairwise

import msgspec

from wire.codecs import Codec

MAX_BLOCKS = 2**16
MAX_ITEMS = 2**28
MAX_DIM = 2**16
MAX_ITEM_GROUP_ENDS = 256


class Score(StrEnum):
    """The ways to compute a score from the blocks held: `devices.recommender.scoring`."""

    ALIGNED = "aligned"
    TILED = "tiled"  # as in the paper; the rank of the scores is that of one slice, whatever is held


def codec_hint(error: Exception) -> str:
    """Return a hint for *error*, if it is about a codec that this program does not have; else nothing."""
    return "; is it the codec of a plug-in that is not installed here?" if "codec`" in str(error) else ""


class Unheld(StrEnum):
    """The score of an item of whose group no block is held."""

    LAST = "last"  # none: it ranks behind all others
    ZERO = "zero"  # that of the mean item, since tables are centred


class ItemOrder(StrEnum):
    """The order in which item groups divide the items."""

    CATALOGUE = "catalogue"  # that of the catalogue, the same for all user groups
    OWN = "own"  # each user group's own: blocks bring lists of items (`wire.item_lists`)


class Geometry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The shape of an item table and of its blocks."""

    items: int
    """I, the number of items of the catalogue; item 0 is the most popular."""
    dim: int
    """d, the number of dimensions of an embedding."""
    item_groups: int
    """M, the number of groups of neighbouring items, from 1 to I."""
    slice_width: int
    """w, the dimensions of a slice, from 1 to d; the last slice is narrower if w does not divide d."""
    codec: Codec
    """The codec of the numbers of a block."""
    planes: int = 1
    """P; more than one only if the codec is embedded."""
    score: Score = Score.ALIGNED
    """The way to compute a score from the blocks held."""
    unheld: Unheld | msgspec.UnsetType = msgspec.UNSET  # unset in the notices of older clouds
    """The score of an item without a block; `last` if it is left out."""
    order: ItemOrder | msgspec.UnsetType = msgspec.UNSET
    """The order of items from which item groups are cut; `catalogue` if it is left out."""
    item_group_ends: tuple[int, ...] | msgspec.UnsetType = msgspec.UNSET
    """The end of each item group in that order; if it is left out, they are equally long."""

    def __post_init__(self) -> None:
        for name, most in (("items", MAX_ITEMS), ("dim", MAX_DIM)):
            if getattr(self, name) > most:  # before memory is allocated
                raise ValueError(f"{name}(={getattr(self, name)}) must be at most {most}")
        if not 1 <= self.item_groups <= self.items:
            raise ValueError(f"item_groups(={self.item_groups}) must be from 1 to items(={self.items})")
        if not 1 <= self.slice_width <= self.dim:
            raise ValueError(f"slice_width(={self.slice_width}) must be from 1 to dim(={self.dim})")
        most = self.codec.coder.max_planes
        if not 1 <= self.planes <= most:
            raise ValueError(f"planes(={self.planes}) of codec {self.codec} must be from 1 to {most}")
        if self.blocks > MAX_BLOCKS:
            raise ValueError(f"blocks(={self.blocks}) must be at most {MAX_BLOCKS}")
        if self.order is ItemOrder.OWN and (self.floor or not self.codec.embedded):
            raise ValueError("order(=own) needs unheld(=zero) and a codec whose blocks have sizes")
        self._check_ends()

    def _check_ends(self) -> None:
        ends = self.item_group_ends
        if ends is msgspec.UNSET:
            return
        if len(ends) > MAX_ITEM_GROUP_ENDS:
            raise ValueError(f"item_group_ends(={len(ends)} numbers) must be at most {MAX_ITEM_GROUP_ENDS}")
        rising = all(before < end for before, end in pairwise((0, *ends)))
        if len(ends) != self.item_groups or not rising or ends[-1] != self.items:
            raise ValueError(f"item_group_ends must rise item group by item group to items(={self.items})")

    @property
    def floor(self) -> bool:
        """True if only items with a block can be ranked: rankings begin with a block of each item group."""
        return self.unheld is not Unheld.ZERO

    @property
    def slices(self) -> int:
        """N; the last slice is narrower if w does not divide d."""
        return -(-self.dim // self.slice_width)

    @property
    def blocks(self) -> int:
        """M * N * P."""
        return self.item_groups * self.slices * self.planes

    def cell(self, block: int) -> tuple[int, int]:
        """Return item group and slice (m, n) of *block*."""
        return divmod(block // self.planes, self.slices)

    def plane(self, block: int) -> int:
        """Return the plane p to which *block* brings its cell."""
        return block % self.planes

    def rows(self, block: int) -> slice:
        """Return the items of *block*, by their places in the order."""
        return self.item_group(block // self.planes // self.slices)

    def item_group(self, m: int) -> slice:
        """Return the items of an item group, by their places in the order."""
        if self.item_group_ends is not msgspec.UNSET:
            return slice(self.item_group_ends[m - 1] if m else 0, self.item_group_ends[m])
        return slice(m * self.items // self.item_groups, (m + 1) * self.items // self.item_groups)

    def columns(self, block: int) -> slice:
        """Return the dimensions of *block*."""
        n = block // self.planes % self.slices
        return slice(n * self.slice_width, min((n + 1) * self.slice_width, self.dim))

    def shape(self, block: int) -> tuple[int, int]:
        """Return (rows, columns) of *block*."""
        rows, columns = self.rows(block), self.columns(block)
        return rows.stop - rows.start, columns.stop - columns.start
