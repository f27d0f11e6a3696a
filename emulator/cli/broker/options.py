"""Options of the verbs that change the users of a broker, and what they print."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from broker_config.installation import CLIENTS, CREDENTIALS
from broker_config.provisioning import BrokerUsers

BrokerFolder = Annotated[
    Path, typer.Argument(help="The folder that `broker init` wrote.", show_default=False)
]
UserNames = Annotated[list[str], typer.Argument(help="Devices, or users such as _cloud.", show_default=False)]


def show_next_steps(directory: Path, users: BrokerUsers, *, logins: bool) -> None:
    """Print where the logins are, and how a running broker learns of the change."""
    if logins:
        where = directory / (CLIENTS if users.has_certificates else CREDENTIALS)
        typer.echo(f"logins:    {where}")
    folder, names = shlex.quote(str(directory)), " ".join(users.files)
    typer.echo(f"elsewhere: where the broker runs on another machine, copy from {folder}: {names}")
    typer.echo("reload:    kill -HUP PID, of mosquitto: it reads them again; the others stay connected")
