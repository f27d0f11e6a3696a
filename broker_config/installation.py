"""Files of a broker for a test fleet: configuration, certificates, passwords and access rules."""

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, get_args

from broker_config import mosquitto
from broker_config.accounts import Account, check_accounts, new_account, write_credentials
from broker_config.acl import mosquitto_acl
from broker_config.certificates import Authority
from broker_config.emqx import cluster
from broker_config.file_modes import is_root, write_open, write_secret
from wire.errors import InputError
from wire.output_files import atomic_folder
from wire.topics import Role, valid_name
from wire.update_part import DEFAULT_MAX_PAYLOAD

Product = Literal["mosquitto", "emqx"]
CONFIGURATION, CREDENTIALS, STATE, CLIENTS = "mosquitto.conf", "credentials.csv", "state", "clients"
CA, CA_KEY, CERTIFICATE, KEY = "ca.crt", "ca.key", "server.crt", "server.key"
PASSWORDS, ACL, REVOKED, SERVICE_PASSWORDS = "passwords", "acl", "revoked.pem", "service-passwords"
LARGEST_MESSAGE = DEFAULT_MAX_PAYLOAD + 1024
"""Largest part that a cloud sends by default, with its topic, in bytes."""
SERVICE_ROLES = (Role.FLEET, Role.CLOUD, Role.OBSERVER)
"""Roles with one user per fleet."""
_WRITTEN_NAMES = {
    *(CA, CA_KEY, CERTIFICATE, KEY, CREDENTIALS, CLIENTS),
    *(CONFIGURATION, PASSWORDS, SERVICE_PASSWORDS, ACL, REVOKED, STATE),
    *(cluster.COMPOSE, cluster.BALANCER, "emqx.conf", "acl.conf", "users.csv"),
}
_HOST = re.compile(r"(?!.{254})[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class Installation:
    """Options of a test fleet's broker."""

    fleet: str
    """The fleet whose topics its users may access."""
    hosts: Sequence[str]
    """Names or addresses of the broker, for its certificate."""
    devices: Sequence[str]
    port: int = 8883
    bind: str = "0.0.0.0"
    """IP address to listen on."""
    client_certificates: bool = False
    """True if clients use certificates instead of passwords."""
    service_port: int | None = None
    """Port of the services; each device's client id is then its name. None: the port of the devices."""
    websocket_port: int | None = None
    """Port of devices in browsers; None: there is none."""
    websocket_tls: bool = True
    """False if the WebSockets are in the clear, behind a web server on this machine."""
    product: Product = "mosquitto"
    """One mosquitto, or a cluster of three EMQX nodes in containers."""


def install(directory: Path, options: Installation, *, force: bool = False) -> tuple[Account, ...]:
    """Write all files into *directory*, atomically; return the accounts.

    Args:
        directory: the folder to create.
        options: of the broker.
        force: replace an earlier installation; other files are never removed.

    Raises:
        InputError: an option is wrong, or the folder exists.
    """
    accounts = _accounts(options)
    directory = _check_target(directory, force=force)
    try:
        with atomic_folder(directory) as draft:  # readable for all: the broker runs as another user
            _write(draft, options, accounts)
            if directory.exists():
                shutil.rmtree(directory)
    except OSError as error:
        raise InputError(f"{directory}: cannot be written: {error.strerror}") from None
    return accounts


def _check_target(directory: Path, *, force: bool) -> Path:
    """Return the full path of *directory*, after a check that it is free or may be replaced."""
    directory = Path(os.path.realpath(directory))  # `resolve` raises if links form a circle
    if not str(directory).isprintable():
        raise InputError(f"{str(directory)!r}: must be one line: it becomes part of a configuration")
    if not directory.exists():
        return directory
    if not force:
        raise InputError(f"{directory}: is there already; --force writes it anew")
    names = {path.name for path in directory.iterdir()} if directory.is_dir() else {directory.name}
    if others := sorted(names - _WRITTEN_NAMES):
        raise InputError(
            f"{directory}: holds other things than `broker init` writes: {', '.join(others[:3])}"
        )
    return directory


def _accounts(options: Installation) -> tuple[Account, ...]:
    if options.product not in get_args(Product):
        raise InputError(f"--for {options.product!r}: must be mosquitto or emqx")
    if not valid_name(options.fleet):
        raise InputError(f"--fleet {options.fleet!r}: must be 1 to 64 letters, digits, '.', '_' or '-'")
    if not options.hosts:
        raise InputError("--host: there must be at least one name or address for the certificate")
    for host in options.hosts:
        if not _address(host) and not _HOST.fullmatch(host):
            raise InputError(f"--host {host!r}: must be a name or an address: letters, digits, '.' and '-'")
    if not _address(options.bind):
        raise InputError(f"--bind {options.bind!r}: must be an IP address, such as 0.0.0.0")
    if options.service_port is not None and options.client_certificates:
        raise InputError("--service-port is for passwords: a certificate is good for every port")
    if options.service_port is not None and options.product != "mosquitto":
        raise InputError(f"--service-port is for mosquitto, not for {options.product}")
    _check_websockets(options)
    if options.service_port == options.port:
        raise InputError(f"--service-port(={options.port}) must be another than --port")
    services = [new_account(f"_{role.value}", role) for role in SERVICE_ROLES]
    devices = [new_account(name, Role.DEVICE) for name in options.devices]
    check_accounts([*services, *devices])
    return (*services, *devices)


def _check_websockets(options: Installation) -> None:
    port = options.websocket_port
    if port is None:
        if not options.websocket_tls:
            raise InputError("--no-websocket-tls goes with --websocket-port")
        return
    if options.client_certificates:
        raise InputError("--websocket-port is for passwords, not for --client-certificates")
    if options.product != "mosquitto":
        raise InputError(f"--websocket-port is for mosquitto, not for {options.product}")
    if port in (options.port, options.service_port):
        raise InputError(f"--websocket-port(={port}) must be another than --port and --service-port")
    if not options.websocket_tls and not ip_address(options.bind).is_loopback:
        raise InputError(
            f"--no-websocket-tls: --bind(={options.bind}) must be loopback: passwords go in the clear"
        )


def _address(text: str) -> bool:
    """Tell whether *text* is an IP address without a zone: a zone may hold any text after the %."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def _write(draft: Path, options: Installation, accounts: Sequence[Account]) -> None:
    authority = Authority.new(f"peelfleet {options.fleet}")
    authority.signed.write(draft / CA, draft / CA_KEY)
    authority.server(list(options.hosts)).write(draft / CERTIFICATE, draft / KEY)
    write_credentials(draft / CREDENTIALS, accounts)
    if options.client_certificates:
        _write_clients(draft / CLIENTS, authority, accounts)
    if options.product == "emqx":
        _write_cluster(draft, options, accounts)
    else:
        _write_mosquitto(draft, options, accounts, authority)


def _write_mosquitto(
    draft: Path, options: Installation, accounts: Sequence[Account], authority: Authority
) -> None:
    user = mosquitto.service_user()
    texts = {
        CONFIGURATION: mosquitto.configuration(
            Path(),  # relative: the folder may be moved
            options.bind,
            options.port,
            user,
            state=Path(STATE),
            security=_tls_lines(options),
            largest_message=LARGEST_MESSAGE,
            more_listeners=_service_listener(options) + _websocket_listener(options),
            per_listener=options.service_port is not None,
        ),
        ACL: mosquitto_acl({account.user: account.role for account in accounts}, options.fleet),
    }
    for name, users in split_accounts(accounts, is_split=options.service_port is not None).items():
        texts[name] = mosquitto.password_file(users)
    if options.client_certificates:
        texts[REVOKED] = authority.revocation_list(None, []).decode()
    for name, text in texts.items():
        write_secret(draft / name, text)
    (draft / STATE).mkdir(mode=0o700)
    _change_owner([draft / STATE, draft / KEY, *(draft / name for name in texts)], user)


def _write_cluster(draft: Path, options: Installation, accounts: Sequence[Account]) -> None:
    texts = cluster.secret_files(
        options.fleet, accounts, LARGEST_MESSAGE, client_certificates=options.client_certificates
    )
    for name, text in texts.items():
        write_secret(draft / name, text)
    for name, text in cluster.open_files(options.bind, options.port).items():
        write_open(draft / name, text)
    _change_owner([draft / KEY, *(draft / name for name in texts)], cluster.CONTAINER_USER)


def split_accounts(accounts: Sequence[Account], *, is_split: bool) -> dict[str, list[Account]]:
    """Return the accounts of each password file: one for all, or one of devices and one of services."""
    if not is_split:
        return {PASSWORDS: list(accounts)}
    devices = [account for account in accounts if account.role is Role.DEVICE]
    return {PASSWORDS: devices, SERVICE_PASSWORDS: [each for each in accounts if each not in devices]}


def _service_listener(options: Installation) -> str:
    if options.service_port is None:
        return ""
    lines = [
        "",
        "# For fleet, cloud and observer only, who choose their client ids themselves.",
        f"listener {options.service_port} {options.bind}",
        _tls_lines(replace(options, service_port=None)),
        "allow_anonymous false",
        f"password_file ./{SERVICE_PASSWORDS}",
        f"acl_file ./{ACL}",
    ]
    return "\n".join(lines) + "\n"


def _websocket_listener(options: Installation) -> str:
    """Return the lines of the listener for browsers: devices with the same logins and rights."""
    if options.websocket_port is None:
        return ""
    family = "ipv6" if ip_address(options.bind).version == 6 else "ipv4"
    lines = [
        "",
        "# MQTT in WebSockets, for devices in browsers. Parts above 4 KiB are slow: docs/service.md.",
        f"listener {options.websocket_port} {options.bind}",
        "protocol websockets",
        "# Without this line mosquitto 2.0 listens on all addresses, whatever the line above says.",
        f"socket_domain {family}",
        *([_tls_lines(options)] if options.websocket_tls else []),
    ]
    if options.service_port is not None:  # each listener has its own users
        lines += ["allow_anonymous false", f"password_file ./{PASSWORDS}", f"acl_file ./{ACL}"]
        if not options.websocket_tls:
            lines.append("use_username_as_clientid true")
    return "\n".join(lines) + "\n"


def _tls_lines(options: Installation) -> str:
    lines = [
        "",
        "# TLS 1.2 at least; clients verify the certificate against ca.crt.",
        f"cafile {CA}",
        f"certfile {CERTIFICATE}",
        f"keyfile {KEY}",
        "tls_version tlsv1.2",
    ]
    if options.service_port is not None:
        lines += [
            "",
            "# Whatever a device calls itself: nobody ends the session of another by taking its client id.",
            "use_username_as_clientid true",
        ]
    if options.client_certificates:
        lines += [
            "",
            "# Clients show certificates of the same authority; the common name is the user's name.",
            "require_certificate true",
            "use_identity_as_username true",
            "# Those that `peelfleet broker revoke` has revoked.",
            f"crlfile {REVOKED}",
        ]
    return "\n".join(lines)


def _write_clients(folder: Path, authority: Authority, accounts: Iterable[Account]) -> None:
    folder.mkdir(mode=0o700)
    for account in accounts:
        signed = authority.client(account.user)
        signed.write(folder / f"{account.user}.crt", folder / f"{account.user}.key")


def _change_owner(paths: Iterable[Path], user: str | int) -> None:
    """Make *user*, as which a broker started by root runs, the owner of *paths*."""
    if is_root():
        for path in paths:
            shutil.chown(path, user)
