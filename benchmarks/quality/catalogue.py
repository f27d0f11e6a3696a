"""Which methods are compared, and where."""

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
from scenarios.schema import Model
from wire.geometry import Codec

SHARES = (0.0025, 0.005, 0.01, 0.02, 0.05, 0.10, 0.25, 1.0)
QUICK_SHARES = (0.01, 0.05, 0.25)
FULL = "full"
BEST = "peel:best"
CONTROLS = frozenset({"score-list", "random-blocks"})
"""Not among the baselines that PEEL has to beat: one is no table, the other a control."""
LESS_DROPOUT = 0.1


def methods(model: Model) -> tuple[Method, ...]:
    """Return every method; *model* says how PEEL stores its blocks."""
    retrained = [Retrained(f"retrained:{each}", each, (LESS_DROPOUT,)) for each in Precision]
    slow: tuple[Method, ...] = (Distilled(), Matryoshka(), ProductQuantized(), Evolved())
    return (*_cheap_methods(model), *retrained, *slow)


def quick_methods(model: Model) -> tuple[Method, ...]:
    """Return the methods that take little beside the full model and PEEL, and the plainest rival."""
    whole = (Precision.INT8, Precision.INT4)
    retrained = [Retrained(f"retrained:{each}", each, (LESS_DROPOUT,)) for each in whole]
    return (*_cheap_methods(model), *retrained)


def _cheap_methods(model: Model) -> tuple[Method, ...]:
    return (
        Whole(FULL, Precision.FP32),
        Peel(BEST, model.codec, model.layers),
        Peel("peel:fp32", Codec.FP32, model.layers),
        CodedHead(),
        CodedHead("head:entropy-unrotated", rotate=False),
        *(Head(f"head:{each}", each) for each in Precision),
        FirstColumns("svd", rotate=True),
        FirstColumns("first-k", rotate=False),
        Whole("uniform:int8", Precision.INT8),
        Whole("uniform:int4", Precision.INT4),
        Pruned(),
        RandomBlocks(),
        ScoreList(),
    )
