"""Compares all selection policies at every budget, on one trained model.

One model is trained per data set and cached. Each policy then ranks the same blocks, without a floor of one
per item group, in as many layers as blocks, so that a budget gets the longest prefix that fits. Budgets are
shares of the item table in fp32, quality is test NDCG@10 as a share of the whole fp32 table's. *Exact* is not
a ranking: it is the heaviest subset of each user group's blocks for each budget by itself
(`benchmarks.best_subset`). Blocks of codec int8 are in slices of 2, as in `benchmarks.quality`.
``python -m benchmarks.selection`` prints tables and writes ``selection.json``.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.anchors import data_root
from benchmarks.best_subset import Chain, best_subsets
from benchmarks.figures import write
from benchmarks.quality.sources import Source, open_source
from cloud.blocks.embedded_table import rank_embedded, scale_for_embedding
from cloud.blocks.encoding import cell_candidates
from cloud.blocks.group_table import group_table
from cloud.blocks.selection import Selection
from cloud.blocks.store import BlockStore, GroupBlocks
from cloud.blocks.trained_model import TrainedModel
from cloud.data.interactions import Interactions
from cloud.training.config import Training
from devices.recommender.quality import HeldOut
from emulator.simulation.evaluation import evaluate, qualities_by_user
from emulator.simulation.model_cache import encode_store, train_once
from scenarios.language.schema import Model
from wire.blocks import Blocks
from wire.codecs import Codec
from wire.geometry import Geometry
from wire.layers import Layers
from wire.ranking_metrics import FloatArray

QUICKSTART = Path(__file__).resolve().parents[1] / "scenarios" / "quickstart.yaml"
SHARES = (0.0025, 0.005, 0.01, 0.02, 0.05, 0.10)
CODECS = {Codec.CODED: 8, Codec.INT8: 2}
"""The codecs that are compared, and how wide their slices are."""
EVERY_BLOCK = 65_536
"""More layers than there are blocks."""
LAYERS = Model().layers
EXACT = "exact best subset"
FEW_LAYERS = f"peel, {LAYERS} layers"


@dataclass(frozen=True, eq=False)
class Row:
    """The quality of one policy at one budget."""

    policy: str
    ndcg: FloatArray
    """Of each budget and user that wants anything, shape (budgets, users); NaN where nothing is defined."""


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """The share of the exact best subset's weight that a prefix has, over user groups."""

    budget_share: float
    prefix_mean: float
    """The longest prefix of PEEL's ranking that fits."""
    prefix_least: float
    layers_mean: float
    """The highest of PEEL's layers that fits."""
    layers_least: float
    floor_mean: float
    """The exact best subset, of what it would weigh if no floor were asked for."""


@dataclass(frozen=True, eq=False)
class Exact:
    """The best subsets of every user group: ``stores`` by budget, None where a group has none."""

    stores: list[BlockStore | None]
    gaps: list[Gap]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, write ``selection.json``."""
    parser = argparse.ArgumentParser(description="Compare rankings of blocks at equal bytes.")
    parser.add_argument("--data", type=Path, default=data_root(), help="the folder that holds ml-100k")
    given = parser.parse_args(arguments)
    started, folder = time.monotonic(), given.data / "ml-100k"
    sources = [open_source(None, QUICKSTART)] + ([open_source(folder, None)] if folder.is_dir() else [])
    found = [row for source in sources for row in _of_source(source)]
    write("selection", {"seconds": time.monotonic() - started, "rows": found})
    return 0


def _of_source(source: Source) -> list[dict[str, object]]:
    training = source.model.training
    trained, new = train_once(source.interactions, training, None, _tell)
    print(f"{source.interactions.name}: {'trained' if new else 'kept'}", file=sys.stderr, flush=True)
    return [each for codec in CODECS for each in _of_codec(source.interactions, trained, training, codec)]


def _of_codec(
    interactions: Interactions, trained: TrainedModel, training: Training, codec: Codec
) -> list[dict[str, object]]:
    narrow, model = cut_into_slices(trained, training, codec)
    rows, exact = compare(interactions, narrow, model, SHARES)
    full = full_ndcg(trained)
    title = f"{interactions.name}, {codec}: NDCG@10, share of full's {full:.4f}"
    Console(width=120).print(as_table(rows, full, SHARES, title), gaps_table(exact.gaps))
    return [
        {"data": interactions.name, "codec": codec, "policy": row.policy, "budget_share": share, "ndcg": mean}
        for row in rows
        for share, mean in zip(SHARES, row.ndcg.mean(axis=1).tolist(), strict=True)
    ] + [{"data": interactions.name, "codec": codec} | msgspec.to_builtins(gap) for gap in exact.gaps]


def cut_into_slices(trained: TrainedModel, training: Training, codec: Codec) -> tuple[TrainedModel, Model]:
    """Return a trained model cut into the slices of `CODECS` for *codec*, and its storage settings.

    A narrower slice has the correction of the slice that contains it, so nothing is trained. Item groups are
    those of the catalogue: a list of items in front of some blocks would have no place in a knapsack.
    """
    width = min(CODECS[codec], training.slice_width)
    dim, of = trained.user_vectors.shape[1], np.arange(0, trained.user_vectors.shape[1], width)
    assert training.slice_width % width == 0, f"slices of {training.slice_width} of {dim} cannot be cut"
    corrections = trained.corrections[:, :, of // training.slice_width]
    sliced = msgspec.structs.replace(training, slice_width=width)
    model = Model(training=sliced, codec=codec, order="catalogue")
    return replace(trained, corrections=corrections), model


def compare(
    interactions: Interactions, trained: TrainedModel, model: Model, shares: Sequence[float]
) -> tuple[list[Row], Exact]:
    """Return the quality of each policy at each budget, and the gap of PEEL's ranking to the best subsets.

    Args:
        interactions: the training data.
        trained: the model.
        model: its storage settings; the codec decides which policies differ.
        shares: budgets, ascending, as shares of the item table in fp32.
    """
    budgets = [int(share * trained.item_tables[0].nbytes) for share in shares]
    stores = {
        selection: _build_store(trained, model, selection, EVERY_BLOCK)
        for selection in Selection
        if selection is Selection.PEEL or not selection.is_peel(model.codec.embedded)
    }
    few = _build_store(trained, model, Selection.PEEL, LAYERS)
    exact = best_subsets_by_group(
        stores[Selection.PEEL], few, trained, list(zip(shares, budgets, strict=True))
    )
    rows = [Row(each.value, ndcg_at(store, interactions, budgets)) for each, store in stores.items()]
    best = [_whole(store, interactions) for store in exact.stores]
    rows[1:1] = [Row(FEW_LAYERS, ndcg_at(few, interactions, budgets)), Row(EXACT, np.stack(best))]
    return rows, exact


def _build_store(trained: TrainedModel, model: Model, selection: Selection, layers: int) -> BlockStore:
    changed = msgspec.structs.replace(model, selection=selection, layers=layers)
    return encode_store(trained, changed, lambda _done, _total: None)


def full_ndcg(trained: TrainedModel) -> float:
    """Return the test NDCG@10 of the whole fp32 tables."""
    tested = trained.report["test"]
    assert isinstance(tested, dict)
    return float(tested["ndcg_at_10"])


def ndcg_at(store: BlockStore, interactions: Interactions, budgets: Sequence[int]) -> FloatArray:
    """Return NDCG@10 of each user with test items, shape (budgets, users)."""
    users_with_tests = np.flatnonzero(interactions.test.counts()).tolist()
    table = evaluate(store, HeldOut(interactions.known, interactions.test), users_with_tests)
    qualities = qualities_by_user(store, table)
    users = [qualities[user] for user in users_with_tests]
    return np.array([[user.at(user.best_layer(budget)).ndcg_at_10 for user in users] for budget in budgets])


def _whole(store: BlockStore | None, interactions: Interactions) -> FloatArray:
    if store is None:
        return np.full(np.count_nonzero(interactions.test.counts()), np.nan)
    most = max(group.layers.bytes[-1] for group in store.groups)
    return np.asarray(ndcg_at(store, interactions, [most])[0])


# --- the best subsets -----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class RankedBlocks:
    """A user group's blocks in PEEL's order: weights and bytes, shapes (B,), and the group."""

    blocks: GroupBlocks
    weights: FloatArray
    sizes: NDArray[np.int64]
    cells: list[tuple[int, int]]

    def chains(self) -> tuple[list[Chain], list[list[int]]]:
        """Return a chain for each cell, and the indices of its blocks in the ranking."""
        places: dict[tuple[int, int], list[int]] = {}
        for place, cell in enumerate(self.cells):
            places.setdefault(cell, []).append(place)
        weights, sizes = self.weights.tolist(), self.sizes.tolist()
        chains = [
            Chain(m, tuple(weights[each] for each in own), tuple(sizes[each] for each in own))
            for (m, _), own in places.items()
        ]
        return chains, list(places.values())

    def best(self, budgets: Sequence[int], *, floor: bool) -> list[list[int] | None]:
        """Return the indices of the best subset for each budget, None if the floor does not fit."""
        chains, places = self.chains()
        return [
            None
            if counts is None
            else sorted(p for own, count in zip(places, counts, strict=True) for p in own[:count])
            for counts in best_subsets(chains, budgets, floor=floor)
        ]

    def weight_of_first(self, layers: Layers, budgets: Sequence[int]) -> list[float]:
        """Return the weight of the highest of *layers* within each budget."""
        sums = np.concatenate([[0.0], np.cumsum(self.weights)])
        return [float(sums[layers.blocks[layers.best(budget)]]) for budget in budgets]


def best_subsets_by_group(
    peel: BlockStore, few: BlockStore, trained: TrainedModel, budgets: Sequence[tuple[float, int]]
) -> Exact:
    """Return the best subsets of every group, and the share of their weight in a prefix of PEEL's ranking.

    Args:
        peel: with as many layers as blocks.
        few: the same with few layers.
        trained: the model.
        budgets: each as a share and in bytes.
    """
    sizes = [size for _, size in budgets]
    groups = [_group_blocks(peel, trained, number) for number in range(len(peel.groups))]
    floored, free = ([group.best(sizes, floor=floor) for group in groups] for floor in (True, False))
    with_floor, heaviest = (
        np.array([_weights(group, found) for group, found in zip(groups, subsets, strict=True)])
        for subsets in (floored, free)
    )
    subsets, best = (floored, with_floor) if peel.geometry.floor else (free, heaviest)
    prefix = np.array([group.weight_of_first(group.blocks.layers, sizes) for group in groups])
    layered = np.array(
        [group.weight_of_first(few.groups[at].layers, sizes) for at, group in enumerate(groups)]
    )
    stores, gaps = [], []
    for at, (share, _) in enumerate(budgets):
        stores.append(_subset_store(peel, [found[at] for found in subsets]))
        if stores[-1] is not None:
            own, few_own = prefix[:, at] / best[:, at], layered[:, at] / best[:, at]
            gaps.append(
                Gap(
                    budget_share=share,
                    prefix_mean=float(own.mean()),
                    prefix_least=float(own.min()),
                    layers_mean=float(few_own.mean()),
                    layers_least=float(few_own.min()),
                    floor_mean=float((with_floor[:, at] / heaviest[:, at]).mean()),
                )
            )
    return Exact(stores, gaps)


def _group_blocks(store: BlockStore, trained: TrainedModel, number: int) -> RankedBlocks:
    geometry, blocks = store.geometry, store.groups[number]
    group, ranking = group_table(trained, number), blocks.ranking()
    if not geometry.floor:
        group = group.centred()  # as it was encoded
    if geometry.codec.embedded:
        steps = rank_embedded(geometry, scale_for_embedding(group)[0], group)
        weights = np.array([step.utility * step.bytes for step in steps])
    else:
        weights = cell_candidates(geometry, group).weights[ranking]
    sizes = np.diff(blocks.layers.bytes)
    return RankedBlocks(blocks, weights, sizes, [geometry.cell(block) for block in ranking])


def _weights(group: RankedBlocks, found: Sequence[list[int] | None]) -> list[float]:
    return [float(group.weights[places or []].sum()) for places in found]


def _subset_store(store: BlockStore, found: Sequence[list[int] | None]) -> BlockStore | None:
    """Return *store* with only the blocks at the indices *found* for each group."""
    groups = [
        _subset(store.geometry, group, places)
        for group, places in zip(store.groups, found, strict=True)
        if places
    ]
    return replace(store, groups=tuple(groups)) if len(groups) == len(found) else None


def _subset(geometry: Geometry, group: GroupBlocks, places: Sequence[int]) -> GroupBlocks:
    parts = [group.blocks.part(at, at + 1, group.starts, geometry.codec) for at in places]
    blocks = Blocks(*(b"".join(column) for column in zip(*parts, strict=True)))
    return GroupBlocks.of(geometry, blocks, lambda sizes: Layers.above_zero([len(sizes)], [sum(sizes)]))


# --- tables ---------------------------------------------------------------------------------------


def as_table(rows: Sequence[Row], full: float, shares: Sequence[float], title: str) -> Table:
    """Return the quality of each policy as a share of *full*, with standard errors."""
    table = Table(title=title)
    table.add_column("selection", no_wrap=True)
    for share in shares:
        table.add_column(f"{100 * share:.4g} %", justify="right")
    table.add_column("± at most", justify="right")
    for row in rows:
        means, error = row.ndcg.mean(axis=1) / full, _standard_error(row.ndcg - rows[0].ndcg) / full
        table.add_row(
            row.policy, *("" if np.isnan(mean) else f"{mean:.3f}" for mean in means), f"{error:.3f}"
        )
    return table


def gaps_table(gaps: Sequence[Gap]) -> Table:
    """Return the shares of the best subsets' weight that prefixes have."""
    table = Table(title="weight, of the exact best subset's: mean and least over user groups")
    for column in ("budget", "peel", "least", FEW_LAYERS, "least", "floor: exact with, of exact without"):
        table.add_column(column, justify="right")
    for gap in gaps:
        shown = (gap.prefix_mean, gap.prefix_least, gap.layers_mean, gap.layers_least, gap.floor_mean)
        table.add_row(f"{100 * gap.budget_share:.4g} %", *(f"{each:.5f}" for each in shown))
    return table


def _standard_error(differences: FloatArray) -> float:
    """Return the largest standard error of a budget's mean over users, NaN left out."""
    defined = differences[np.isfinite(differences).all(axis=1)]
    if not len(defined):
        return 0.0
    return float((defined.std(axis=1, ddof=1) / np.sqrt(defined.shape[1])).max())


def _tell(stage: str, done: int, total: int, note: str) -> None:
    if done == total:
        print(f"{stage}: {note}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
