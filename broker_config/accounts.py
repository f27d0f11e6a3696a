"""Who may connect to a broker that we run: a user name, a password and a role each."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from broker_config.files import write_secret
from wire.errors import InputError
from wire.topics import Role, valid_name


@dataclass(frozen=True)
class Account:
    """One user of a broker; the user name of a device is its device id."""

    user: str
    role: Role
    password: str = field(repr=False)


COLUMNS = ("role", "user", "password")
"""Of a file of credentials."""


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
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
        if tuple(header) != COLUMNS:
            raise ValueError(f"columns(={','.join(header)!r}) must be {','.join(COLUMNS)}")
        return tuple(Account(user, Role(role), password) for role, user, password in rows)
    except (OSError, csv.Error, ValueError) as error:
        raise InputError(f"{path}: must be credentials, as `broker init` writes them: {error}") from None


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
