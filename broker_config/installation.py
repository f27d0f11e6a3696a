"""A broker for a test fleet, as files: configuration, certificates, passwords and access rules."""

import os
import re
import secrets
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, get_args

from broker_config import mosquitto
from broker_config.accounts import Account, check_accounts, write_credentials
from broker_config.acl import mosquitto_acl
from broker_config.certificates import Authority
from broker_config.emqx import cluster
from broker_config.file_modes import write_open, write_secret
from wire.errors import InputError
from wire.output_files import atomic_folder
from wire.topics import Role, valid_name
from wire.update_part import DEFAULT_MAX_PAYLOAD

Product = Literal["mosquitto", "emqx"]
CONFIGURATION, CREDENTIALS, STATE, CLIENTS = "mosquitto.conf", "credentials.csv", "state", "clients"
CA, CA_KEY, CERTIFICATE, KEY = "ca.crt", "ca.key", "server.crt", "server.key"
LARGEST_MESSAGE = DEFAULT_MAX_PAYLOAD + 1024
"""Payload of the largest part that a cloud sends by default, with room for its topic."""
SERVICE_ROLES = (Role.FLEET, Role.CLOUD, Role.OBSERVER)
"""Roles that a fleet has one user for each."""
_WRITTEN_NAMES = {
    *(CA, CA_KEY, CERTIFICATE, KEY, CREDENTIALS, CLIENTS),
    *(CONFIGURATION, "passwords", "acl", STATE),
    *(cluster.COMPOSE, cluster.BALANCER, "emqx.conf", "acl.conf", "users.csv"),
}
_HOST = re.compile(r"(?!.{254})[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


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
    """Where it listens: an IP address."""
    client_certificates: bool = False
    """Whether clients show certificates in place of passwords."""
    product: Product = "mosquitto"
    """One mosquitto, or a cluster of three EMQX nodes in containers."""


def install(directory: Path, wanted: Installation, *, force: bool = False) -> tuple[Account, ...]:
    """Write everything into *directory*; return who may connect.

    It appears whole or not at all.

    Args:
        directory: where to.
        wanted: what the broker is to be like.
        force: whether an earlier installation there may go; nothing else ever does.

    Raises:
        InputError: an argument is wrong, or something is there.
    """
    accounts = _accounts(wanted)
    directory = _check_target(directory, force=force)
    try:
        with atomic_folder(directory) as draft:  # open to all: the broker is another user
            _write(draft, directory, wanted, accounts)
            if directory.exists():
                shutil.rmtree(directory)
    except OSError as error:
        raise InputError(f"{directory}: cannot be written: {error.strerror}") from None
    return accounts


def _check_target(directory: Path, *, force: bool) -> Path:
    """Return *directory* in full, which is not there, or is an earlier installation that may go."""
    directory = Path(os.path.realpath(directory))  # `resolve` raises where links go in a circle
    if not str(directory).isprintable():
        raise InputError(f"{str(directory)!r}: must be one line: it becomes part of a configuration")
    if not directory.exists():
        return directory
    if not force:
        raise InputError(f"{directory}: is there already; --force writes it anew")
    found = {path.name for path in directory.iterdir()} if directory.is_dir() else {directory.name}
    if others := sorted(found - _WRITTEN_NAMES):
        raise InputError(
            f"{directory}: holds other things than `broker init` writes: {', '.join(others[:3])}"
        )
    return directory


def _accounts(wanted: Installation) -> tuple[Account, ...]:
    if wanted.product not in get_args(Product):
        raise InputError(f"--for {wanted.product!r}: must be mosquitto or emqx")
    if not valid_name(wanted.fleet):
        raise InputError(f"--fleet {wanted.fleet!r}: must be 1 to 64 letters, digits, '.', '_' or '-'")
    if not wanted.hosts:
        raise InputError("--host: there must be at least one name or address for the certificate")
    for host in wanted.hosts:
        if not _address(host) and not _HOST.fullmatch(host):
            raise InputError(f"--host {host!r}: must be a name or an address: letters, digits, '.' and '-'")
    if not _address(wanted.bind):
        raise InputError(f"--bind {wanted.bind!r}: must be an IP address, such as 0.0.0.0")
    services = [Account(f"_{role.value}", role, secrets.token_urlsafe(24)) for role in SERVICE_ROLES]
    devices = [Account(name, Role.DEVICE, secrets.token_urlsafe(12)) for name in wanted.devices]
    check_accounts([*services, *devices])
    return (*services, *devices)


def _address(text: str) -> bool:
    """Tell whether *text* is an IP address; not one with a zone, where anything may stand after the %."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def _write(draft: Path, final: Path, wanted: Installation, accounts: Sequence[Account]) -> None:
    authority = Authority.new(f"peelfleet {wanted.fleet}")
    authority.signed.write(draft / CA, draft / CA_KEY)
    authority.server(list(wanted.hosts)).write(draft / CERTIFICATE, draft / KEY)
    write_credentials(draft / CREDENTIALS, accounts)
    if wanted.client_certificates:
        _write_clients(draft / CLIENTS, authority, accounts)
    if wanted.product == "emqx":
        _write_cluster(draft, wanted, accounts)
    else:
        _write_mosquitto(draft, final, wanted, accounts)


def _write_mosquitto(draft: Path, final: Path, wanted: Installation, accounts: Sequence[Account]) -> None:
    user = mosquitto.service_user()
    texts = {
        CONFIGURATION: mosquitto.configuration(
            final,
            wanted.bind,
            wanted.port,
            user,
            state=final / STATE,
            security=_tls_lines(final, wanted),
            largest_message=LARGEST_MESSAGE,
        ),
        "passwords": "".join(f"{mosquitto.password_line(each.user, each.password)}\n" for each in accounts),
        "acl": mosquitto_acl({each.user: each.role for each in accounts}, wanted.fleet),
    }
    for name, text in texts.items():
        write_secret(draft / name, text)
    (draft / STATE).mkdir(mode=0o700)
    _change_owner([draft / STATE, draft / KEY, *(draft / name for name in texts)], user)


def _write_cluster(draft: Path, wanted: Installation, accounts: Sequence[Account]) -> None:
    texts = cluster.secret_files(
        wanted.fleet, accounts, LARGEST_MESSAGE, client_certificates=wanted.client_certificates
    )
    for name, text in texts.items():
        write_secret(draft / name, text)
    for name, text in cluster.open_files(wanted.bind, wanted.port).items():
        write_open(draft / name, text)
    _change_owner([draft / KEY, *(draft / name for name in texts)], cluster.CONTAINER_USER)


def _tls_lines(directory: Path, wanted: Installation) -> str:
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


def _change_owner(paths: Iterable[Path], user: str | int) -> None:
    """Let the user own what the broker reads, whom it becomes when root starts it."""
    if os.geteuid() == 0:
        for path in paths:
            shutil.chown(path, user)
