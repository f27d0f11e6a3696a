"""The claims of the PEEL paper (arXiv 2306.10532), each with what came out: the table of `docs/paper.md`.

Each claim is a comparison of two models at the paper's budgets of 34, 68 and 171 of 320 blocks, NDCG@20,
training items masked. Recipe `paper` is compared as it is, and with the aligned score in place of the tiled
one. Per-user figures are means over seeds; intervals of 95 % are over users, who are the same on both sides.
Letters: V users with test items.
"""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.quality.pretraining import pretrain_once
from benchmarks.quality.sources import detect_source
from cloud.blocks.selection import Selection
from cloud.blocks.trained_model import TrainedModel
from cloud.data.interactions import Interactions
from cloud.data.load import load
from cloud.training.baselines.scoring import METRICS, score
from cloud.training.config import Refinement, Training
from cloud.training.train import personalize
from devices.recommender.scoring import ItemTable
from emulator.evaluation.peel_method import score_users
from emulator.exports.mean_interval import mean_interval
from emulator.simulation.evaluation import full_prefixes
from emulator.simulation.model_cache import encode_store
from scenarios.language.schema import RECIPES, Model
from wire.geometry import Score
from wire.ranking_metrics import FloatArray

NAME = "claims"
BLOCKS = (34, 68, 171, 320)
"""Blocks held: the paper's budgets, and everything."""
METRIC = "ndcg_at_20"
PRINTED = ("ndcg_at_20", "recall_at_20", "ndcg_at_100", "recall_at_100")
"""The metrics of the recipe itself that are printed."""

Figures = Mapping[int, FloatArray]
"""By the number of blocks held: a row for each of `METRICS`, shape (7, V)."""


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim: the variant *ours* is better than the variant *theirs*."""

    text: str
    ours: str
    theirs: str


CLAIMS = (
    Claim("Personalized: 16 groups against one group", "paper", "one group"),
    Claim("The same, refinement off in both", "not refined", "one group, not refined"),
    Claim("Groups by k-means against random groups", "paper", "random groups"),
    Claim("Refinement on against off", "paper", "not refined"),
    Claim("Diversity on against off", "paper", "no diversity"),
    Claim("Learned weights against random", "paper", "random selection"),
    Claim("Learned weights against popularity", "paper", "popularity"),
    Claim("Learned weights against the closed form", "paper", "closed form"),
)
_TRAININGS: Mapping[str, Mapping[str, object]] = {
    "paper": {},
    "one group": {"clustering": "off"},
    "random groups": {"clustering": "random"},
    "not refined": {"refine": Refinement(enabled=False)},
    "one group, not refined": {"clustering": "off", "refine": Refinement(enabled=False)},
    "no diversity": {"diversity": 0.0},
}
"""The variants that differ in training, by the keys that differ."""


def compare_claims(folders: Sequence[Path], seeds: int, out: Path) -> None:
    """Train, compare and print a table of Markdown for each data set; write all figures to *out*."""
    tables: dict[str, dict[str, object]] = {}
    for folder in folders:
        interactions, started = load(detect_source(folder)), time.monotonic()
        for form in (Score.TILED, Score.ALIGNED):
            model = _with_score(RECIPES["paper"], form)
            variants = _mean_over_seeds(interactions, model, seeds)
            title = f"{interactions.name}, {form} score, {seeds} seed{'s' if seeds > 1 else ''}"
            print(f"\n{title} ({time.monotonic() - started:.0f} s)\n", flush=True)
            print("\n".join(_quality_rows(variants["paper"])), "\n", flush=True)
            rows = [_claim_row(claim, variants) for claim in CLAIMS] + [_memory_row(variants["paper"])]
            print(
                "\n".join(["| claim | 34 blocks | 68 | 171 | came out |", "|---|---|---|---|---|", *rows]),
                flush=True,
            )
            tables[title] = {
                name: {
                    blocks: dict(zip(METRICS, _means(values), strict=True)) for blocks, values in of.items()
                }
                for name, of in variants.items()
            }
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{NAME}.json").write_bytes(msgspec.json.format(msgspec.json.encode(tables), indent=1) + b"\n")


def _with_score(model: Model, form: Score) -> Model:
    training = msgspec.structs.replace(model.training, score=form)
    return msgspec.structs.replace(model, training=training, score=form)


def _mean_over_seeds(interactions: Interactions, model: Model, seeds: int) -> dict[str, Figures]:
    by_seed = [_measure_variants(interactions, model, seed) for seed in range(seeds)]
    return {
        name: {blocks: np.mean([of[name][blocks] for of in by_seed], axis=0) for blocks in BLOCKS}
        for name in by_seed[0]
    }


def _measure_variants(interactions: Interactions, model: Model, seed: int) -> dict[str, Figures]:
    """Return the figures of all variants with one seed."""

    def settings(changes: Mapping[str, object]) -> Training:
        return msgspec.structs.replace(model.training, seed=seed, **changes)

    figures = {}
    for name, changes in _TRAININGS.items():
        training = settings(changes)
        start = pretrain_once(interactions, training)
        trained = personalize(start, interactions, training, lambda _: None)
        own = msgspec.structs.replace(model, training=training)
        figures[name] = _measure(trained, own, interactions)
        if name == "paper":
            for policy, label in (
                (Selection.RANDOM, "random selection"),
                (Selection.POPULARITY, "popularity"),
            ):
                figures[label] = _measure(
                    trained, msgspec.structs.replace(own, selection=policy), interactions
                )
            closed = dataclasses.replace(trained, corrections=np.ones_like(trained.corrections))
            figures["closed form"] = _measure(closed, own, interactions)
    return figures


def _measure(trained: TrainedModel, model: Model, interactions: Interactions) -> Figures:
    """Return the quality of what devices hold and rank with, at each number of `BLOCKS`."""
    store = encode_store(trained, model, lambda _done, _total: None)
    tables = {number: ItemTable(prefix) for number, prefix in full_prefixes(store).items()}
    users = store.user_vectors, store.user_groups
    figures = {}
    for blocks in BLOCKS:
        for table in tables.values():
            table.hold(blocks)
        scored = score(
            lambda batch: score_users(users, tables, batch),
            interactions.train,
            interactions.test,
            interactions.n_items,
        )
        figures[blocks] = scored.values
    return figures


# --- the printed table ----------------------------------------------------------------------------


def _quality_rows(paper: Figures) -> list[str]:
    """Return the table of the recipe's own quality."""
    rows = ["| blocks held | " + " | ".join(PRINTED) + " |", "|---" * (len(PRINTED) + 1) + "|"]
    for blocks, values in paper.items():
        means = dict(zip(METRICS, _means(values), strict=True))
        rows.append(f"| {blocks} | " + " | ".join(f"{means[name]:.4f}" for name in PRINTED) + " |")
    return rows


def _means(values: FloatArray) -> list[float]:
    return [float(np.nanmean(row)) if np.isfinite(row).any() else 0.0 for row in values]


def _claim_row(claim: Claim, variants: Mapping[str, Figures]) -> str:
    ours, theirs = variants[claim.ours], variants[claim.theirs]
    return _row(claim.text, [(ours[blocks], theirs[blocks]) for blocks in BLOCKS[:-1]])


def _memory_row(paper: Figures) -> str:
    """Return the row of the claim that more memory is better: each budget against the next."""
    pairs = zip(BLOCKS[1:], BLOCKS, strict=False)
    return _row(
        "More memory: the next budget against this one", [(paper[more], paper[less]) for more, less in pairs]
    )


def _row(text: str, pairs: Sequence[tuple[FloatArray, FloatArray]]) -> str:
    row = METRICS.index(METRIC)
    ratios = [paired_ratio(ours[row], theirs[row]) for ours, theirs in pairs]
    ahead = sum(ratio - width > 1 for ratio, width in ratios)
    behind = sum(ratio + width < 1 for ratio, width in ratios)
    words = "yes" if ahead == len(ratios) else "no" if not ahead else "in part"
    words += f"; the opposite at {behind}" if behind else ""
    return (
        f"| {text} | " + " | ".join(f"{ratio:.3f} ± {width:.3f}" for ratio, width in ratios) + f" | {words} |"
    )


def paired_ratio(ours: FloatArray, theirs: FloatArray) -> tuple[float, float]:
    """Return the ratio of two means over the same users, shapes (V,), and half its interval of 95 %.

    The error of the ratio r is that of the mean of ours - r theirs, over the mean of theirs, to first order.
    """
    mean = max(float(theirs.mean()), 1e-12)
    ratio = float(ours.mean()) / mean
    return ratio, mean_interval((ours - ratio * theirs) / mean).half_width or 0.0
