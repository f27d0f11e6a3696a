"""An option that verbs of traces share, and the name of a sidecar."""

from pathlib import Path
from typing import Annotated

from devices.traces.writer import sidecar_path
from emulator.cli.options import path_option
from wire.text import printable

TraceOut = Annotated[Path, path_option("The trace to write: .csv or .parquet.", "--out", "-o")]


def sidecar_name(trace: Path) -> str:
    """Return the name of the sidecar of *trace*."""
    return printable(sidecar_path(trace).name)
