"""Who may connect to a broker that we run: a user name, a password and a role each."""

import csv
import io
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


COLUMNS = ("role", "user", "password")
"""Of a file of credentials."""
MOST_BYTES = 2**28
"""Of a file of credentials: millions of devices."""


def write_credentials(path: Path, accounts: Iterable[Account]) -> None:
    """Write who may connect as CSV; nobody else can read the file."""
    text = io.StringIO()
    rows = csv.writer(
        text, lineterminator="\n"
    )  # a carriage return would become part of a password in a shell
    rows.writerow(COLUMNS)
    rows.writerows((each.role.value, each.user, each.password) for each in accounts)
    write_secret(path, text.getvalue())


def read_credentials(path: Path) -> tuple[Account, ...]:
    """Return who may connect.

    Raises:
        InputError: the file is missing or is none.
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
    for line, row in enumerate(rows[1:], start=2):  # what it holds stays secret
        if len(row) != len(COLUMNS) or row[0] not in tuple(Role):
            raise InputError(f"{wrong}: row {line} must have one of {', '.join(Role)}, a user and a password")
    return tuple(Account(user, Role(role), password) for role, user, password in rows[1:])


def check_accounts(accounts: Iterable[Account]) -> None:
    """Refuse accounts that a password file or an access rule could not tell apart.

    Raises:
        InputError: a name is taken twice, or is none.
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
    """Tell whether the name is safe in every file that it ends up in.

    A device's name stands for ``%u`` in topics. The others' names begin with an underscore, so that no
    device can have them: mosquitto applies the devices' patterns to every user.
    """
    if account.role is Role.DEVICE:
        return valid_name(account.user)
    return account.user.startswith("_") and valid_name(account.user[1:])
