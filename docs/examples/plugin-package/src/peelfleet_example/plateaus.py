"""Memory process `plateaus`: free memory stays at one level for a while, then moves to another one."""

from collections.abc import Iterator, Mapping

import msgspec
import numpy as np

from wire.units import Bytes, Duration, parse_bytes, parse_duration


class Plateaus(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type", tag="plateaus"
):
    """Levels drawn at random; memory stays at each for a while."""

    min: Bytes = parse_bytes("256 MiB")
    """The lowest level."""
    max: Bytes = parse_bytes("2 GiB")
    """The highest level."""
    stay: Duration = parse_duration("5 min")
    """The mean time at a level."""

    def __post_init__(self) -> None:
        if self.min > self.max:
            raise ValueError(f"min(={self.min} B) must not exceed max(={self.max} B)")
        if self.stay <= 0:
            raise ValueError(f"stay(={self.stay} ns) must be > 0")

    def periods(self) -> Iterator[Mapping[str, int]]:
        """Yield the mean time after which a change repeats, by the key that sets it."""
        yield {"stay": self.stay}

    def limits(self) -> Mapping[str, int]:
        """Return the keys that limit the free memory: they must not exceed the memory of the device."""
        return {"max": self.max}

    def changes(self, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
        """Yield (wait_ns, free_bytes) without end; only the first wait is 0."""
        wait_ns = 0
        while True:
            yield wait_ns, int(rng.integers(self.min, self.max, endpoint=True))
            wait_ns = 1 + int(rng.exponential(self.stay))
