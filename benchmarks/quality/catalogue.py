"""The methods of the comparison, and their data."""

import msgspec

from benchmarks.quality.peel import train_cached, train_shuffled
from cloud.training.baselines.catalogue import BASELINES, FULL
from cloud.training.baselines.group_heads import GroupHeads
from cloud.training.baselines.method import CompressionMethod
from cloud.training.config import Controller, Guard, Refinement
from emulator.evaluation.peel_method import PeelMethod
from scenarios.language.schema import RECIPES, Model
from wire.codecs import Codec
from wire.geometry import Score

SHARES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.05)
ALL_SHARES = (*SHARES, 0.10, 0.25, 1.0)
QUICK_SHARES = (0.0025, 0.01, 0.05)
BEST = "peel:best"
LIST = "list"
CONTROLS = frozenset({LIST, "score-list", "random-blocks"})
"""Not among the tables that PEEL has to beat: two belong to one user, the last is a control."""
STRONGEST = ("head:entropy", "head:int4", "pruned", LIST)
"""The baselines that are the best of their kind somewhere: the others are behind these at every budget."""


def methods(model: Model) -> tuple[CompressionMethod, ...]:
    """Return PEEL and its strongest rivals; *model* is PEEL's."""
    heads = GroupHeads(train_cached)
    return (BASELINES[FULL], _peel(BEST, model), heads, *(BASELINES[name] for name in STRONGEST))


def all_methods(model: Model) -> tuple[CompressionMethod, ...]:
    """Return every method."""
    codecs = _codecs(model)
    return (
        BASELINES[FULL],
        *(_peel(name, codecs[name]) for name in (BEST, "peel:int8", "peel:fp32")),
        _peel("peel:paper", RECIPES["paper"]),
        GroupHeads(train_cached),
        GroupHeads(train_cached, "head:groups-shared-order", own_order=False),
        *(method for name, method in BASELINES.items() if name != FULL),
    )


def ablations(model: Model) -> tuple[CompressionMethod, ...]:
    """Return both recipes with each stage switched off or on in turn, and the controls.

    A name says what is different from the recipe in front of the colon.
    """
    return (
        BASELINES[FULL],
        *(_peel(name, precision) for name, precision in _codecs(model).items()),
        *(_peel(f"peel:{name}", _trained(model, **changes)) for name, changes in _OF_BEST.items()),
        PeelMethod("peel:shuffled-groups", model, train_shuffled),
        _peel("peel:paper", RECIPES["paper"]),
        _peel(
            "paper:aligned",
            msgspec.structs.replace(_trained(RECIPES["paper"], score=Score.ALIGNED), score=Score.ALIGNED),
        ),
        *(
            _peel(f"paper:{name}", _trained(RECIPES["paper"], **changes))
            for name, changes in _OF_PAPER.items()
        ),
    )


_OF_BEST: dict[str, dict[str, object]] = {
    "with-refinement": {"refine": Refinement(enabled=True)},
    "with-controller": {"controller": Controller(enabled=True)},
    "all-stages-unguarded": {
        "refine": Refinement(enabled=True),
        "controller": Controller(enabled=True),
        "guard": Guard(enabled=False),
    },
    "no-rotation": {"rotate": False},
    "mf": {"backbone": "mf"},
    "mf-with-diversity": {"backbone": "mf", "diversity": 0.01},
    "lightgcn": {"backbone": "lightgcn"},
    "16-groups": {"user_groups": 16},
    "one-group": {"clustering": "off"},
    "random-groups": {"clustering": "random"},
    "16-random-groups": {"clustering": "random", "user_groups": 16},
}
_OF_PAPER: dict[str, dict[str, object]] = {
    "no-diversity": {"diversity": 0.0},
    "no-refinement": {"refine": Refinement(enabled=False)},
    "no-controller": {"controller": Controller(enabled=False)},
    "one-group": {"clustering": "off"},
    "random-groups": {"clustering": "random"},
}


def _codecs(model: Model) -> dict[str, Model]:
    """Return *model* as it is, and in other codecs, those that store cells whole in narrow slices."""
    narrow = _trained(model, slice_width=2)
    return {
        BEST: model,
        "peel:planes": msgspec.structs.replace(narrow, codec=Codec.PLANES),
        "peel:tiled": msgspec.structs.replace(model, score=Score.TILED),
        "peel:int8": msgspec.structs.replace(narrow, codec=Codec.INT8),
        "peel:int4": msgspec.structs.replace(narrow, codec=Codec.INT4),
        "peel:fp32": msgspec.structs.replace(narrow, codec=Codec.FP32),
    }


def _trained(model: Model, **changes: object) -> Model:
    return msgspec.structs.replace(model, training=msgspec.structs.replace(model.training, **changes))


def _peel(name: str, model: Model) -> PeelMethod:
    return PeelMethod(name, model, train_cached)
