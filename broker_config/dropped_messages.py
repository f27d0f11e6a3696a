"""Number of messages that a mosquitto has dropped during a run.

A full queue drops the newest messages, and neither end is informed. The broker publishes a count on a topic
of its own every `sys_interval`; the count starts again at 0 with the broker.
"""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.reasoncodes import ReasonCode

from broker_config.endpoint import Endpoint
from wire.topics import Role

DROPPED, CLOCK = "$SYS/broker/publish/messages/dropped", "$SYS/broker/uptime"
"""Topic of the count; and a topic that is published as often, even if its value has not changed."""
_RECONNECT_S = 1


class DropCounter:
    """Sum of a broker's counts over its restarts.

    It starts with the first count: a broker may have dropped messages of other runs before. Messages that are
    dropped between the last count and a crash are unknown.
    """

    def __init__(self) -> None:
        self._first: int | None = None
        self._before_restarts = 0
        self._current = 0

    def count(self, dropped: int) -> None:
        """Add the broker's current count."""
        if self._first is None:
            self._first = dropped
        elif dropped < self._current:
            self._before_restarts += self._current
        self._current = dropped

    @property
    def messages(self) -> int | None:
        """Number of dropped messages; None if the broker has published no count."""
        return None if self._first is None else self._before_restarts + self._current - self._first


class DropMonitor:
    """Reads the counts of a broker in a thread of its own, with reconnections.

    Args:
        endpoint: the broker, with the login of an observer.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._counter = DropCounter()
        self._ticked = threading.Event()
        client_id = f"peelfleet-drops-{secrets.token_hex(4)}"
        self._client = client = endpoint.checking_client(client_id, Role.OBSERVER)
        client.reconnect_delay_set(_RECONNECT_S, _RECONNECT_S)
        client.on_connect = self._subscribe
        client.on_message = self._on_message
        client.connect_async(endpoint.host, endpoint.port)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Read counts while the block runs."""
        self._client.loop_start()
        try:
            yield
        finally:
            self._client.disconnect()
            self._client.loop_stop()

    def messages(self, wait_s: float) -> int | None:
        """Return the number of messages dropped until now; None if the broker publishes no count.

        Args:
            wait_s: seconds to wait, at most twice, for the broker's next count, which is complete.
        """
        if self._counter.messages is not None:
            for _ in range(2):  # a broker publishes its uptime before its count of dropped messages
                self._ticked.clear()
                self._ticked.wait(wait_s)
        return self._counter.messages

    def _subscribe(
        self, client: Client, _userdata: object, _flags: ConnectFlags, _reason: ReasonCode, _more: object
    ) -> None:
        client.subscribe([(DROPPED, 0), (CLOCK, 0)])

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        if message.topic == CLOCK:
            if not message.retain:
                self._ticked.set()
        elif message.payload.isdigit():
            self._counter.count(int(message.payload))
