"""``peelfleet trace recover``: a trace of a recording whose process was killed."""

from pathlib import Path
from typing import Annotated

import typer

from devices.traces.draft import SUFFIX
from devices.traces.draft import recover as recover_draft
from devices.traces.writer import check_output
from wire.text import printable


def recover(
    trace: Annotated[
        Path, typer.Argument(help="The --out of the recording: .csv or .parquet.", show_default=False)
    ],
) -> None:
    """Finish a recording whose process was killed: its rows are in TRACE.partial."""
    out = trace.with_suffix("") if trace.suffix == SUFFIX else trace
    check_output(out)
    typer.echo(f"{printable(out)}: {recover_draft(out).rows} rows")
