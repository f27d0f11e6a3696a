"""``peelfleet trace inspect``: a check of a trace, and statistics of its series."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from devices.traces.inspect import inspect as inspect_trace
from devices.traces.inspect import plausibility_warnings
from devices.traces.writer import check_suffix, digest, read_sidecar
from emulator.cli.options import Json
from emulator.cli.trace.options import sidecar_name
from emulator.cli.trace.statistics_table import table
from wire.text import printable


def inspect(
    trace: Annotated[Path, typer.Argument(help="A trace: .csv or .parquet.", show_default=False)],
    series: Annotated[int, typer.Option(min=0, help="Show at most this many series.")] = 20,
    json: Json = False,
) -> None:
    """Check every column of a trace, and print figures of its series."""
    check_suffix(trace)
    inspected = inspect_trace(trace)
    if json:
        typer.echo(msgspec.json.encode(inspected).decode())
        return
    count = f"{len(inspected.series)} series, {inspected.overall.rows} rows"
    typer.echo(f"{printable(trace)}: {count}; {', '.join(inspected.columns)}")
    if inspected.others:
        typer.echo(f"besides: {printable(', '.join(inspected.others))}")
    for line in _origin(trace):
        typer.echo(line)
    sidecar = read_sidecar(trace)
    if sidecar is not None and sidecar.sha256 != digest(trace):
        typer.echo("the file is not the one that its sidecar describes: SHA-256 differs", err=True)
    for line in table(inspected, series):
        typer.echo(line)
    for warning in plausibility_warnings(inspected):
        typer.echo(f"warning: {warning}", err=True)


def _origin(trace: Path) -> Iterator[str]:
    """Yield lines on the source of a trace, from its sidecar."""
    sidecar = read_sidecar(trace)
    if sidecar is None:
        yield f"no {sidecar_name(trace)} says where it comes from"
        return
    for name in ("source", "licence", "transform", "notes"):
        if getattr(sidecar, name):
            yield f"{name}: {printable(getattr(sidecar, name))}"
    if sidecar.proxy_for:
        yield f"a proxy for {printable(sidecar.proxy_for)}"
