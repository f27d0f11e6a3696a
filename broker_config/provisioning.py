"""Users of a broker that is set up already: add, list, revoke and rotate them; the others stay as they are.

A revoked user has no password any more, and its certificates stand in a list of revoked ones. Since mosquitto
leaves the open connections of a certificate alone, the access rules deny it everything, too.
"""

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from broker_config import mosquitto
from broker_config.accounts import Account, check_accounts, new_account, read_credentials, write_credentials
from broker_config.certificates import Authority, read_certificate
from broker_config.file_modes import is_root, write_secret
from broker_config.installation import (
    ACL,
    CA,
    CA_KEY,
    CLIENTS,
    CONFIGURATION,
    CREDENTIALS,
    PASSWORDS,
    REVOKED,
    SERVICE_PASSWORDS,
    split_accounts,
)
from wire.errors import InputError
from wire.output_files import os_error_text
from wire.topics import Role

_DENIED = "# Revoked by `peelfleet broker revoke`."


@dataclass(frozen=True)
class BrokerUser:
    """A user of an installation, as `list_users` shows it."""

    user: str
    role: Role
    certificate_until: datetime | None = None
    """End of its certificate; None where it logs in with a password, or the certificate is elsewhere."""


class BrokerUsers:
    """The users of the installation in a folder; each change is written at once.

    Args:
        directory: the folder, as `broker init` wrote it for mosquitto.

    Raises:
        InputError: the folder is no such installation.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        try:
            text = (directory / CONFIGURATION).read_text(encoding="utf-8")
        except OSError as error:
            rule = "must be a folder that `broker init` wrote for mosquitto"
            raise InputError(f"{directory}: {rule}: {CONFIGURATION}: {os_error_text(error)}") from None
        self._accounts = {account.user: account for account in read_credentials(directory / CREDENTIALS)}
        self._configuration = text
        self._has_service_port = SERVICE_PASSWORDS in text
        self.has_certificates = "require_certificate true" in text
        """True if clients show certificates in place of passwords."""

    @property
    def files(self) -> Sequence[str]:
        """The files that the broker reads again at SIGHUP, which a change writes."""
        more = [SERVICE_PASSWORDS] if self._has_service_port else []
        return [PASSWORDS, *more, ACL, *([REVOKED] if self.has_certificates else [])]

    def list_users(self) -> tuple[BrokerUser, ...]:
        """Return the users that may connect, in the order of their installation."""
        return tuple(
            BrokerUser(account.user, account.role, self._certificate_end(account.user))
            for account in self._accounts.values()
        )

    def add(self, names: Sequence[str]) -> None:
        """Add devices, each with a new password or certificate.

        Raises:
            InputError: a name is taken, or is not valid.
        """
        new = [new_account(name, Role.DEVICE) for name in names]
        check_accounts([*self._accounts.values(), *new])
        self._issue(new)
        self._write([*self._accounts.values(), *new], lambda rules: without_denied(rules, names))

    def revoke(self, names: Sequence[str]) -> None:
        """Take the rights of users away, and of their certificates.

        Raises:
            InputError: there is no such user, or its certificate is needed and not here.
        """
        self._find(names)
        self._revoke_certificates(names)
        left = [account for user, account in self._accounts.items() if user not in names]
        self._write(left, lambda rules: with_denied(rules, names) if self.has_certificates else rules)
        for name in names:
            for kind in ("crt", "key"):
                (self._directory / CLIENTS / f"{name}.{kind}").unlink(missing_ok=True)

    def rotate(self, names: Sequence[str]) -> None:
        """Give users new passwords or certificates in place of their old ones.

        Raises:
            InputError: there is no such user, or its certificate is needed and not here.
        """
        old = self._find(names)
        self._revoke_certificates(names)
        new = {account.user: new_account(account.user, account.role) for account in old}
        self._issue(new.values())
        self._write([new.get(user, account) for user, account in self._accounts.items()], lambda rules: rules)

    def _find(self, names: Sequence[str]) -> list[Account]:
        for name in names:
            if name not in self._accounts:
                raise InputError(f"{name!r}: is no user of the broker in {self._directory}")
        return [self._accounts[name] for name in dict.fromkeys(names)]

    def _certificate_end(self, user: str) -> datetime | None:
        path = self._directory / CLIENTS / f"{user}.crt"
        return read_certificate(path).not_valid_after_utc if path.exists() else None

    def _issue(self, accounts: Iterable[Account]) -> None:
        """Write a certificate of each account, where clients show them."""
        if not self.has_certificates:
            return
        authority, folder = self._authority(), self._directory / CLIENTS
        for account in accounts:
            signed = authority.client(account.user)
            signed.write(folder / f"{account.user}.crt", folder / f"{account.user}.key")

    def _revoke_certificates(self, names: Iterable[str]) -> None:
        if not self.has_certificates:
            return
        if f"crlfile {REVOKED}" not in self._configuration:
            raise InputError(
                f"{self._directory / CONFIGURATION}: has no line `crlfile {REVOKED}`, as it is of an older "
                "version: nothing can be revoked; write the broker anew with `broker init --force`"
            )
        paths = [self._directory / CLIENTS / f"{name}.crt" for name in names]
        for path in paths:
            if not path.exists():
                raise InputError(f"{path}: is not there: its number is needed to revoke it")
        serials = [read_certificate(path).serial_number for path in paths]
        before = self._directory / REVOKED
        text = self._authority().revocation_list(before.read_bytes() if before.exists() else None, serials)
        self._replace(REVOKED, text)

    def _authority(self) -> Authority:
        return Authority.read(self._directory / CA, self._directory / CA_KEY)

    def _write(self, accounts: Sequence[Account], change_rules: Callable[[str], str]) -> None:
        """Write passwords and rules, and last the list of accounts: a change that failed can be repeated."""
        for name, users in split_accounts(accounts, is_split=self._has_service_port).items():
            kept = password_lines((self._directory / name).read_text(encoding="utf-8"))
            lines = []
            for account in users:
                is_old = self._accounts.get(account.user) == account and account.user in kept
                new = mosquitto.password_line(account.user, account.password)
                lines.append(f"{kept[account.user] if is_old else new}\n")
            self._replace(name, "".join(lines))
        rules = (self._directory / ACL).read_text(encoding="utf-8")
        self._replace(ACL, change_rules(rules))
        draft = self._directory / f"{CREDENTIALS}.new"
        write_credentials(draft, accounts)
        draft.replace(self._directory / CREDENTIALS)
        self._accounts = {account.user: account for account in accounts}

    def _replace(self, name: str, content: str | bytes) -> None:
        """Replace a file of the broker's as a whole; its owner and its mode stay."""
        path, draft = self._directory / name, self._directory / f"{name}.new"
        write_secret(draft, content)
        if is_root():
            shutil.chown(draft, mosquitto.service_user())
        draft.replace(path)


def password_lines(text: str) -> Mapping[str, str]:
    """Return the lines of a password file by user."""
    return {line.partition(":")[0]: line for line in text.splitlines() if line}


def with_denied(rules: str, names: Sequence[str]) -> str:
    """Return access rules that deny users everything, besides what they say already."""
    return without_denied(rules, names) + "".join(_denied(name) for name in dict.fromkeys(names))


def without_denied(rules: str, names: Iterable[str]) -> str:
    """Return access rules without those that deny users everything."""
    for name in names:
        rules = rules.replace(_denied(name), "")
    return rules


def _denied(name: str) -> str:
    return f"\n{_DENIED}\nuser {name}\ntopic deny #\n"
