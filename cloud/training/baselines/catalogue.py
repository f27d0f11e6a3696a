"""The registry of baselines, by name. To add one, write its file and one line here."""

from collections.abc import Mapping
from typing import Final

from cloud.training.baselines.block_selection import EvolvedBlocks, RandomBlocks
from cloud.training.baselines.coded_head import CodedHeadItems
from cloud.training.baselines.columns import FirstColumns
from cloud.training.baselines.distillation import DistilledModel, MatryoshkaModel
from cloud.training.baselines.head import HeadItems
from cloud.training.baselines.method import CompressionMethod
from cloud.training.baselines.narrow import NarrowModel
from cloud.training.baselines.precision import Precision
from cloud.training.baselines.product_quantization import ProductQuantization
from cloud.training.baselines.pruning import PrunedTable
from cloud.training.baselines.score_list import ScoreList
from cloud.training.baselines.top_list import TopList
from cloud.training.baselines.whole import WholeTable

FULL: Final = "full"
"""The whole table as it was trained."""
_LESS_DROPOUT: Final = (0.1,)
_MORE_VARIANTS: Final = (("mf", 0.1),)

_METHODS: Final[tuple[CompressionMethod, ...]] = (
    WholeTable(FULL, Precision.FP32),
    CodedHeadItems(),
    CodedHeadItems("head:entropy-unrotated", rotate=False),
    *(HeadItems(f"head:{precision}", precision) for precision in Precision),
    FirstColumns("svd", rotate=True),
    FirstColumns("first-k", rotate=False),
    WholeTable("uniform:int8", Precision.INT8),
    WholeTable("uniform:int4", Precision.INT4),
    PrunedTable(),
    RandomBlocks(),
    TopList(),
    ScoreList(),
    *(NarrowModel(f"retrained:{precision}", precision, _MORE_VARIANTS) for precision in Precision),
    DistilledModel(dropouts=_LESS_DROPOUT),
    MatryoshkaModel(dropouts=_LESS_DROPOUT),
    ProductQuantization(),
    EvolvedBlocks(),
)
BASELINES: Final[Mapping[str, CompressionMethod]] = {method.name: method for method in _METHODS}
