"""Stage 1: a global user table and item table, learned from all training interactions.

The model that is learned, the *backbone*, is chosen by name. The score of any backbone is the inner product
of a user's and an item's vector.
"""

from typing import Final, Protocol

import msgspec

from cloud.data.interactions import Interactions
from cloud.training.backbones.file import file
from cloud.training.backbones.ials import ials
from cloud.training.backbones.lightgcn import lightgcn
from cloud.training.backbones.mf import mf
from cloud.training.backbones.plugin import learn_by_plugin
from cloud.training.checkpoint import NO_CHECKPOINTS, Checkpoints, State
from cloud.training.config import BackbonePlugin, Training
from cloud.training.evaluation import validation_sample
from cloud.training.loop import LOOP, Factors, Tick

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


BACKBONES: Final[dict[str, Backbone]] = {"mf": mf, "lightgcn": lightgcn, "ials": ials, "file": file}
"""The registry of backbones. To add one, write it in `cloud.training.backbones` and add one line."""


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
    factors, report = _run_backbone(interactions, config, tick, checkpoints)
    report["valid_users_looked_at"] = len(validation_sample(interactions, config.seed))
    checkpoints.save(FACTORS, State({"users": factors.users, "items": factors.items}, report))
    checkpoints.remove(LOOP)
    return factors, report


def _run_backbone(
    interactions: Interactions, config: Training, tick: Tick, checkpoints: Checkpoints
) -> tuple[Factors, dict[str, object]]:
    """Learn with the backbone; with `ials`, repeat with doubled `l2` as long as validation improves.

    The best regularization differs between data sets more than any other setting, and least squares are
    cheap.
    """
    if isinstance(config.backbone, BackbonePlugin):
        return learn_by_plugin(config.backbone, interactions, config, tick)
    backbone = BACKBONES[config.backbone]
    if config.backbone != "ials":
        return backbone(interactions, config, tick, checkpoints)
    factors, report = _run_or_load(backbone, interactions, config, tick, checkpoints, "attempt-0")
    tried = [_outcome(report)]
    for doubling in range(1, config.ials.l2_doublings + 1):
        settings = msgspec.structs.replace(config.ials, l2=config.ials.l2 * 2**doubling)
        attempt = msgspec.structs.replace(config, ials=settings)
        name = f"attempt-{doubling}"
        later = _run_or_load(backbone, interactions, attempt, tick, checkpoints, name)
        tried.append(_outcome(later[1]))
        if not _is_better(later[1], report):
            break
        factors, report = later
    return factors, report | {"tried": tried}


def _outcome(report: dict[str, object]) -> dict[str, object]:
    return {"l2": report["l2"], "valid_ndcg_at_20": report["valid_ndcg_at_20"]}


def _run_or_load(
    backbone: Backbone,
    interactions: Interactions,
    config: Training,
    tick: Tick,
    checkpoints: Checkpoints,
    name: str,
) -> tuple[Factors, dict[str, object]]:
    """Learn once, or load what an earlier process has learned under that *name*."""
    done = checkpoints.load(name, lambda problem: tick(0, 1, f"{problem}; it is repeated"))
    if done is not None:
        return Factors(done.arrays["users"], done.arrays["items"]), done.facts
    factors, report = backbone(interactions, config, tick, checkpoints)
    report = {"backbone": report["backbone"], "l2": config.ials.l2} | report
    checkpoints.save(name, State({"users": factors.users, "items": factors.items}, report))
    checkpoints.remove(LOOP)
    return factors, report


def _is_better(later: dict[str, object], earlier: dict[str, object]) -> bool:
    """Tell whether *later* has the better validation score; False without validation interactions."""
    after, before = later["valid_ndcg_at_20"], earlier["valid_ndcg_at_20"]
    return isinstance(after, float) and isinstance(before, float) and after > before
