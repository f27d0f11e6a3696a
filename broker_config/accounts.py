"""Accounts of a broker: user name, password and role."""

import csv
import io
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from broker_config.file_modes import write_secret
from wire.errors import InputError
from wire.input_files import read_at_most
from wire.output_files import os_error_text
from wire.topics import Role, valid_name


@dataclass(frozen=True)
class Account:
    """One user of a broker; the user name of a device is its device id."""

    user: str
    role: Role
    password: str = field(repr=False)


DEVICE_PASSWORD_BYTES, SERVICE_PASSWORD_BYTES = 12, 24
"""Random bytes of a password."""
COLUMNS = ("role", "user", "password")
"""Columns of a file of credentials."""
MOST_BYTES = 2**28
"""Maximum size of a file of credentials: millions of devices."""


def new_account(user: str, role: Role) -> Account:
    """Return an account with a random password."""
    size = DEVICE_PASSWORD_BYTES if role is Role.DEVICE else SERVICE_PASSWORD_BYTES
    return Account(user, role, secrets.token_urlsafe(size))


def write_credentials(path: Path, accounts: Iterable[Account]) -> None:
    """Write the accounts as CSV, to a file that only its owner can read."""
    text = io.StringIO()
    # A carriage return would become part of a password in a shell.
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    rows.writerows((account.role.value, account.user, account.password) for account in accounts)
    write_secret(path, text.getvalue())


def read_credentials(path: Path) -> tuple[Account, ...]:
    """Return the accounts in the file at *path*.

    Raises:
        InputError: the file is missing or malformed.
    """
    wrong = f"{path}: must be credentials, as `broker init` writes them"
    try:
        content = read_at_most(path, MOST_BYTES, "credentials", pipes=True)
        rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    except OSError as error:
        raise InputError(f"{wrong}: {os_error_text(error)}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{wrong}: byte {error.start + 1} is not UTF-8 text") from None
    except csv.Error as error:
        raise InputError(f"{wrong}: {error}") from None
    if not rows or tuple(rows[0]) != COLUMNS:
        raise InputError(f"{wrong}: the first line must be {','.join(COLUMNS)}")
    for line, row in enumerate(rows[1:], start=2):  # the row itself may hold a password: do not show it
        if len(row) != len(COLUMNS) or row[0] not in tuple(Role):
            raise InputError(f"{wrong}: row {line} must have one of {', '.join(Role)}, a user and a password")
    return tuple(Account(user, Role(role), password) for role, user, password in rows[1:])


def check_accounts(accounts: Iterable[Account]) -> None:
    """Check that user names are unique and valid in password files and access rules.

    Raises:
        InputError: a name is used twice, or is invalid.
    """
    seen: set[str] = set()
    for account in accounts:
        if account.user in seen:
            raise InputError(f"broker user(={account.user!r}) must be unique")
        if not _valid_user(account):
            rule = "1 to 64 letters, digits, '.', '_' or '-', beginning with " + (
                "a letter or digit" if account.role is Role.DEVICE else "'_'"
            )
            raise InputError(
                f"broker user(={account.user!r}) is no user name for role {account.role}: must be {rule}"
            )
        seen.add(account.user)


def _valid_user(account: Account) -> bool:
    """Tell whether the user name is safe in all generated files.

    A device's name stands for ``%u`` in topics. Other user names begin with an
    underscore, so that no device can have them: mosquitto applies the patterns of devices to every user.
    """
    if account.role is Role.DEVICE:
        return valid_name(account.user)
    return account.user.startswith("_") and valid_name(account.user[1:])
