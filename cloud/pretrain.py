"""Stage 1: a global user table and item table, learned on all training interactions.

The model that is learned, the *backbone*, is chosen by name; whichever it is, a score is the inner
product of a user's vector and an item's.
"""

from collections.abc import Callable
from typing import Final

from cloud.backbones.ials import ials
from cloud.backbones.lightgcn import lightgcn
from cloud.backbones.mf import mf
from cloud.config import Training
from cloud.descent import Factors, Tick
from cloud.interactions import Interactions

Backbone = Callable[[Interactions, Training, Tick], tuple[Factors, dict[str, object]]]
"""Learns tables from training interactions and says what happened, in JSON types."""

BACKBONES: Final[dict[str, Backbone]] = {"mf": mf, "lightgcn": lightgcn, "ials": ials}


def pretrain(interactions: Interactions, config: Training, tick: Tick) -> tuple[Factors, dict[str, object]]:
    """Learn the global model, stopped early by NDCG@20 on the validation interactions.

    Returns:
        The model, and what happened.

    Raises:
        RunError: training diverged.
    """
    return BACKBONES[config.backbone](interactions, config, tick)
