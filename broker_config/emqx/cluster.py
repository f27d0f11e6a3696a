"""The files of a cluster of three EMQX nodes: ``docker compose up`` in their folder would start it."""

import csv
import hashlib
import io
import secrets
from collections.abc import Iterable, Sequence
from importlib.resources import files
from string import Template

from broker_config.accounts import Account
from broker_config.acl import emqx_acl

COMPOSE, BALANCER = "compose.yaml", "haproxy.cfg"
CONTAINER_USER = 1000
"""Numeric user id of EMQX inside its containers, which owns its secrets."""
_NODES = ("node1", "node2", "node3")
_DOMAIN = "emqx.internal"
_SALT_BYTES = 16
_USER_COLUMNS = ("user_id", "password_hash", "salt", "is_superuser")


def secret_files(
    fleet: str, accounts: Sequence[Account], largest_message: int, *, client_certificates: bool
) -> dict[str, str]:
    """Return the texts of files that only EMQX may read, by file name.

    Args:
        fleet: the fleet whose topics the users may access.
        accounts: users, roles and passwords.
        largest_message: maximum size of a message, in bytes; whole KiB.
        client_certificates: whether clients use certificates instead of passwords.
    """
    template = files(__package__).joinpath("emqx.conf").read_text(encoding="utf-8")
    configuration = Template(template).substitute(
        cookie=secrets.token_hex(24),
        dashboard_password=secrets.token_urlsafe(18),
        seeds=", ".join(f'"emqx@{node}.{_DOMAIN}"' for node in _NODES),
        largest_message=f"{largest_message // 1024}KB",  # EMQX's KB are 1024 bytes
        verify="verify_peer" if client_certificates else "verify_none",
        only_certificates=_word(client_certificates),
        ask_passwords=_word(not client_certificates),
        name_from="cn" if client_certificates else "disabled",
    )
    return {
        "emqx.conf": configuration,
        "acl.conf": emqx_acl({account.user: account.role for account in accounts}, fleet),
        "users.csv": users(accounts),
    }


def open_files(bind: str, port: int) -> dict[str, str]:
    """Return the texts of files that all users may read, by file name; *bind* is an IP address."""
    package = files(__package__)
    address = f"[{bind}]:{port}" if ":" in bind else f"{bind}:{port}"
    compose = Template(package.joinpath(COMPOSE).read_text(encoding="utf-8")).substitute(address=address)
    return {COMPOSE: compose, BALANCER: package.joinpath(BALANCER).read_text(encoding="utf-8")}


def users(accounts: Iterable[Account]) -> str:
    """Return EMQX's bootstrap file of users, with salted hashes of passwords; no user is a superuser.

    Hashes, so that all nodes read the same: each node would salt a plain password by itself. SHA-256 is
    enough for random passwords.
    """
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_USER_COLUMNS)
    for account in accounts:
        salt = secrets.token_hex(_SALT_BYTES)
        digest = hashlib.sha256((salt + account.password).encode()).hexdigest()
        rows.writerow((account.user, digest, salt, "false"))
    return text.getvalue()


def _word(value: bool) -> str:
    return "true" if value else "false"
