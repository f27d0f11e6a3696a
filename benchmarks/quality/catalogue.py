"""The methods of the comparison, and their data."""

import msgspec

from benchmarks.quality.coded_head import CodedHead
from benchmarks.quality.codes import Precision
from benchmarks.quality.columns import FirstColumns
from benchmarks.quality.head import Head
from benchmarks.quality.method import Method
from benchmarks.quality.peel import Peel
from benchmarks.quality.product import ProductQuantized
from benchmarks.quality.pruned import Pruned
from benchmarks.quality.retrained import Retrained
from benchmarks.quality.score_list import ScoreList
from benchmarks.quality.selected import Evolved, RandomBlocks
from benchmarks.quality.softer import Distilled, Matryoshka
from benchmarks.quality.whole import Whole
from cloud.training.config import Controller, Guard, Refinement
from scenarios.language.schema import RECIPES, Model
from wire.codecs import Codec
from wire.geometry import Score

SHARES = (0.0025, 0.005, 0.01, 0.02, 0.05, 0.10, 0.25, 1.0)
QUICK_SHARES = (0.01, 0.05, 0.25)
FULL = "full"
BEST = "peel:best"
CONTROLS = frozenset({"score-list", "random-blocks"})
"""Not among the baselines that PEEL has to beat: one is no table, the other a control."""
LESS_DROPOUT = 0.1


def methods(model: Model) -> tuple[Method, ...]:
    """Return every method; *model* is PEEL's."""
    less = (LESS_DROPOUT,)
    slow = (Distilled(dropouts=less), Matryoshka(dropouts=less), ProductQuantized(), Evolved())
    return (*_cheap_methods(model), *_retrained(*Precision), *slow)


def quick_methods(model: Model) -> tuple[Method, ...]:
    """Return the methods that take little beside the full model and PEEL, and the plainest rival."""
    return (*_cheap_methods(model), *_retrained(Precision.INT8, Precision.INT4))


def ablations(model: Model) -> tuple[Method, ...]:
    """Return both recipes with each stage switched off in turn, and the controls.

    A name says what is different from the recipe in front of the colon.
    """
    return (
        Whole(FULL, Precision.FP32),
        *(Peel(name, precision) for name, precision in _codecs(model).items()),
        *(Peel(f"peel:{name}", _trained(model, **changes)) for name, changes in _OF_BEST.items()),
        Peel("peel:shuffled-groups", model, shuffled=True),
        Peel("peel:paper", RECIPES["paper"]),
        Peel("paper:tiled", msgspec.structs.replace(RECIPES["paper"], score=Score.TILED)),
        *(
            Peel(f"paper:{name}", _trained(RECIPES["paper"], **changes))
            for name, changes in _OF_PAPER.items()
        ),
    )


_OF_BEST: dict[str, dict[str, object]] = {
    "no-refinement": {"refine": Refinement(enabled=False)},
    "no-rotation": {"rotate": False},
    "no-controller": {"controller": Controller(enabled=False)},
    "no-guard": {"guard": Guard(enabled=False)},
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


def _retrained(*precisions: Precision) -> list[Method]:
    return [
        Retrained(f"retrained:{precision}", precision, (("mf", LESS_DROPOUT),)) for precision in precisions
    ]


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


def _cheap_methods(model: Model) -> tuple[Method, ...]:
    codecs = _codecs(model)
    return (
        Whole(FULL, Precision.FP32),
        *(Peel(name, codecs[name]) for name in (BEST, "peel:int8", "peel:fp32")),
        Peel("peel:paper", RECIPES["paper"]),
        CodedHead(),
        CodedHead("head:entropy-unrotated", rotate=False),
        *(Head(f"head:{precision}", precision) for precision in Precision),
        FirstColumns("svd", rotate=True),
        FirstColumns("first-k", rotate=False),
        Whole("uniform:int8", Precision.INT8),
        Whole("uniform:int4", Precision.INT4),
        Pruned(),
        RandomBlocks(),
        ScoreList(),
    )
