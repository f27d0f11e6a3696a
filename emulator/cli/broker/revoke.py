"""``peelfleet broker revoke``: users that may not connect any more."""

import typer

from broker_config.provisioning import BrokerUsers
from emulator.cli.broker.options import BrokerFolder, UserNames, show_next_steps


def revoke(directory: BrokerFolder, users: UserNames) -> None:
    """Take users their passwords, certificates and rights; the others stay as they are."""
    installed = BrokerUsers(directory)
    installed.revoke(users)
    typer.echo(f"{directory}: revoked {', '.join(users)}")
    show_next_steps(directory, installed, logins=False)
