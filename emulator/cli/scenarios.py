"""``peelfleet scenarios``: a list of the scenarios that come with peelfleet."""

import os

import typer

from scenarios.language.load import headline, shipped


def scenarios() -> None:
    """List the scenarios that come with peelfleet, to be run by name, and the question that each answers."""
    for path in shipped():
        typer.echo(f"{path.stem}\n    {headline(path)}\n    {os.path.relpath(path)}")
