"""The names of what `evaluate` compares: selections of blocks, PEEL in other codecs, baselines."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from cloud.blocks.selection import POLICY_PLUGINS, Selection
from cloud.training.baselines.catalogue import BASELINES, FULL
from cloud.training.baselines.group_heads import GroupHeads, Learner
from cloud.training.baselines.method import CompressionMethod
from emulator.evaluation.peel_method import PeelMethod
from scenarios.language.schema import RECIPES, Model
from wire.codecs import Codec
from wire.errors import InputError

_NARROW: Final = 2
"""Dimensions of a slice in codecs that store cells whole: at small budgets wider ones are worse."""
_CODECS: Final[Mapping[str, Codec]] = {
    f"peel:{codec}": codec for codec in (Codec.PLANES, Codec.INT8, Codec.INT4, Codec.FP32)
}
PAPER: Final = "peel:paper"
GROUP_HEADS: Final = "head:groups"
NAMES: Final = (*map(str, Selection), *_CODECS, PAPER, GROUP_HEADS, *BASELINES)


def check_policies(names: Sequence[str], model: Model) -> tuple[str, ...]:
    """Return *names* with the whole table in front.

    Raises:
        InputError: a name is unknown or comes twice, or gives the same order of blocks as another.
    """
    for at, name in enumerate(names):
        if name not in NAMES and POLICY_PLUGINS.find(name) is None:
            known = (*NAMES, *POLICY_PLUGINS.names())
            raise InputError(f"policy(={name!r}) must be one of {', '.join(known)}")
        if name in names[:at]:
            raise InputError(f"policies(={', '.join(names)!r}) must not name {name} twice")
        model_of(name, model)
    if not names:
        raise InputError("policies(='') must name one at least")
    return (FULL, *(name for name in names if name != FULL))


def model_of(name: str, model: Model) -> Model | None:
    """Return the model of the policy *name* for a scenario's *model*; None for a baseline without groups.

    Raises:
        InputError: the model's codec does not go with it.
    """
    if name in BASELINES:
        return None
    if name == GROUP_HEADS:
        return model
    if name == PAPER:
        return RECIPES["paper"]
    if name in _CODECS:
        narrow = min(_NARROW, model.training.dim)
        training = msgspec.structs.replace(model.training, slice_width=narrow)
        return msgspec.structs.replace(
            model, training=training, codec=_CODECS[name], selection=Selection.PEEL
        )
    selection = Selection(name)
    if selection is not Selection.PEEL and selection.is_peel(model.codec.embedded):
        raise InputError(
            f"policy(={name!r}) must not be asked for with codec {model.codec}: it ranks as peel"
        )
    return msgspec.structs.replace(model, selection=selection)


def method_of(name: str, model: Model, learn: Learner) -> CompressionMethod:
    """Return the method of the policy *name*; its models are trained by *learn*."""
    if name == GROUP_HEADS:
        return GroupHeads(learn)
    own = model_of(name, model)
    return BASELINES[name] if own is None else PeelMethod(name, own, learn)
