"""Files of a mosquitto that this process runs, and its command line."""

import base64
import hashlib
import secrets
import shutil
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from broker_config.accounts import Account
from broker_config.acl import mosquitto_acl
from broker_config.daemons import LARGEST_MESSAGE, find_daemon, guarded
from broker_config.file_modes import is_root, write_secret

READY = ""
_SALT_BYTES = 12
_ITERATIONS = 101  # mosquitto's own default; random passwords need no slower hash


def executable() -> str | None:
    """Return the path of mosquitto; None if it is not installed."""
    return find_daemon("mosquitto")


def command(program: str, directory: Path) -> list[str]:
    """Return the command that runs mosquitto with the files in *directory* until its parent ends."""
    return guarded(directory, [program, "-c", str(directory / "mosquitto.conf")])


def write_files(directory: Path, host: str, port: int, accounts: Sequence[Account]) -> None:
    """Write configuration, passwords and access rules, owned by the service user like *directory*."""
    user = service_user()
    texts = {
        "mosquitto.conf": configuration(directory, host, port, user),
        "passwords": password_file(accounts),
        "acl": mosquitto_acl({account.user: account.role for account in accounts}),
    }
    for name, text in texts.items():
        write_secret(directory / name, text)
    if is_root():
        for path in (directory, *(directory / name for name in texts)):
            shutil.chown(path, user)


def configuration(
    directory: Path,
    host: str,
    port: int,
    user: str,
    *,
    state: Path | None = None,
    security: str = "",
    largest_message: int = LARGEST_MESSAGE,
    more_listeners: str = "",
    per_listener: bool = False,
) -> str:
    """Return the text of mosquitto.conf.

    Args:
        directory: folder of passwords and access rules.
        host: address to listen on.
        port: port to listen on.
        user: user as which the broker runs.
        state: folder of sessions and retained messages; None: *directory*.
        security: lines of the listener about TLS.
        largest_message: maximum size of a message, in bytes.
        more_listeners: lines of listeners besides that of the devices.
        per_listener: whether each listener has users of its own.
    """
    template = files("broker_config").joinpath("mosquitto.conf").read_text(encoding="utf-8")
    text = Template(template).substitute(
        per_listener="true" if per_listener else "false",
        directory=directory,
        state=state or directory,
        host=host,
        port=port,
        user=user,
        transport_security=security,
        largest_message=largest_message,
    )
    return text + more_listeners


def service_user() -> str:
    """Return the user as which a mosquitto started by root runs: its own user, else ``nobody``."""
    try:
        import pwd

        return pwd.getpwnam("mosquitto").pw_name
    except (ImportError, KeyError):  # Windows has no such table of users
        return "nobody"


def password_file(accounts: Sequence[Account]) -> str:
    """Return the text of a password file."""
    return "".join(f"{password_line(account.user, account.password)}\n" for account in accounts)


def password_line(user: str, password: str) -> str:
    """Return a line of a password file: ``user:$7$iterations$salt$hash``, PBKDF2 with SHA-512.

    ``mosquitto_passwd`` writes the same, but its command line shows the password to all users.
    """
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    return f"{user}:$7${_ITERATIONS}${_base64(salt)}${_base64(digest)}"


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
