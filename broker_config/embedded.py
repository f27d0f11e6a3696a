"""The embedded broker as a process of its own: ``python -m broker_config.embedded``.

It reads its settings, one line of JSON, from its standard input, so that no password is visible in a list of
processes. It serves until that input ends, which happens when the parent dies, or until SIGTERM. Only
warnings and errors are logged, to standard error.
"""

import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Self

from broker_config.accounts import Account
from broker_config.parent_guard import allow_many_connections
from wire.event_loops import run_event_loop
from wire.topics import Role

COMMAND = [sys.executable, "-m", "broker_config.embedded"]


@dataclass(frozen=True)
class BrokerSettings:
    """Address of the broker, and its accounts."""

    host: str
    port: int
    accounts: Sequence[Account]

    def encode(self) -> bytes:
        """Return the settings as one line of JSON."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> Self:
        """Return the settings from the output of ``encode``."""
        raw = json.loads(line)
        accounts = [Account(row["user"], Role(row["role"]), row["password"]) for row in raw["accounts"]]
        return cls(raw["host"], raw["port"], accounts)


def read_first_line(descriptor: int) -> bytes:
    """Read the first line, unbuffered: the broker later waits for the end of the same input."""
    line = b""
    while not line.endswith(b"\n") and (chunk := os.read(descriptor, 65_536)):
        line += chunk
    return line


def main() -> int:
    """Serve until the parent has ended; return the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = BrokerSettings.decode(read_first_line(0))
    allow_many_connections()
    # Only this process needs amqtt, and importing it takes half a second.
    from broker_config.amqtt_broker import serve

    return run_event_loop(serve(settings.host, settings.port, settings.accounts))


if __name__ == "__main__":
    sys.exit(main())
