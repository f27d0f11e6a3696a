"""What an MQTT client is told about its broker, the same at both ends."""

import socket
from dataclasses import dataclass, field
from typing import Any

NODELAY = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
"""aiomqtt leaves Nagle's algorithm on, which turns a millisecond into forty."""

PUBLISHES_AT_ONCE = 64
"""aiomqtt scans every pending publish at each call, so more of them cost quadratically."""

RETRY_S = 0.5
"""How long to wait before connecting again."""


@dataclass(frozen=True)
class Connection:
    """Where the broker is, and who the client is there."""

    host: str
    port: int
    client_id: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def client_options(self) -> dict[str, Any]:  # Any: they are the keyword arguments of aiomqtt.Client
        """Return the keyword arguments for an MQTT client."""
        return {
            "hostname": self.host,
            "port": self.port,
            "identifier": self.client_id,
            "username": self.user,
            "password": self.password,
            "socket_options": NODELAY,
            "max_inflight_messages": PUBLISHES_AT_ONCE,
        }
