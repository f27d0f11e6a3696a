"""``peelfleet plugins``: the plug-ins that are installed."""

from typing import Annotated

import msgspec
import typer

from emulator.cli.options import Json
from emulator.cli.terminal_width import print_prose, wide_terminal
from emulator.cli.text_table import TextTable, print_table
from scenarios.reference.json_schema import schema_text
from scenarios.reference.plugin_list import list_installed
from wire.text import printable, printable_lines


def plugins(
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of scenarios that name plug-ins.")
    ] = False,
    json: Json = False,
) -> None:
    """List the installed plug-ins: what each adds, its package and version, and whether it works."""
    if schema:
        typer.echo(schema_text(plugins=True), nl=False)
        return
    installed = list(list_installed())
    if json:
        typer.echo(msgspec.json.encode(installed).decode())
        return
    if not installed:
        typer.echo("no plug-ins are installed; docs/plug-ins.md says how to write one")
        return
    rows = [
        (each.kind, each.name, each.package, each.version, "yes" if each.problem is None else "no")
        for each in installed
    ]
    terminal = wide_terminal()
    head = ("kind", "name", "package", "version", "works")
    safe = [tuple(map(printable, row)) for row in rows]
    print_table(terminal, TextTable(title="plug-ins", head=head, rows=safe, words=head))
    for each in installed:
        if each.problem is not None:
            print_prose(terminal, printable_lines(f"{each.kind} {each.name} does not work: {each.problem}"))
