"""The owner of exchanges: all that a delivery knows of its device."""

from typing import Protocol

from devices.event_log import Cause, Harm
from devices.protocol.agent import Agent
from devices.simulated.context import Setting


class Owner(Protocol):
    """A device as its delivery sees it."""

    number: int
    name: str
    agent: Agent
    setting: Setting
    online: bool
    epoch: int

    def report(self, cause: Cause) -> None:
        """Report the budget to the cloud at once."""

    def observe(self) -> None:
        """Log the quality of the PEE in use."""

    def harm(self, harm: Harm, seq: int, size_bytes: int, place: int, times: int = 1) -> None:
        """Log a fault of a message."""

    def stamp(self) -> tuple[int, float, int, int]:
        """Return the first columns of the next row."""
