"""The interface of a device to its delivery."""

from typing import Protocol

from devices.event_log import MessageFault
from devices.protocol.agent import Receipt


class DeliveryOwner(Protocol):
    """A device as its delivery sees it."""

    number: int
    name: str
    online: bool
    epoch: int
    """Counts the connections that have ended."""

    def on_part(self, part: bytes, *, is_latest: bool, of_layers: bool, is_applied: bool) -> Receipt:
        """Receive an update part.

        Args:
            part: the part as it arrived.
            is_latest: whether it belongs to the answer to the last report.
            of_layers: whether that answer is made of shared layers.
            is_applied: whether the answer has been applied already: this is a second copy.
        """

    def on_no_answer(self, seq: int) -> None:
        """Learn that no complete answer to report *seq* comes in time."""

    def log_fault(
        self, fault: MessageFault, seq: int, size_bytes: int, fault_index: int, times: int = 1
    ) -> None:
        """Log what fault *fault_index* did, so many *times*, to a message of exchange *seq*."""

    def row_key(self) -> tuple[int, float, int, int]:
        """Return the first columns of the device's next row."""
