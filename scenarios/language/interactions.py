"""The interactions of users in simulated time: the key `interactions` of a scenario."""

from typing import Annotated

import msgspec
from msgspec import Meta

from cloud.data.drift import Drift
from devices.simulated.recommender_settings import LearningVector, Recommender


class ReplayedInteractions(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag="replay"
):
    """Users meet the items after the cut of the data, as the data's times say; `data.split` must be `cut`."""

    speed: Annotated[float, Meta(gt=0.0, le=1e9)] | None = None
    """Seconds of the data in a second of simulated time; interactions after `stop_time` do not come. Null:
    as fast as lets the last interaction come at the end of the run."""

    recommender: Recommender = LearningVector()
    """The way to rank the items on a device."""


class DriftingInteractions(Drift, frozen=True, kw_only=True, tag_field="type", tag="drift"):
    """Users of a synthetic world go on, and their tastes move; newcomers join. It needs `synthetic` data."""

    recommender: Recommender = LearningVector()
    """The way to rank the items on a device."""


InteractionsKind = ReplayedInteractions | DriftingInteractions
"""The ways in which users meet items in simulated time."""
