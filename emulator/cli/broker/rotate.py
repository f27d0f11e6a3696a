"""``peelfleet broker rotate``: new passwords or certificates for users."""

import typer

from broker_config.provisioning import BrokerUsers
from emulator.cli.broker.options import BrokerFolder, UserNames, show_next_steps


def rotate(directory: BrokerFolder, users: UserNames) -> None:
    """Give users new passwords or certificates, and revoke the old ones; the others stay as they are."""
    installed = BrokerUsers(directory)
    installed.rotate(users)
    typer.echo(f"{directory}: new logins for {', '.join(users)}; the old ones are not valid any more")
    show_next_steps(directory, installed, logins=True)
