"""A queue for an MQTT client that holds nothing: each message is handed on in the moment of its arrival.

aiomqtt makes a task for every message that is taken out of its own queue, which costs more than most messages
do, and a queue of it that is bounded throws away what the broker has been told is safe.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

LOG = logging.getLogger("peelfleet.mailbox")


class Message(Protocol):
    """What a client hands on."""

    @property
    def topic(self) -> Any:  # Any: the client's own type
        """Where it was published."""

    @property
    def payload(self) -> Any:  # Any: bytes, from a broker
        """What it says."""

    @property
    def retain(self) -> bool:
        """Whether the broker had it before we subscribed."""


class Mailbox(asyncio.Queue[Any]):
    """The queue of one client.

    Args:
        take: given each message; what it raises is logged: the client would think its connection broken.
    """

    def __init__(self, take: Callable[[Message], None]) -> None:
        super().__init__()
        self._hand_on = take

    def put_nowait(self, item: Message) -> None:
        """Hand a message on."""
        try:
            self._hand_on(item)
        except Exception:
            LOG.exception("a message on %s could not be taken", item.topic)


def mailbox(take: Callable[[Message], None]) -> Any:  # Any: the client asks for a type
    """Return what makes the queue of a client whose messages go to *take*: its ``queue_type``."""
    return lambda maxsize=0: Mailbox(take)
