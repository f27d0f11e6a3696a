"""Settings of what recommends on a device whose user meets interactions: a table, a list, the cloud's vector.

A device with a table keeps its user's interactions to itself, unless the cloud fits the vector.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from devices.recommender.learning import LearningSettings
from wire.units import TIME_UNITS, Duration, format_duration

Length = Annotated[int, Meta(ge=20, le=65_535)]
"""Number of items of a list; 20 are shown."""


class LearningVector(LearningSettings, frozen=True, kw_only=True, tag_field="type", tag="learning"):
    """The blocks held, and a user vector that follows the items met last, on the device. Nothing leaves it.

    The numbers of these items are kept inside the device's budget: its blocks get the rest.
    """


class FrozenVector(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag="frozen"
):
    """The blocks held, and the user vector that came with them. Nothing leaves the device."""


class FirstList(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag="list"
):
    """A list of the best items, made by the cloud when the device connects first; no table is used."""

    length: Length = 100
    """Number of items of the list; the device takes off those that its user meets, and shows 20."""


class ListUpdates(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    tag_field="type",
    tag="list_updates",
):
    """A list of the best items at intervals; no table is used. The device reports what its user met."""

    length: Length = 100
    """Number of items of a list; the device takes off those that its user meets, and shows 20."""

    every: Duration = Duration(TIME_UNITS["d"])
    """Time between two lists; a device that is not connected then fetches its list when it connects."""

    def __post_init__(self) -> None:
        if self.every <= 0:
            raise ValueError(f"every(={format_duration(self.every)}) must be > 0")


class CloudRefit(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag="cloud_refit"
):
    """The blocks held, and a user vector that the cloud learns anew after each reported visit."""


Recommender = LearningVector | FrozenVector | FirstList | ListUpdates | CloudRefit
"""The ways to rank the items on a device."""
