"""The base class of the settings of the cloud, and the ranges that they share."""

from typing import Annotated

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=1, le=100_000_000)]
"""A number of things, at least one."""


Share = Annotated[float, Meta(ge=0.0, lt=1.0)]
"""A fraction, at least 0 and less than 1."""


Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""The seed of a family of random streams (`wire.random_streams`)."""


class Setting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base class of settings: frozen, fields by name only, unknown fields refused."""


Rate = Annotated[float, Meta(gt=0.0, le=1e6)]
"""A positive step size."""


Strength = Annotated[float, Meta(ge=0.0, le=1e6)]
"""The weight of a term of a loss; 0 switches the term off."""
