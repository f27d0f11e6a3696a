"""Options of the verbs that change the users of a broker, and what they print."""

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from broker_config.installation import CLIENTS, CREDENTIALS
from broker_config.provisioning import BrokerUsers
from emulator.cli.terminal_width import print_prose

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
    for line in (
        f"elsewhere: where the broker runs on another machine, copy from {folder}: {names}",
        "reload:    kill -HUP PID, of mosquitto: it reads them again; the others stay connected",
    ):
        print_prose(Console(), line, hanging=11)
