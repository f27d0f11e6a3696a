"""The base of all settings of the cloud, and the ranges that they share."""

from typing import Annotated

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1, le=100_000_000)]
"""How many of something, at least one."""


Share = Annotated[float, Meta(ge=0.0, lt=1.0)]
"""A part of the whole, less than all of it."""


Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""The seed of a family of random streams (`wire.random_streams`)."""


class Setting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all settings share: frozen, fields by name only, unknown fields refused."""


Rate = Annotated[float, Meta(gt=0.0, le=1e6)]
"""A positive size of step."""


Strength = Annotated[float, Meta(ge=0.0, le=1e6)]
"""A weight of a term in a loss; 0 switches the term off."""
