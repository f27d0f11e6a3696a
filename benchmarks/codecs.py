"""The cost of each codec on a device, besides bytes: time to decode, time to rank, working memory.

One model is trained; the table of its largest user group is stored by every codec. Budgets are shares of that
table in fp32; each selects a layer, and one user is ranked with what it holds. *Decode* starts from nothing,
*grow* from the layer below it. *Table* keeps the decoded items (`ItemTable`), *lean* decodes one item group
at a time at every ranking (`streaming_scores`). Times are medians of rounds, on one thread; ranking ends with
the ten best items.

Working memory is what is allocated between nothing but the stored blocks and a finished ranking, at its
peak, as tracemalloc sees it: numpy's arrays and Python's objects, but not the state that the range coder
keeps in Rust, which is that of one block, nor what a `BlockPrefix` keeps beside the bytes.
``python -m benchmarks.codecs`` prints a table and writes ``codecs.json``.
"""

import argparse
import functools
import statistics
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from benchmarks.anchors import data_root
from benchmarks.figures import write
from cloud.blocks.trained_model import TrainedModel
from cloud.data.load import load
from cloud.data.sources import Data, LightGCN, Synthetic
from cloud.training.config import Training
from cloud.training.train import train
from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.pee_file import prefix_of
from devices.recommender.scoring import ItemTable, streaming_scores
from emulator.simulation.model_cache import encode_store
from scenarios.language.schema import Model
from wire.arrays import Float32Array
from wire.codecs import Codec
from wire.layers import Layers
from wire.ranking_metrics import FloatArray, IntArray, top_k
from wire.units import approximate_bytes

SHARES = (0.01, 0.05, 0.25, 1.0)
ROUNDS = 7
K = 10
SMALL = Synthetic(users=200, items=200, interactions_per_user=15, user_groups=2, item_kinds=4)
SMALL_TRAINING = Training(dim=16, epochs=4, user_groups=2)


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of one codec at one budget."""

    codec: Codec
    budget_share: float
    """Of the table in fp32."""
    budget_bytes: int
    held_bytes: int
    """As a device stores them, all overhead included."""
    blocks: int
    layer: int
    decode_ms: float
    grow_ms: float
    grow_blocks: int
    """How many blocks the growth by one layer brings."""
    rank_table_ms: float
    rank_lean_ms: float
    table_working_bytes: int
    lean_working_bytes: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write ``codecs.json``."""
    parser = argparse.ArgumentParser(description="Measure what decoding and ranking cost by codec.")
    parser.add_argument("--data", type=Path, default=data_root(), help="the folder that holds ml-1m")
    parser.add_argument("--quick", action="store_true", help="a small synthetic model, one round")
    given = parser.parse_args(arguments)
    folder = given.data / "ml-1m"
    data: Data = SMALL if given.quick else LightGCN(path=str(folder)) if folder.is_dir() else Synthetic()
    training, rounds = (SMALL_TRAINING, 1) if given.quick else (Training(), ROUNDS)
    interactions = load(data)
    print(f"training on {interactions.name}", file=sys.stderr, flush=True)
    model = largest_group(train(interactions, training, lambda _: None))
    with threadpool_limits(limits=1):
        costs = [cost for codec in Codec for cost in measure(model, training, codec, rounds)]
    items, dim = model.item_tables[0].shape
    title = f"{interactions.name}, {items:,} items x {dim} dimensions"
    Console(width=150).print(as_table(costs, title))
    figures: dict[str, object] = {
        "data": interactions.name,
        "items": items,
        "dim": dim,
        "rounds": rounds,
        "working_memory": "peak of tracemalloc, beside the stored blocks",
        "rows": [msgspec.to_builtins(cost) for cost in costs],
    }
    write("codecs-quick" if given.quick else "codecs", figures)
    return 0


def largest_group(model: TrainedModel) -> TrainedModel:
    """Return the model of its largest user group alone."""
    group = int(np.bincount(model.user_groups).argmax())
    members = np.flatnonzero(model.user_groups == group)
    return replace(
        model,
        user_vectors=model.user_vectors[members],
        user_groups=np.zeros(len(members), dtype=np.int64),
        item_tables=(model.item_tables[group],),
        item_weights=model.item_weights[group : group + 1],
        corrections=model.corrections[group : group + 1],
    )


# --- one codec --------------------------------------------------------------------------------------


def measure(
    model: TrainedModel, training: Training, codec: Codec, rounds: int, shares: Sequence[float] = SHARES
) -> Iterator[Cost]:
    """Yield the cost of *codec* at each budget.

    Args:
        model: of one user group.
        training: the settings that cut it into blocks.
        codec: of the blocks.
        rounds: the number of times that each duration is measured.
        shares: budgets, as shares of the table in fp32; those that select nothing are left out.
    """
    store = encode_store(model, Model(training=training, codec=codec), lambda done, total: None)
    (group,) = store.groups
    shelf = prefix_of(store.geometry, group.blocks)
    for share in shares:
        budget_bytes = int(share * model.item_tables[0].nbytes)
        layer = group.layers.best(budget_bytes)
        if layer:
            yield _cost(shelf, group.layers, layer, store.user_vectors[:1], rounds, share, budget_bytes)


def _cost(
    shelf: BlockPrefix,
    layers: Layers,
    layer: int,
    user: Float32Array,
    rounds: int,
    share: float,
    budget_bytes: int,
) -> Cost:
    below, blocks = layers.blocks[layer - 1], layers.blocks[layer]
    decode: list[float] = []
    grow: list[float] = []
    for _ in range(rounds):
        table = ItemTable(shelf)
        decode.append(milliseconds(functools.partial(table.hold, blocks)))
        table.hold(below)
        grow.append(milliseconds(functools.partial(table.hold, blocks)))

    def with_table() -> IntArray:
        return _best(table.scores(user))

    def lean() -> IntArray:
        return _best(streaming_scores(shelf, blocks, user))

    def table_from_nothing() -> None:
        fresh = ItemTable(shelf)
        fresh.hold(blocks)
        _best(fresh.scores(user))

    return Cost(
        codec=shelf.geometry.codec,
        budget_share=share,
        budget_bytes=budget_bytes,
        held_bytes=shelf.resident[blocks],
        blocks=blocks,
        layer=layer,
        decode_ms=statistics.median(decode),
        grow_ms=statistics.median(grow),
        grow_blocks=blocks - below,
        rank_table_ms=statistics.median(milliseconds(with_table) for _ in range(rounds)),
        rank_lean_ms=statistics.median(milliseconds(lean) for _ in range(rounds)),
        table_working_bytes=peak_bytes(table_from_nothing),
        lean_working_bytes=peak_bytes(lean),
    )


def _best(scores: FloatArray) -> IntArray:
    return top_k(scores.astype(np.float32), K)


def milliseconds(action: Callable[[], object]) -> float:
    """Return the time that *action* takes, in milliseconds."""
    begun = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - begun)


def peak_bytes(action: Callable[[], object]) -> int:
    """Return the most memory that *action* has allocated at once."""
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --- all together -----------------------------------------------------------------------------------


def as_table(costs: Sequence[Cost], title: str) -> Table:
    """Return a table for people."""
    table = Table(title=title)
    for column in (
        "codec", "budget", "held", "blocks", "decode ms", "grow ms (blocks)", "rank ms, table",
        "rank ms, lean", "memory, table", "memory, lean",
    ):  # fmt: skip
        table.add_column(column, justify="left" if column == "codec" else "right")
    for cost in costs:
        table.add_row(
            cost.codec,
            f"{100 * cost.budget_share:g} %",
            approximate_bytes(cost.held_bytes),
            f"{cost.blocks:,}",
            f"{cost.decode_ms:,.2f}",
            f"{cost.grow_ms:,.2f} ({cost.grow_blocks:,})",
            f"{cost.rank_table_ms:,.2f}",
            f"{cost.rank_lean_ms:,.2f}",
            approximate_bytes(cost.table_working_bytes),
            approximate_bytes(cost.lean_working_bytes),
        )
    return table


if __name__ == "__main__":
    sys.exit(main())
