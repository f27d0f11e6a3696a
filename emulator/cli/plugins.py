"""``peelfleet plugins``: the plug-ins that are installed."""

from typing import Annotated

import typer

from scenarios.reference.json_schema import schema_text
from scenarios.reference.plugin_list import list_installed
from wire.text import printable_lines


def plugins(
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of scenarios that name plug-ins.")
    ] = False,
) -> None:
    """List the installed plug-ins: what each adds, its package and version, and whether it works."""
    if schema:
        typer.echo(schema_text(plugins=True), nl=False)
        return
    rows = [("kind", "name", "package", "version", "works")]
    for each in list_installed():
        works = "yes" if each.problem is None else f"no: {each.problem}"
        rows.append((each.kind, each.name, each.package, each.version, works))
    if len(rows) == 1:
        typer.echo("no plug-ins are installed; docs/plug-ins.md says how to write one")
        return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        words = (word.ljust(width) for word, width in zip(row, widths, strict=True))
        typer.echo(printable_lines("  ".join(words).rstrip()))
