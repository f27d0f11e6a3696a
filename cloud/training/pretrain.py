"""Stage 1: a global user table and item table, learned on all training interactions.

The model that is learned, the *backbone*, is chosen by name; whichever it is, a score is the inner
product of a user's vector and an item's.
"""

from typing import Final, Protocol

import msgspec

from cloud.data.interactions import Interactions
from cloud.training.backbones.ials import ials
from cloud.training.backbones.lightgcn import lightgcn
from cloud.training.backbones.mf import mf
from cloud.training.checkpoint import NO_CHECKPOINTS, Checkpoints, State
from cloud.training.config import Training
from cloud.training.evaluation import validation_sample
from cloud.training.loop import LOOP, Factors, Tick

FACTORS = "factors"  # the name of the checkpoint of what pretraining leaves


class Backbone(Protocol):
    """Learns tables from training interactions and says what happened, in JSON types."""

    def __call__(
        self,
        interactions: Interactions,
        config: Training,
        tick: Tick,
        checkpoints: Checkpoints = NO_CHECKPOINTS,
        /,
    ) -> tuple[Factors, dict[str, object]]:
        """Learn, from where *checkpoints* left off."""


BACKBONES: Final[dict[str, Backbone]] = {"mf": mf, "lightgcn": lightgcn, "ials": ials}


def pretrain(
    interactions: Interactions, config: Training, tick: Tick, checkpoints: Checkpoints = NO_CHECKPOINTS
) -> tuple[Factors, dict[str, object]]:
    """Learn the global model, stopped early by NDCG@20 on the validation interactions.

    Args:
        interactions: what to learn from.
        config: the backbone and its settings.
        tick: told how far it is.
        checkpoints: where an earlier process may have left off; the result is the same to the bit.

    Returns:
        The model, and what happened.

    Raises:
        RunError: training diverged.
    """
    done = checkpoints.load(FACTORS, lambda why: tick(0, 1, f"{why}; pretraining is done again"))
    if done is not None:
        tick(1, 1, "taken from a checkpoint")
        return Factors(done.arrays["users"], done.arrays["items"]), done.facts
    factors, report = _run_backbone(interactions, config, tick, checkpoints)
    report["valid_users_looked_at"] = len(validation_sample(interactions, config.seed))
    checkpoints.save(FACTORS, State({"users": factors.users, "items": factors.items}, report))
    checkpoints.drop(LOOP)
    return factors, report


def _run_backbone(
    interactions: Interactions, config: Training, tick: Tick, checkpoints: Checkpoints
) -> tuple[Factors, dict[str, object]]:
    """Learn with the backbone; with `ials`, as often as doubling its `l2` pays on validation.

    How much regularization data want differs by more than anything else of a model, and least squares
    are cheap enough to find out.
    """
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
    """Learn once, or take what an earlier process has learned under that *name*."""
    done = checkpoints.load(name, lambda why: tick(0, 1, f"{why}; it is done again"))
    if done is not None:
        return Factors(done.arrays["users"], done.arrays["items"]), done.facts
    factors, report = backbone(interactions, config, tick, checkpoints)
    report = {"backbone": report["backbone"], "l2": config.ials.l2} | report
    checkpoints.save(name, State({"users": factors.users, "items": factors.items}, report))
    checkpoints.drop(LOOP)
    return factors, report


def _is_better(later: dict[str, object], earlier: dict[str, object]) -> bool:
    """Return whether validation prefers *later*; without validation interactions it does not."""
    after, before = later["valid_ndcg_at_20"], earlier["valid_ndcg_at_20"]
    return isinstance(after, float) and isinstance(before, float) and after > before
