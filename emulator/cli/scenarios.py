"""``peelfleet scenarios``: a list of the scenarios that come with peelfleet."""

import msgspec
import typer
from rich.console import Console

from emulator.cli.options import Json
from emulator.cli.terminal_width import print_line, print_prose
from scenarios.language.load import headline, shipped


def scenarios(json: Json = False) -> None:
    """List the scenarios that come with peelfleet, to be run by name, and the question that each answers."""
    paths = shipped()
    if json:
        listed = [{"name": path.stem, "question": headline(path), "file": str(path)} for path in paths]
        typer.echo(msgspec.json.encode(listed).decode())
        return
    terminal = Console()
    for path in paths:
        print_line(terminal, path.stem, "bold")
        print_prose(terminal, headline(path), indent=4)
    print_line(terminal, f"    (the file of each is {paths[0].parent}/NAME.yaml)")
