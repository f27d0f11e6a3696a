"""``peelfleet broker list``: the users of a broker."""

import msgspec
import typer

from broker_config.provisioning import BrokerUsers
from emulator.cli.broker.options import BrokerFolder
from emulator.cli.options import Json


def list(directory: BrokerFolder, json: Json = False) -> None:
    """Print the users that may connect: role, name, and until when a certificate is valid."""
    users = BrokerUsers(directory).list_users()
    if json:
        typer.echo(msgspec.json.encode(users).decode())
        return
    for user in users:
        until = user.certificate_until
        login = "password" if until is None else f"certificate until {until:%Y-%m-%d}"
        typer.echo(f"{user.role.value}\t{user.user}\t{login}")
