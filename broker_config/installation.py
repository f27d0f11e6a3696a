"""A broker for a test fleet, as files: configuration, certificates, passwords and access rules."""

import os
import secrets
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from broker_config import mosquitto
from broker_config.accounts import Account, check_accounts, write_credentials
from broker_config.acl import mosquitto_acl
from broker_config.certificates import Authority
from wire.errors import InputError
from wire.pee import DEFAULT_MAX_PAYLOAD
from wire.topics import Role, valid_name

CONFIGURATION, CREDENTIALS, STATE, CLIENTS = "mosquitto.conf", "credentials.csv", "state", "clients"
CA, CA_KEY, CERTIFICATE, KEY = "ca.crt", "ca.key", "server.crt", "server.key"
LARGEST_MESSAGE = DEFAULT_MAX_PAYLOAD + 1024
"""Payload of the largest part that a cloud sends by default, with room for its topic."""
SERVICES = (Role.FLEET, Role.CLOUD, Role.OBSERVER)
"""Roles that a fleet has one user for each."""


@dataclass(frozen=True)
class Installation:
    """What a test fleet's broker is to be like."""

    fleet: str
    """The fleet whose topics its users may use."""
    hosts: Sequence[str]
    """How clients reach it: names or addresses, for its certificate."""
    devices: Sequence[str]
    port: int = 8883
    bind: str = "0.0.0.0"
    """Where it listens."""
    client_certificates: bool = False
    """Whether clients show certificates in place of passwords."""


def install(directory: Path, wanted: Installation, *, force: bool = False) -> tuple[Account, ...]:
    """Write everything into *directory*; return who may connect.

    It appears whole or not at all.

    Args:
        directory: where to.
        wanted: what the broker is to be like.
        force: whether what is there may go.

    Raises:
        InputError: an argument is wrong, or something is there.
    """
    accounts = _accounts(wanted)
    if directory.exists() and not force:
        raise InputError(f"{directory}: is there already; --force writes it anew")
    draft = directory.with_name(f".{directory.name}-{secrets.token_hex(4)}")
    try:
        draft.mkdir(parents=True, mode=0o755)
        _write(draft, directory.resolve(), wanted, accounts)
        if directory.exists():
            shutil.rmtree(directory)
        draft.rename(directory)
    except OSError as error:
        raise InputError(f"{directory}: cannot be written: {error.strerror}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return accounts


def _accounts(wanted: Installation) -> tuple[Account, ...]:
    if not valid_name(wanted.fleet):
        raise InputError(f"--fleet {wanted.fleet!r}: must be 1 to 64 letters, digits, '.', '_' or '-'")
    if not wanted.hosts:
        raise InputError("--host: there must be at least one name or address for the certificate")
    services = [Account(f"_{role.value}", role, secrets.token_urlsafe(24)) for role in SERVICES]
    devices = [Account(name, Role.DEVICE, secrets.token_urlsafe(12)) for name in wanted.devices]
    check_accounts([*services, *devices])
    return (*services, *devices)


def _write(draft: Path, final: Path, wanted: Installation, accounts: Sequence[Account]) -> None:
    authority, user = Authority.new(f"peelfleet test fleet {wanted.fleet}"), mosquitto.service_user()
    authority.signed.write(draft / CA, draft / CA_KEY)
    authority.server(list(wanted.hosts)).write(draft / CERTIFICATE, draft / KEY)
    (draft / STATE).mkdir()
    texts = {
        CONFIGURATION: mosquitto.configuration(
            final,
            wanted.bind,
            wanted.port,
            user,
            state=final / STATE,
            security=_security(final, wanted),
            largest_message=LARGEST_MESSAGE,
        ),
        "passwords": "".join(f"{mosquitto.password_line(each.user, each.password)}\n" for each in accounts),
        "acl": mosquitto_acl({each.user: each.role for each in accounts}, wanted.fleet),
    }
    for name, text in texts.items():
        path = draft / name
        path.touch(mode=0o600)
        path.write_text(text, encoding="utf-8")
    write_credentials(draft / CREDENTIALS, accounts)
    if wanted.client_certificates:
        _write_clients(draft / CLIENTS, authority, accounts)
    _hand_over([draft / STATE, draft / KEY, *(draft / name for name in texts)], user)


def _security(directory: Path, wanted: Installation) -> str:
    lines = [
        "",
        "# TLS 1.2 at least; clients verify the certificate against ca.crt.",
        f"cafile {directory / CA}",
        f"certfile {directory / CERTIFICATE}",
        f"keyfile {directory / KEY}",
        "tls_version tlsv1.2",
    ]
    if wanted.client_certificates:
        lines += [
            "",
            "# Clients show certificates of the same authority; the common name is the user's name.",
            "require_certificate true",
            "use_identity_as_username true",
        ]
    return "\n".join(lines)


def _write_clients(folder: Path, authority: Authority, accounts: Iterable[Account]) -> None:
    folder.mkdir(mode=0o700)
    for account in accounts:
        signed = authority.client(account.user)
        signed.write(folder / f"{account.user}.crt", folder / f"{account.user}.key")


def _hand_over(paths: Iterable[Path], user: str) -> None:
    """Let the user own what mosquitto reads, whom it becomes when root starts it."""
    if os.geteuid() == 0:
        for path in paths:
            shutil.chown(path, user)
