"""A queue for an MQTT client that holds nothing: it passes each message on at once.

aiomqtt makes a task for every message that is taken from its own queue, which costs more than most messages
do. If that queue is bounded, it drops messages that the broker has been told are safe.
"""

import asyncio
import logging
from collections.abc import Callable

from aiomqtt import Message

LOG = logging.getLogger("peelfleet.mailbox")


def direct_queue(on_message: Callable[[Message], None]) -> type[asyncio.Queue[Message]]:
    """Return the ``queue_type`` of a client that calls *on_message* with each message."""

    class DirectQueue(asyncio.Queue[Message]):
        """The queue of one client."""

        def put_nowait(self, item: Message) -> None:
            """Pass *item* on. Log an error: the client would take its connection for broken."""
            try:
                on_message(item)
            except Exception:
                LOG.exception("a message on %s could not be taken", item.topic)

    return DirectQueue
