"""Files of a NATS server that this process runs, with JetStream and its MQTT, and its command line.

NATS reads JSON. A level of a topic becomes a token of a subject: ``peel/1/+/d1/pee`` is ``peel.1.*.d1.pee``.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from broker_config.accounts import Account
from broker_config.acl import user_rules
from broker_config.daemons import find_daemon, guarded
from broker_config.file_modes import write_secret
from wire.topics import AccessRule

CONFIGURATION = "nats.json"
READY = ""
_WORDS = str.maketrans({"/": ".", "+": "*", "#": ">"})
_DELIVERIES = "$MQTT.sub.>"
"""Subjects by which JetStream hands a client its messages of QoS 1."""
LARGEST_PART: Final = 2**23
"""Bytes of the largest part. One of 16 MiB takes six seconds, one of 64 MiB was never confirmed."""
_LARGEST_MESSAGE = LARGEST_PART + 1024
_MOST_UNCONFIRMED = 10_000
"""Messages of QoS 1 that a subscription may have on their way, 100 by default; 65,535 for a whole session."""


def executable() -> str | None:
    """Return the path of nats-server; None if it is not installed."""
    return find_daemon("nats-server")


def command(program: str, directory: Path) -> list[str]:
    """Return the command that runs NATS with the files in *directory* until its parent ends."""
    return guarded(directory, [program, "-c", str(directory / CONFIGURATION)])


def write_files(directory: Path, host: str, port: int, accounts: Sequence[Account]) -> None:
    """Write the configuration: MQTT on *port*, the protocol of NATS on any free port."""
    write_secret(directory / CONFIGURATION, json.dumps(configuration(directory, host, port, accounts)))


def configuration(directory: Path, host: str, port: int, accounts: Sequence[Account]) -> dict[str, Any]:
    """Return the configuration.

    Args:
        directory: folder of sessions and retained messages.
        host: address to listen on.
        port: port of MQTT.
        accounts: users, roles and passwords.
    """
    return {  # Any: JSON
        "server_name": "peelfleet",
        "listen": f"{host}:-1",
        "max_payload": _LARGEST_MESSAGE,
        "max_pending": 4 * _LARGEST_MESSAGE,
        "jetstream": {"store_dir": str(directory / "jetstream")},
        "mqtt": {"listen": f"{host}:{port}", "max_ack_pending": _MOST_UNCONFIRMED},
        "authorization": {"users": [_user(account) for account in accounts]},
    }


def _user(account: Account) -> dict[str, Any]:  # Any: JSON
    rules = user_rules(account.role, account.user)
    return {
        "user": account.user,
        "password": account.password,
        "permissions": {
            "publish": _subjects(rules, "write") or {"deny": ">"},
            "subscribe": [*_subjects(rules, "read"), _DELIVERIES],
        },
    }


def _subjects(rules: Sequence[AccessRule], access: str) -> list[str]:
    filters = [rule.filter for rule in rules if rule.access == access]
    # In MQTT, a filter that ends with /# includes the topic above it.
    filters += [topic_filter.removesuffix("/#") for topic_filter in filters if topic_filter.endswith("/#")]
    return [topic_filter.translate(_WORDS) for topic_filter in filters]
