"""The decoded tables of layers, which the emulated devices of a process share.

A device holds a layer of its user group's ranking. Decoding it takes milliseconds, and a fleet asks for the
same layers again and again: the numbers of each block are kept once for a group, and the tables used last.
"""

from collections import OrderedDict
from collections.abc import Hashable, Mapping
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.learning import LearningSettings, LearningTable
from devices.recommender.scoring import ItemTable, score_factors, unheld_score
from wire.arrays import Float32Array
from wire.geometry import Geometry
from wire.item_lists import ItemGroups
from wire.ranking_metrics import FloatArray

Key = TypeVar("Key", bound=Hashable)
Entry = TypeVar("Entry", "DecodedTable", "DecodedRanking")

MOST_BYTES = 256 * 2**20
"""Memory of the tables, and again of the numbers of blocks, from which the tables are put together."""


class DecodedTable:
    """The item embeddings of one layer of a ranking, as factors of scores.

    Args:
        values: shape (I, d); 0 where no block is held.
        held: True for each cell of which a block is held, shape (M, N).
        geometry: the partition of the table and the form of the score.
        groups: the items of each item group, of those at least of which a block is held.
        learning: the settings of learning.
    """

    def __init__(
        self,
        values: Float32Array,
        held: NDArray[np.bool_],
        geometry: Geometry,
        groups: ItemGroups,
        learning: LearningSettings,
    ) -> None:
        self.factors = np.zeros(values.shape)
        """The vectors whose products with a user's vector are the scores, shape (I, d)."""
        self.size_bytes = self.factors.nbytes
        is_held = np.zeros(len(values), dtype=np.bool_)
        for m, rows in groups.known():
            if held[m].any():
                is_held[rows] = True
                self.factors[rows] = score_factors(values[rows], held[m], geometry)
        self._unheld = np.flatnonzero(~is_held)
        self._unheld_score = unheld_score(geometry, bool(held.any()))
        self._settings = learning

    def scores(self, user: Float32Array) -> FloatArray:
        """Return the score of every item for a user's vector, shape (1, I), as `ItemTable.scores` does."""
        scores = self.factors @ user.astype(np.float64)
        scores[self._unheld] = self._unheld_score
        return np.asarray(scores[np.newaxis])

    @cached_property
    def learning(self) -> LearningTable:
        """The table to learn with."""
        return LearningTable(self.factors, self._settings)


class DecodedRanking:
    """The numbers that each block of a ranking brings, decoded when they are first needed.

    Args:
        prefix: the complete ranking.
        learning: the settings of learning.
    """

    def __init__(self, prefix: BlockPrefix, learning: LearningSettings) -> None:
        self._prefix = prefix
        self._learning = learning
        self._table = ItemTable(prefix)
        self._cells: list[Float32Array] = []
        self.size_bytes = self._table.values.nbytes

    def table(self, layer: int) -> DecodedTable:
        """Return the table of *layer*."""
        prefix, geometry, groups = self._prefix, self._prefix.geometry, self._table.groups
        blocks = prefix.layers.blocks[layer]
        for index in range(len(self._cells), blocks):
            self._table.hold(index + 1)
            block = prefix.ids[index]
            rows = groups.rows(geometry.cell(block)[0])
            cell = self._table.values[rows, geometry.columns(block)].copy()
            self._cells.append(cell)
            self.size_bytes += cell.nbytes
        values = np.zeros((geometry.items, geometry.dim), dtype=np.float32)
        held = np.zeros((geometry.item_groups, geometry.slices), dtype=np.bool_)
        newest = {prefix.ids[index] // geometry.planes: index for index in range(blocks)}
        for index in newest.values():
            block = prefix.ids[index]
            values[groups.rows(geometry.cell(block)[0]), geometry.columns(block)] = self._cells[index]
            held[geometry.cell(block)] = True
        return DecodedTable(values, held, geometry, groups, self._learning)


class DecodedTables:
    """The tables of layers by model version, user group and layer; those used last are kept.

    Args:
        prefixes: the complete ranking of each user group, by model version.
        learning: the settings of learning.
        most_bytes: memory of the tables; rankings take as much again.
    """

    def __init__(
        self,
        prefixes: Mapping[str, Mapping[int, BlockPrefix]],
        learning: LearningSettings,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._prefixes = prefixes
        self._learning = learning
        self._most_bytes = most_bytes
        self._tables: OrderedDict[tuple[str, int, int], DecodedTable] = OrderedDict()
        self._rankings: OrderedDict[tuple[str, int], DecodedRanking] = OrderedDict()

    def at(self, version: str, group: int, layer: int) -> DecodedTable:
        """Return the table of a layer."""
        key = version, group, layer
        table = self._tables.get(key)
        if table is None:
            table = self._tables[key] = self._ranking(version, group).table(layer)
            _drop_oldest(self._tables, self._most_bytes)
            _drop_oldest(self._rankings, self._most_bytes)
        self._tables.move_to_end(key)
        return table

    def full(self, version: str, group: int) -> DecodedTable:
        """Return the table of the complete ranking."""
        return self.at(version, group, self._prefixes[version][group].layers.top)

    def _ranking(self, version: str, group: int) -> DecodedRanking:
        key = version, group
        ranking = self._rankings.get(key)
        if ranking is None:
            ranking = self._rankings[key] = DecodedRanking(self._prefixes[version][group], self._learning)
        self._rankings.move_to_end(key)
        return ranking


def _drop_oldest(entries: OrderedDict[Key, Entry], most_bytes: int) -> None:
    """Drop the entries used longest ago until the others fit; the newest stays."""
    size = sum(entry.size_bytes for entry in entries.values())
    while size > most_bytes and len(entries) > 1:
        size -= entries.popitem(last=False)[1].size_bytes
