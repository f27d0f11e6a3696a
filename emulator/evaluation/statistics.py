"""Means over seeds or users with their intervals, and words for what an interval is over."""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np

from cloud.training.baselines.scoring import METRICS, UserMetrics
from emulator.exports.mean_interval import MeanInterval, mean_interval

COVERAGE: Final = "coverage"
METRIC_NAMES: Final = (*METRICS, COVERAGE)
Vary = Literal["training", "split", "both"]
"""The seeds that differ: those of training, those of the split of the data, or both together."""
_VARIED: Final = {
    "training": "training seeds; one split of the data",
    "split": "splits of the data; one training seed",
    "both": "seeds, each of a split of the data and of the training on it",
}


def over_seeds(metric: str, seeds: Sequence[UserMetrics]) -> MeanInterval:
    """Return the mean of *metric* over *seeds*: with several over them, with one over its users.

    Coverage is no mean over users: of one seed it has no interval.
    """
    if len(seeds) > 1 or metric == COVERAGE:
        return mean_interval([each.means()[metric] for each in seeds])
    values = seeds[0].values[METRICS.index(metric)]
    defined = values[np.isfinite(values)]
    return mean_interval(defined if len(defined) else [0.0])


def share_over_seeds(metric: str, seeds: Sequence[UserMetrics], whole: Sequence[UserMetrics]) -> MeanInterval:
    """Return the mean over seeds of *metric* as a share of that of *whole*, pairs of the same seed and users.

    With one seed the interval is that of a ratio of means over paired users, to first order.
    """
    shares = [
        _ratio(own.means()[metric], all_.means()[metric]) for own, all_ in zip(seeds, whole, strict=True)
    ]
    if len(seeds) > 1 or metric == COVERAGE:
        return mean_interval(shares)
    row = METRICS.index(metric)
    own, full = seeds[0].values[row], whole[0].values[row]
    defined = np.isfinite(own) & np.isfinite(full)
    if not defined.any() or not full[defined].any():
        return mean_interval(shares)
    # The error of the ratio r of two means is that of the mean of x - r y, over the mean of y.
    errors = mean_interval((own[defined] - shares[0] * full[defined]) / full[defined].mean())
    return MeanInterval(shares[0], errors.half_width, errors.deviation, errors.count)


def _ratio(value: float, whole: float) -> float:
    return value / whole if whole else float("nan")


def interval_text(vary: Vary, seeds: int) -> str:
    """Name the source of the spread that an interval covers, for a column and a caption."""
    if seeds == 1:
        return "95 % interval over the users with test items; one training, one split of the data"
    return f"95 % interval of the mean (Student's t) over {seeds} {_VARIED[vary]}"
