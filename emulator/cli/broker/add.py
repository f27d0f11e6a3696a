"""``peelfleet broker add``: more devices for a broker that is set up already."""

from typing import Annotated

import typer

from broker_config.provisioning import BrokerUsers
from emulator.cli.broker.options import BrokerFolder, show_next_steps


def add(
    directory: BrokerFolder,
    devices: Annotated[list[str], typer.Argument(help="Names of devices.", show_default=False)],
) -> None:
    """Let more devices connect, each with a new password or certificate; the others stay as they are."""
    users = BrokerUsers(directory)
    users.add(devices)
    typer.echo(f"{directory}: added {', '.join(devices)}")
    show_next_steps(directory, users, logins=True)
