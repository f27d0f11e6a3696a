"""``peelfleet broker list``: the users of a broker."""

import typer

from broker_config.provisioning import BrokerUsers
from emulator.cli.broker.options import BrokerFolder


def list(directory: BrokerFolder) -> None:
    """Print the users that may connect: role, name, and until when a certificate is valid."""
    for user in BrokerUsers(directory).list_users():
        until = user.certificate_until
        login = "password" if until is None else f"certificate until {until:%Y-%m-%d}"
        typer.echo(f"{user.role.value}\t{user.user}\t{login}")
