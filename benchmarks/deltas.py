"""The traffic of a model that is retrained every day: deltas against whole answers, by budget, and quality.

The first version is trained on the first part of the interactions; then every day's are reported, and the
next version is trained from the one before. Each member of the first version holds the PEE of a budget and
reports; the bytes are those of the real answers, all headers included, as a cloud sends them to a device
that takes deltas and to one that does not. Quality is NDCG@20 of the next day's items, over users and days.

The margin of the stored numbers is chosen on the first third of the days, the figures are of the others: the
largest margin whose quality is not lower than that without margin by more than a standard error.
``python -m benchmarks.deltas`` prints a table for each data set and writes ``deltas.json``. MovieLens-1M has
no times here: its days are cut from a random order.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.anchors import data_root
from benchmarks.figures import write
from cloud.blocks.encoding import RankingSettings, encode_model
from cloud.blocks.next_version import encode_next_version
from cloud.blocks.store import BlockStore, build_store
from cloud.data.interactions import Interactions
from cloud.data.load import load
from cloud.data.sources import LightGCN
from cloud.service.model_versions import ModelVersions
from cloud.service.responder import Responder
from cloud.training.config import Controller, Refinement, Training
from cloud.training.evaluation import ndcg_per_user
from cloud.training.retrain import Lineage
from cloud.training.train import learn_global, personalize
from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.scoring import ItemTable
from wire.codecs import Codec
from wire.geometry import Geometry
from wire.messages import BudgetReport
from wire.ranking_metrics import FloatArray, IntArray, ItemLists
from wire.update_part import decode_part
from wire.version_delta import vector_change_of

SHARES = (0.0025, 0.005, 0.01, 0.02, 0.05)
"""Budgets, as shares of the table in fp32."""
MARGINS = (0.0, 0.25, 0.5)
WARM_UP = 0.7
VALIDATION = 0.1
"""Part of the first interactions that decides on `l2`; the model is then learned from all of them."""
DAYS = 24
DAY_S = 86_400
ARTIFICIAL_DAYS = 100
"""Days of the later part of a data set without times."""
MOST_DEVICES = 400
SEQ = 1_767_225_600_001


@dataclass(frozen=True, eq=False)
class World:
    """Interactions of users with items, by day; day 0 is all that the first version is trained with."""

    name: str
    users: IntArray
    items: IntArray
    days: IntArray

    def known(self, day: int) -> ItemLists:
        """Return the interactions that are known at the end of *day*."""
        return self._lists(self.days <= day)

    def met(self, day: int) -> ItemLists:
        """Return the items that users meet on *day*."""
        return self._lists(self.days == day)

    def _lists(self, chosen: np.ndarray) -> ItemLists:
        return ItemLists.of_pairs(self.users[chosen], self.items[chosen], int(self.users.max()) + 1)


@dataclass
class Sums:
    """The figures of one margin at one budget, a number for each device and day, or user and day."""

    whole: list[int] = field(default_factory=list)
    delta: list[int] = field(default_factory=list)
    table: list[int] = field(default_factory=list)
    vector: list[int] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    quality: list[FloatArray] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, write ``deltas.json``."""
    parser = argparse.ArgumentParser(description="Measure the traffic of a model that is retrained daily.")
    parser.add_argument("--data", type=Path, default=data_root(), help="the folder of the data sets")
    parser.add_argument("--days", type=int, default=DAYS, help="the number of days")
    given = parser.parse_args(arguments)
    figures: dict[str, object] = {}
    for world in worlds(given.data):
        rows = measure(world, given.days)
        Console(width=140).print(as_table(world.name, rows))
        figures[world.name] = rows
    write("deltas", figures)
    return 0


def worlds(root: Path) -> list[World]:
    """Return the data sets that are below *root*, by day."""
    found = []
    file, folder = root / "ml-100k" / "ml-100k.inter", root / "ml-1m"
    if file.is_file():
        rows = np.loadtxt(file, skiprows=1)
        order = np.argsort(rows[:, 3], kind="stable")
        times = rows[order, 3]
        cut = times[int(WARM_UP * len(times))]
        days = np.where(times < cut, 0, 1 + (times - cut) // DAY_S).astype(np.int64)
        found.append(by_day("ml-100k, by time", rows[order, 0], rows[order, 1], days))
    if folder.is_dir():
        interactions = load(LightGCN(path=str(folder)))
        users, items = interactions.known.union(interactions.test).pairs()
        order = np.random.default_rng(0).permutation(len(users))
        first = int(WARM_UP * len(users))
        rest = np.arange(len(users)) - first
        days = np.where(rest < 0, 0, 1 + rest * ARTIFICIAL_DAYS // (len(users) - first))
        found.append(by_day("ml-1m, random order", users[order], items[order], days))
    return found


def by_day(name: str, users: np.ndarray, items: np.ndarray, days: IntArray) -> World:
    """Return a world with items numbered by falling popularity on day 0, users by their first interaction."""
    _, first, users = np.unique(users, return_index=True, return_inverse=True)
    _, items = np.unique(items, return_inverse=True)
    users = np.argsort(np.argsort(first))[users]  # in the order of their first interaction: members first
    popularity = np.bincount(items[days == 0], minlength=int(items.max()) + 1)
    order = np.lexsort((np.arange(len(popularity)), -popularity))
    return World(name, users.astype(np.int64), np.argsort(order)[items], days)


def first_version(world: World, training: Training) -> tuple[BlockStore, Lineage]:
    """Return the store of day 0, and its lineage."""
    everybody = world.known(0)
    members = np.flatnonzero(everybody.counts())
    known, nobody = everybody.take(members), world.met(-1).take(members)
    names = tuple(map(str, range(len(known)))), tuple(map(str, range(int(world.items.max()) + 1)))
    users, items = known.pairs()
    kept = np.random.default_rng(0).random(len(users)) >= VALIDATION
    train, valid = (ItemLists.of_pairs(users[part], items[part], len(known)) for part in (kept, ~kept))
    interactions = Interactions(world.name, train, valid, nobody, *names)
    start = learn_global(interactions, training, lambda _: None)
    model = personalize(start, interactions, training, lambda _: None)
    geometry = Geometry(
        items=interactions.n_items,
        dim=training.dim,
        item_groups=training.item_groups,
        slice_width=training.slice_width,
        codec=Codec.CODED,
        planes=12,
    )
    store = encode_model(model, geometry, RankingSettings(64), lambda done, total: None)
    lineage = Lineage.begin(start, model, known, training)
    later = len(everybody) - len(known)
    store = build_store(
        geometry,
        groups=store.groups,
        user_vectors=np.pad(store.user_vectors, ((0, later), (0, 0))),
        user_groups=np.pad(store.user_groups, (0, later)),
        report={},
    )
    return store, lineage


def measure(world: World, days: int, margins: Sequence[float] = MARGINS) -> list[dict[str, object]]:
    """Return a row of figures for each budget."""
    training = Training(refine=Refinement(enabled=False), controller=Controller(enabled=False), refit=True)
    first, lineage = first_version(world, training)
    members = np.flatnonzero(world.known(0).counts() > 0)
    devices = np.sort(np.random.default_rng(0).permutation(members)[:MOST_DEVICES])
    stores = dict.fromkeys(margins, first)
    figures = {(margin, share): Sums() for margin in (None, *margins) for share in SHARES}
    chosen = {key: Sums() for key in figures}
    for day in range(1, days + 1):
        sums = chosen if 3 * day <= days else figures
        met, known = world.met(day), world.known(day - 1)
        add_quality(sums, None, first, members, known, met)
        for margin in margins:
            add_quality(sums, margin, stores[margin], members, known, met)
        lineage, numbers = lineage.retrain(world.known(day), first.user_vectors, first.user_groups, 1)
        for margin in margins:
            newer = encode_next_version(stores[margin], numbers, margin, {})
            add_traffic(sums, margin, stores[margin], newer, devices)
            stores[margin] = newer
        print(f"{world.name}: day {day} of {days}", file=sys.stderr, flush=True)
    best = choose_margin(chosen, margins)
    return [row(figures, share, best) for share in SHARES]


def add_traffic(
    figures: dict[tuple[float | None, float], Sums],
    margin: float,
    old: BlockStore,
    new: BlockStore,
    devices: IntArray,
) -> None:
    """Add the bytes of the answers to devices that hold *old* and are offered *new*."""
    versions = ModelVersions([Responder(old), Responder(new)])
    for share in SHARES:
        sums = figures[margin, share]
        for user in devices.tolist():
            layers = old.groups[old.user_groups[user]].layers
            budget = int(share * new.geometry.items * new.geometry.dim * 4)
            layer = layers.best(budget)
            report = BudgetReport(
                seq=SEQ,
                budget_bytes=budget,
                user=user,
                model=old.version,
                held=layers.blocks[layer],
                wants=new.version,
            )
            parts = versions.respond(msgspec.structs.replace(report, deltas=True))
            first = decode_part(parts[0])
            delta = first.tensor("delta")
            sums.whole.append(sum(map(len, versions.respond(report))))
            sums.delta.append(sum(map(len, parts)))
            sums.vector.append(len(vector_change_of(delta)) if delta else 0)
            sums.table.append(len(delta) - sums.vector[-1])
            sums.held.append(layers.bytes[layer])


def add_quality(
    figures: dict[tuple[float | None, float], Sums],
    margin: float | None,
    store: BlockStore,
    members: IntArray,
    known: ItemLists,
    met: ItemLists,
) -> None:
    """Add the NDCG@20 of the members who meet items, with what each budget holds of *store*."""
    meeting = members[met.counts()[members] > 0]
    for number in np.unique(store.user_groups[meeting]).tolist():
        users, group = meeting[store.user_groups[meeting] == number], store.groups[number]
        prefix = BlockPrefix(store.geometry, group.layers)
        prefix.append(group.blocks)
        table = ItemTable(prefix)
        for share in SHARES:
            budget = int(share * store.geometry.items * store.geometry.dim * 4)
            table.hold(group.layers.blocks[group.layers.best(budget)])
            scores = ndcg_per_user(
                store.user_vectors[users], table.values, known.take(users), met.take(users)
            )
            figures[margin, share].quality.append(scores)


def choose_margin(figures: dict[tuple[float | None, float], Sums], margins: Sequence[float]) -> float:
    """Return the largest margin that costs no quality, over all budgets, on the days that choose."""

    def scores(margin: float) -> FloatArray:
        every = [np.concatenate(figures[margin, share].quality) for share in SHARES]
        return np.asarray(np.mean(every, axis=0))

    best, plain = margins[0], scores(margins[0])
    for margin in margins[1:]:
        loss = plain - scores(margin)
        if loss.mean() <= loss.std(ddof=1) / np.sqrt(len(loss)):
            best = max(best, margin)
    return best


def row(figures: dict[tuple[float | None, float], Sums], share: float, best: float) -> dict[str, object]:
    """Return the figures of one budget."""
    plain, sums, stale = figures[0.0, share], figures[best, share], figures[None, share]
    whole, delta = float(np.mean(sums.whole)), float(np.mean(sums.delta))
    qualities = {"stale": stale, "retrained": plain, "delta": sums}
    return {
        "budget_share": share,
        "held_bytes": float(np.mean(sums.held)),
        "whole_bytes": whole,
        "delta_bytes": delta,
        "times_less": whole / delta,
        "delta_bytes_without_margin": float(np.mean(plain.delta)),
        "of_it_table": float(np.mean(sums.table)),
        "of_it_vector": float(np.mean(sums.vector)),
        "margin": best,
        "user_days": sum(map(len, sums.quality)),
        **{f"ndcg_{name}": float(np.concatenate(each.quality).mean()) for name, each in qualities.items()},
        "ndcg_se": paired_error(sums, plain),
    }


def paired_error(sums: Sums, others: Sums) -> float:
    """Return the standard error of the mean difference in quality."""
    difference = np.concatenate(sums.quality) - np.concatenate(others.quality)
    return float(difference.std(ddof=1) / np.sqrt(len(difference)))


def as_table(name: str, rows: Sequence[dict[str, object]]) -> Table:
    """Return a table for people."""
    table = Table(title=f"{name}: a new version every day, bytes an answer; margin {rows[0]['margin']}")
    columns = {
        "budget": "budget_share", "held": "held_bytes", "whole answer": "whole_bytes", "delta": "delta_bytes",
        "times less": "times_less", "no margin": "delta_bytes_without_margin", "table": "of_it_table",
        "vector": "of_it_vector", "NDCG stale": "ndcg_stale", "whole": "ndcg_retrained",
        "by delta": "ndcg_delta", "se": "ndcg_se",
    }  # fmt: skip
    for column in columns:
        table.add_column(column, justify="right")
    for each in rows:
        table.add_row(*[_text(key, each[key]) for key in columns.values()])
    return table


def _text(key: str, value: object) -> str:
    if key == "budget_share":
        return f"{100 * float(str(value)):g} %"
    return f"{value:.4f}" if key.startswith("ndcg") else f"{value:,.1f}"


if __name__ == "__main__":
    sys.exit(main())
