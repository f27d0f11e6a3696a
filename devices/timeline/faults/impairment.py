"""The changes that faults and lossy links make to one message."""

from typing import Final, NamedTuple

NO_FAULT: Final = -1
"""Stands for the number of a fault where the link itself, and no fault of the scenario, changed a message."""


class Impairment(NamedTuple):
    """The changes to one message: each holds the number of the fault that made it, None if none did."""

    lost: int | None = None
    """The message never arrives."""
    corrupted: int | None = None
    """It arrives damaged."""
    duplicated: int | None = None
    """It arrives twice."""
    held_back: int | None = None
    """It is delayed, so that later messages overtake it."""
    held_back_ns: int = 0
    """The delay of a message that is held back."""
    resent: int | None = None
    """It was lost, and the transport sent it again until it arrived."""
    retries: int = 0
    """The number of times that the transport sent it again."""
    late_ns: int = 0
    """The delay that the retries cost."""


NO_IMPAIRMENT: Final = Impairment()
"""The message arrives as it was sent."""
