"""What a mosquitto says of the messages that it has dropped: watched while a run goes on.

A queue that is full loses the newest messages, and neither end is told. The broker counts them on a topic of
its own, which it publishes every `sys_interval` and begins anew when it is started again.
"""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from broker_config.endpoint import Endpoint
from wire.mqtt.connection import tls_context
from wire.topics import Role

DROPPED, CLOCK = "$SYS/broker/publish/messages/dropped", "$SYS/broker/uptime"
"""The count; and what is published as often as it, whether or not it has changed."""
_RECONNECT_S = 1


class DropCounter:
    """Adds up what a broker counts, over its restarts.

    Only what is dropped from the first count on is told of: a broker that others use too has a past. What a
    broker dropped between its last count and its death nobody knows.
    """

    def __init__(self) -> None:
        self._since: int | None = None
        self._ended = 0
        self._now = 0

    def count(self, dropped: int) -> None:
        """Take in the broker's count."""
        if self._since is None:
            self._since = dropped
        elif dropped < self._now:
            self._ended += self._now
        self._now = dropped

    @property
    def messages(self) -> int | None:
        """How many were dropped; None where the broker has never said."""
        return None if self._since is None else self._ended + self._now - self._since


class DropMonitor:
    """Listens to a broker in a thread of its own, over reconnections.

    Args:
        endpoint: the broker; who it is as an observer.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._drops = DropCounter()
        self._ticked = threading.Event()
        self._client = client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"peelfleet-drops-{secrets.token_hex(4)}",
            protocol=MQTTProtocolVersion.MQTTv311,
        )
        if login := endpoint.credentials.get(Role.OBSERVER):
            client.username_pw_set(login.user, login.password)
        if endpoint.tls is not None:
            client.tls_set_context(tls_context(endpoint.tls))
        client.reconnect_delay_set(_RECONNECT_S, _RECONNECT_S)
        client.on_connect = self._subscribe
        client.on_message = self._take
        client.connect_async(endpoint.host, endpoint.port)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen while the block runs."""
        self._client.loop_start()
        try:
            yield
        finally:
            self._client.disconnect()
            self._client.loop_stop()

    def messages(self, wait_s: float) -> int | None:
        """Return how many messages were dropped until now; None where the broker does not say.

        Args:
            wait_s: how long to wait, at most twice, for the broker's next count: it has all that was dropped.
        """
        if self._drops.messages is not None:
            for _ in range(2):  # a broker tells the time before it tells what it has dropped
                self._ticked.clear()
                self._ticked.wait(wait_s)
        return self._drops.messages

    def _subscribe(
        self, client: Client, _userdata: object, _flags: ConnectFlags, _reason: ReasonCode, _more: object
    ) -> None:
        client.subscribe([(DROPPED, 0), (CLOCK, 0)])

    def _take(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        if message.topic == CLOCK:
            if not message.retain:
                self._ticked.set()
        elif message.payload.isdigit():
            self._drops.count(int(message.payload))
