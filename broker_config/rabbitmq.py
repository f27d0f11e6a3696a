"""Files of a RabbitMQ node that this process runs, with its plug-in for MQTT, and its command line.

The plug-in publishes to the exchange ``amq.topic`` with the topic as the routing key, ``/`` written as ``.``.
A subscription is a queue, which is called by the client id.
"""

import base64
import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from broker_config.accounts import Account
from broker_config.acl import user_rules
from broker_config.daemons import guarded
from broker_config.file_modes import write_secret
from broker_config.ports import LOOPBACK, bind_port
from wire.topics import AccessRule, Role

READY = " completed with "  # it lets clients in before it knows the rights of all users
_FOLDERS = "/usr/lib/rabbitmq/bin"
"""Folder of the start script itself; the one on the PATH of Debian insists on the user ``rabbitmq``."""
_EXCHANGE, _VHOST = "amq.topic", "/"
_LEVELS = {"+": "[^.#]+", "#": ".*"}
_CONFIGURATION = """\
# The protocol of RabbitMQ itself is not served.
listeners.tcp = none
mqtt.listeners.tcp.1 = {host}:{port}
mqtt.allow_anonymous = false
mqtt.tcp_listen_options.backlog = 4096
mqtt.tcp_listen_options.nodelay = true
# 10 by default: messages of QoS 1 that a session may have on their way.
mqtt.prefetch = 1000
load_definitions = {directory}/definitions.json
log.file = false
log.console = true
log.console.level = warning
"""


def executable() -> str | None:
    """Return the path of RabbitMQ's start script; None if it is not installed."""
    script = shutil.which("rabbitmq-server", path=_FOLDERS) or shutil.which("rabbitmq-server")
    return script if script and shutil.which("epmd") else None


def command(program: str, directory: Path) -> list[str]:
    """Return the command that runs the node with the files in *directory* until its parent ends."""
    return guarded(directory, ["sh", str(directory / "start.sh"), program])


def write_files(directory: Path, host: str, port: int, accounts: Sequence[Account]) -> None:
    """Write settings, users with their rights, and a script that starts the node."""
    texts = {
        "rabbitmq.conf": _CONFIGURATION.format(host=host, port=port, directory=directory),
        "enabled_plugins": "[rabbitmq_mqtt].\n",
        "definitions.json": json.dumps(definitions(accounts)),
        "start.sh": _start_script(directory),
    }
    for name, text in texts.items():
        write_secret(directory / name, text)


def _start_script(directory: Path) -> str:
    """Return a script that starts the list of nodes (epmd) and the node, which becomes its process.

    Left to itself a node starts a list of nodes that outlives it, and that all nodes of a machine share.
    """
    list_port, node_port = bind_port(0), bind_port(0)
    variables = {
        "HOME": directory,  # of the cookie
        "ERL_EPMD_PORT": list_port,
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_CONFIG_FILE": directory / "rabbitmq.conf",
        "RABBITMQ_ENABLED_PLUGINS_FILE": directory / "enabled_plugins",
        "RABBITMQ_MNESIA_BASE": directory / "state",
        "RABBITMQ_LOG_BASE": directory / "log",
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": directory / "pid",
        "RABBITMQ_NODENAME": "peelfleet@localhost",
        "RABBITMQ_DIST_PORT": node_port,
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the node, which then gets our signals
    }
    exports = [f"export {name}='{value}'" for name, value in variables.items()]
    return "\n".join([*exports, f"epmd -port {list_port} -address {LOOPBACK} &", 'exec "$1"', ""])


def definitions(accounts: Sequence[Account]) -> dict[str, Any]:  # Any: JSON
    """Return users, passwords and rights, as a node reads them at its start."""
    return {
        "vhosts": [{"name": _VHOST}],
        "users": [
            {
                "name": account.user,
                "password_hash": password_hash(account.password),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": "",
            }
            for account in accounts
        ],
        "permissions": [_permission(account) for account in accounts],
        "topic_permissions": [_topic_permission(account) for account in accounts],
    }


def password_hash(password: str) -> str:
    """Return the salted SHA-256 of *password*, as RabbitMQ keeps it."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode("ascii")


def _permission(account: Account) -> dict[str, str]:
    """Return the rights to queues: a device has those of client ids that are, or end with, its own name."""
    client = f"(.*\\.)?{re.escape(account.user)}" if account.role is Role.DEVICE else ".*"
    pattern = f"^(mqtt-subscription-{client}qos[01]|{re.escape(_EXCHANGE)})$"
    rights = dict.fromkeys(("configure", "write", "read"), pattern)
    return {"user": account.user, "vhost": _VHOST, **rights}


def _topic_permission(account: Account) -> dict[str, str]:
    rules = user_rules(account.role, account.user)
    rights = {access: _pattern(rules, access) for access in ("write", "read")}
    return {"user": account.user, "vhost": _VHOST, "exchange": _EXCHANGE, **rights}


def _pattern(rules: Sequence[AccessRule], access: str) -> str:
    """Return a regular expression of routing keys; it also covers filters within the rules."""
    keys = [
        r"\.".join(_LEVELS.get(level, re.escape(level)) for level in rule.filter.split("/"))
        for rule in rules
        if rule.access == access
    ]
    return f"^({'|'.join(keys)})$" if keys else "^$"
