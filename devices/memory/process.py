"""The contract of a memory process: how the free memory of a device changes over simulated time."""

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np

Changes = Iterator[tuple[int, int]]
"""(wait_ns, free_bytes): after that time, so much memory is free; the first wait is 0."""


class MemoryProcess(Protocol):
    """A process: a frozen `msgspec.Struct` whose fields are its keys in a scenario.

    Two members of `devices.memory.Memory` change in another way: `Boundary` follows the device's table and
    budget rule (`changes_around`), and `Replay` a recording (`devices.traces.series`).
    """

    def changes(self, rng: np.random.Generator) -> Changes:
        """Yield (wait_ns, free_bytes); the first wait is 0, and no other. At the end the value stays.

        Args:
            rng: the stream of the device, which nothing else draws from.
        """

    def periods(self) -> Iterator[Mapping[str, int]]:
        """Yield the mean times, in nanoseconds, after which changes repeat.

        Each is the sum of one mapping, from the key in the scenario (``step_every``, or ``low.dwell`` if it
        is nested) to the time that it sets. A scenario whose changes repeat too often is refused.
        """

    def limits(self) -> Mapping[str, int]:
        """Return the keys that set how many bytes are free at most, with these bytes.

        A scenario in which they exceed the memory of the device is refused. Empty: no key sets a limit, and
        what exceeds the memory of the device counts as all of it.
        """
