"""Stage 1: a global user table and item table, learned on all training interactions.

The model that is learned, the *backbone*, is chosen by name; whichever it is, a score is the inner
product of a user's vector and an item's.
"""

from typing import Final, Protocol

from cloud.backbones.ials import ials
from cloud.backbones.lightgcn import lightgcn
from cloud.backbones.mf import mf
from cloud.checkpoint import NOWHERE, Checkpoints, Saved
from cloud.config import Training
from cloud.descent import LOOP, Factors, Tick
from cloud.interactions import Interactions
from cloud.ranking import looked_at

FACTORS = "factors"  # the name of the checkpoint of what pretraining leaves


class Backbone(Protocol):
    """Learns tables from training interactions and says what happened, in JSON types."""

    def __call__(
        self, interactions: Interactions, config: Training, tick: Tick, checkpoints: Checkpoints = NOWHERE, /
    ) -> tuple[Factors, dict[str, object]]:
        """Learn, from where *checkpoints* left off."""


BACKBONES: Final[dict[str, Backbone]] = {"mf": mf, "lightgcn": lightgcn, "ials": ials}


def pretrain(
    interactions: Interactions, config: Training, tick: Tick, checkpoints: Checkpoints = NOWHERE
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
    factors, report = BACKBONES[config.backbone](interactions, config, tick, checkpoints)
    report["valid_users_looked_at"] = len(looked_at(interactions, config.seed))
    checkpoints.save(FACTORS, Saved({"users": factors.users, "items": factors.items}, report))
    checkpoints.drop(LOOP)
    return factors, report
