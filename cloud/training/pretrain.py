"""Stage 1: a global user table and item table, learned from all training interactions.

The model that is learned, the *backbone*, is chosen by name. The score of any backbone is the inner product
of a user's and an item's vector.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

import numpy as np
from msgspec.structs import replace

from cloud.data.interactions import Interactions
from cloud.training.backbones.cosine import cosine
from cloud.training.backbones.file import file
from cloud.training.backbones.ials import ials
from cloud.training.backbones.lightgcn import lightgcn
from cloud.training.backbones.mf import mf
from cloud.training.backbones.plugin import learn_by_plugin
from cloud.training.checkpoint import NO_CHECKPOINTS, Checkpoints, State
from cloud.training.config import BackboneName, BackbonePlugin, Training
from cloud.training.evaluation import number_or_none, prefer, validation_quality, validation_sample
from cloud.training.loop import LOOP, Factors, Tick
from wire.ranking_metrics import ItemLists

FACTORS = "factors"  # name of the checkpoint of the result


class Backbone(Protocol):
    """Learns tables from training interactions; returns them and a report in JSON types."""

    def __call__(
        self,
        interactions: Interactions,
        config: Training,
        tick: Tick,
        checkpoints: Checkpoints = NO_CHECKPOINTS,
        /,
    ) -> tuple[Factors, dict[str, object]]:
        """Learn, or continue from *checkpoints*."""


BACKBONES: Final[dict[str, Backbone]] = {
    "mf": mf,
    "lightgcn": lightgcn,
    "ials": ials,
    "cosine": cosine,
    "file": file,
}
"""The registry of backbones. To add one, write it in `cloud.training.backbones` and add one line."""


CANDIDATES: Final[tuple[BackboneName, ...]] = ("ials", "cosine")
"""The backbones that `auto` compares: their cost grows with the number of interactions, not faster."""


def pretrain(
    interactions: Interactions, config: Training, tick: Tick, checkpoints: Checkpoints = NO_CHECKPOINTS
) -> tuple[Factors, dict[str, object]]:
    """Learn the global model, stopped early by NDCG@20 on the validation interactions.

    Args:
        interactions: the data.
        config: the backbone and its settings.
        tick: called with the progress.
        checkpoints: states of an earlier process; the result is the same, bit for bit.

    Returns:
        The model, and the report.

    Raises:
        RunError: training diverged.
    """
    done = checkpoints.load(FACTORS, lambda problem: tick(0, 1, f"{problem}; pretraining is repeated"))
    if done is not None:
        tick(1, 1, "loaded from a checkpoint")
        return Factors(done.arrays["users"], done.arrays["items"]), done.facts
    search = partial(_run_backbone, interactions, config, tick, checkpoints)
    if config.refit:
        _, report = _run_or_load("searched", search, tick, checkpoints)
        factors, _ = _refit(interactions, config, report, tick, checkpoints)
        report = report | {"refit": True}
    else:
        factors, report = search()
    report["valid_users_looked_at"] = len(validation_sample(interactions, config.seed))
    checkpoints.save(FACTORS, State({"users": factors.users, "items": factors.items}, report))
    checkpoints.remove(LOOP)
    return factors, report


def _run_backbone(
    interactions: Interactions, config: Training, tick: Tick, checkpoints: Checkpoints
) -> tuple[Factors, dict[str, object]]:
    """Learn with the backbone that is named, or with that of `CANDIDATES` which validation prefers."""
    if isinstance(config.backbone, BackbonePlugin):
        return learn_by_plugin(config.backbone, interactions, config, tick)
    if config.backbone != "auto":
        return _run_named(config.backbone, interactions, config, tick, checkpoints)
    runs = [
        _run_or_load(
            name,
            partial(_run_named, name, interactions, config, tick, checkpoints),
            tick,
            checkpoints,
        )
        for name in CANDIDATES
    ]
    qualities = [validation_quality(run.users, run.items, interactions, config.seed) for run, _ in runs]
    factors, report = runs[prefer(qualities)]
    compared = [
        {
            "backbone": name,
            "valid_ndcg_at_20": number_or_none(quality.mean),
            "valid_tail_recall_at_20": quality.tail_recall,
        }
        for name, quality in zip(CANDIDATES, qualities, strict=True)
    ]
    return factors, report | {"compared": compared}


def _run_named(
    name: BackboneName, interactions: Interactions, config: Training, tick: Tick, checkpoints: Checkpoints
) -> tuple[Factors, dict[str, object]]:
    """Learn with one backbone; with `ials`, repeat with doubled `l2` as long as validation improves.

    The best regularization differs between data sets more than any other setting, and least squares are
    cheap.
    """
    backbone = BACKBONES[name]
    if name != "ials":
        return backbone(interactions, config, tick, checkpoints)
    report: dict[str, object] = {}
    tried = []
    for doubling in range(config.ials.l2_doublings + 1):
        l2 = config.ials.l2 * 2**doubling
        attempt = replace(config, ials=replace(config.ials, l2=l2))
        later, facts = _run_or_load(
            f"attempt-{doubling}",
            partial(backbone, interactions, attempt, tick, checkpoints),
            tick,
            checkpoints,
        )
        facts = {"backbone": facts["backbone"], "l2": l2} | facts
        tried.append({key: facts[key] for key in ("l2", "valid_ndcg_at_20")})
        if report and not _is_better(facts, report):
            break
        factors, report = later, facts
    return factors, report | {"tried": tried}


def _run_or_load(
    name: str,
    run: Callable[[], tuple[Factors, dict[str, object]]],
    tick: Tick,
    checkpoints: Checkpoints,
) -> tuple[Factors, dict[str, object]]:
    """Learn once, or load what an earlier process has learned under that *name*."""
    done = checkpoints.load(name, lambda problem: tick(0, 1, f"{problem}; it is repeated"))
    if done is not None:
        return Factors(done.arrays["users"], done.arrays["items"]), done.facts
    factors, report = run()
    checkpoints.save(name, State({"users": factors.users, "items": factors.items}, report))
    checkpoints.remove(LOOP)
    return factors, report


def _is_better(later: dict[str, object], earlier: dict[str, object]) -> bool:
    """Tell whether *later* has the better validation score; False without validation interactions."""
    after, before = later["valid_ndcg_at_20"], earlier["valid_ndcg_at_20"]
    return isinstance(after, float) and isinstance(before, float) and after > before


def _refit(
    interactions: Interactions,
    config: Training,
    report: dict[str, Any],
    tick: Tick,
    checkpoints: Checkpoints,
) -> tuple[Factors, dict[str, object]]:
    """Learn from training and validation interactions, with the settings that the *report* says."""
    nothing = np.empty(0, np.int64)
    more = dataclasses.replace(
        interactions,
        train=interactions.known,
        valid=ItemLists.of_pairs(nothing, nothing, interactions.n_users),
    )
    return BACKBONES[report["backbone"]](more, fix_settings(config, report), tick, checkpoints)


def fix_settings(config: Training, report: dict[str, Any]) -> Training:
    """Return *config* with the settings that validation chose, for the backbone of the *report*."""
    epochs = max(report.get("best_epoch", config.epochs), 1)
    match report["backbone"]:
        case "ials":
            ials = replace(config.ials, l2=report["l2"], l2_doublings=0, epochs=epochs)
            return replace(config, backbone="ials", ials=ials)
        case "cosine":
            chosen = replace(config.cosine, exponents=(report["popularity_exponent"],))
            return replace(config, backbone="cosine", cosine=chosen)
        case "lightgcn":
            return replace(config, lightgcn=replace(config.lightgcn, epochs=epochs))
        case _:
            return replace(config, epochs=epochs)
