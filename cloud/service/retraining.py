"""Settings of retraining: when the cloud trains the next version of the model, and what it then knows."""

from typing import Annotated

import msgspec

from wire.units import TIME_UNITS, Duration, Share, format_duration, format_share

MOST_VERSIONS = 400
"""Largest number of versions of a run: each takes the memory of a model, and the time to evaluate it."""


class Retraining(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Retraining on a cadence, with what has been reported; each version is offered to all devices."""

    every: Duration = Duration(TIME_UNITS["d"])
    """Time between two versions; the first comes so long after the start."""
    reports: Share = Share(1.0)
    """Part of the users who report what they meet, drawn once: 100 %, all; 0 %, nobody, for privacy: then
    nothing new is known, and the version is the old one, solved further."""
    lag: Duration = Duration(TIME_UNITS["h"])
    """Time from an interaction until a version can know of it: it is reported, and training takes time."""
    turns: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    """Number of times that users and items are solved, from the version before."""
    margin: Annotated[float, msgspec.Meta(ge=0.0, le=0.9)] = 0.5
    """Part of an interval's length by which a number must leave its interval before the stored number
    changes; 0: at once. A larger margin makes smaller deltas and coarser tables."""
    deltas: bool = True
    """True to send a device the change of the blocks that it holds; else all of its blocks."""

    def __post_init__(self) -> None:
        if self.every <= 0:
            raise ValueError(f"every(={format_duration(self.every)}) must be > 0")
        if self.lag < 0:
            raise ValueError(f"lag(={format_duration(self.lag)}) must be >= 0")
        if not 0 <= self.reports <= 1:
            raise ValueError(f"reports(={format_share(self.reports)}) must be from 0 to 100 %")

    def times_ns(self, stop_ns: int) -> range:
        """Return the simulated times of the versions of a run that ends at *stop_ns*."""
        return range(int(self.every), stop_ns, int(self.every))
