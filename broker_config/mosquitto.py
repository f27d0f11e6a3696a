"""The files that a mosquitto of ours reads, and the command line that starts it."""

import base64
import hashlib
import os
import pwd
import secrets
import shutil
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from string import Template

from broker_config.accounts import Account
from broker_config.acl import mosquitto_acl
from broker_config.file_modes import write_secret
from wire.update_part import MAX_PART_BYTES

PARENT_GUARD = Path(__file__).with_name("parent_guard.py")
# Daemons live in folders that are often missing from a user's PATH.
_DAEMON_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
_SALT_BYTES = 12
_ITERATIONS = 101  # mosquitto's own default; random passwords need no slower hash


def executable() -> str | None:
    """Return the path of mosquitto, or None where there is none."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path=os.pathsep.join(_DAEMON_FOLDERS))


def command(program: str, directory: Path) -> list[str]:
    """Return the command that runs mosquitto from the files in *directory*, as long as its parent lives."""
    configuration = str(directory / "mosquitto.conf")
    # -I -S: the guard needs the standard library only, and starts in 15 ms without the rest.
    return [sys.executable, "-I", "-S", str(PARENT_GUARD), str(directory), program, "-c", configuration]


def write_files(directory: Path, host: str, port: int, accounts: Sequence[Account]) -> None:
    """Write configuration, passwords and access rules; the service user owns them and the directory."""
    user = service_user()
    texts = {
        "mosquitto.conf": configuration(directory, host, port, user),
        "passwords": "".join(password_line(account.user, account.password) + "\n" for account in accounts),
        "acl": mosquitto_acl({account.user: account.role for account in accounts}),
    }
    for name, text in texts.items():
        write_secret(directory / name, text)
    if os.geteuid() == 0:
        for path in (directory, *(directory / name for name in texts)):
            shutil.chown(path, user)


LARGEST_MESSAGE = MAX_PART_BYTES + 1024
"""Payload of the largest part that a scenario may ask for, with room for its topic."""


def configuration(
    directory: Path,
    host: str,
    port: int,
    user: str,
    *,
    state: Path | None = None,
    security: str = "",
    largest_message: int = LARGEST_MESSAGE,
) -> str:
    """Return the text of mosquitto.conf.

    Args:
        directory: where passwords and access rules are.
        host: where to listen.
        port: likewise.
        user: whom the broker becomes.
        state: where it keeps sessions and retained messages; None: in *directory*.
        security: the listener's lines on TLS.
        largest_message: the most bytes that anybody may send at once.
    """
    template = files("broker_config").joinpath("mosquitto.conf").read_text(encoding="utf-8")
    return Template(template).substitute(
        directory=directory,
        state=state or directory,
        host=host,
        port=port,
        user=user,
        transport_security=security,
        largest_message=largest_message,
    )


def service_user() -> str:
    """Return whom mosquitto becomes when root starts it: its own user, else nobody."""
    try:
        return pwd.getpwnam("mosquitto").pw_name
    except KeyError:
        return "nobody"


def password_line(user: str, password: str) -> str:
    """Return a line of a password file: ``user:$7$iterations$salt$hash``, PBKDF2 with SHA-512.

    ``mosquitto_passwd`` would do the same, but shows the password to everyone who lists processes.
    """
    salt = secrets.token_bytes(_SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _ITERATIONS)
    return f"{user}:$7${_ITERATIONS}${_base64(salt)}${_base64(digest)}"


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
