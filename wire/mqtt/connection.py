"""Settings of a connection to a broker: address, login, TLS, session."""

import socket
import ssl
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

NODELAY = ((socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),)
"""aiomqtt leaves Nagle's algorithm on, which turns a millisecond into forty."""

PUBLISHES_AT_ONCE = 64
"""aiomqtt scans all pending publishes at each call, so the cost is quadratic in their number."""

KEEP_ALIVE_S = 60
"""Seconds that a client may be silent; after one and a half times as long the broker ends the connection."""


@dataclass(frozen=True)
class Tls:
    """Certificates: how a client verifies the broker, and its own."""

    ca: Path | None = None
    """Certificates of the trusted authorities (PEM); None: those of the system."""
    certificate: Path | None = None
    """Certificate of the client (PEM), if the broker requires one."""
    key: Path | None = None
    """Private key of the client (PEM)."""


@cache
def tls_context(tls: Tls) -> ssl.SSLContext:
    """Return a TLS context that always verifies the certificate and the host name of the server.

    It is cached, because a process may have thousands of clients.
    """
    context = ssl.create_default_context(cafile=tls.ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context


@dataclass(frozen=True)
class Connection:
    """TopicAddress of the broker and login of one client."""

    host: str
    port: int
    client_id: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None
    """None: the connection is not encrypted."""
    persistent: bool = False
    """True if the broker keeps the session, and queues messages for it, while the client is disconnected."""
    keep_alive_s: int = KEEP_ALIVE_S
    websocket_path: str | None = None
    """Path of the WebSocket that carries MQTT; None: MQTT goes over TCP itself."""

    def client_options(self) -> dict[str, Any]:  # Any: the keyword arguments have many types
        """Return the keyword arguments of `aiomqtt.Client`."""
        return {
            "hostname": self.host,
            "port": self.port,
            "identifier": self.client_id,
            "username": self.user,
            "password": self.password,
            "tls_context": None if self.tls is None else tls_context(self.tls),
            "clean_session": not self.persistent,
            "keepalive": self.keep_alive_s,
            "socket_options": NODELAY,
            "max_inflight_messages": PUBLISHES_AT_ONCE,
            "transport": "tcp" if self.websocket_path is None else "websockets",
            "websocket_path": self.websocket_path,
        }
