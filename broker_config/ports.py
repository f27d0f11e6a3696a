"""Ports of the loopback interface: free ones, and whether one is free."""

import socket

LOOPBACK = "127.0.0.1"


def bind_port(port: int) -> int:
    """Return *port*, or a free one for 0, after listening on it for a moment.

    Raises:
        OSError: the port is taken.
    """
    with socket.socket() as probe:
        # As brokers do, so that connections of a broker that has just ended do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((LOOPBACK, port))
        probe.listen(1)
        bound: int = probe.getsockname()[1]
        return bound
