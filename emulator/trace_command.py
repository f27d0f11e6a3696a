"""``peelfleet trace``: record this machine's memory, import the traces of others, look into a trace.

What a command needs is imported when it runs.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from wire.errors import InputError
from wire.units import NS_PER_S, format_duration, parse_bytes, parse_duration

if TYPE_CHECKING:
    from devices.traces.proc import Sample

app = typer.Typer(help="Record, import and inspect traces of memory and availability.", no_args_is_help=True)

Out = Annotated[Path, typer.Option("--out", "-o", help="The trace to write: .csv or .parquet.")]


@app.command()
def record(
    out: Out,
    every: Annotated[str, typer.Option(help="Time between looks.")] = "1 s",
    for_: Annotated[str, typer.Option("--for", help="How long; Ctrl-C ends it earlier.")] = "60 s",
    resolution: Annotated[str, typer.Option(help="Smaller changes of free memory make no row.")] = "1 MiB",
    name: Annotated[str, typer.Option(help="The device id of the rows.")] = "recording",
    source: Annotated[str, typer.Option(help="What is recorded, for the sidecar.")] = "a Linux machine",
    licence: Annotated[str, typer.Option(help="What may be done with it, for the sidecar.")] = "not stated",
    notes: Annotated[str, typer.Option(help="What was going on, for the sidecar.")] = "",
    proc: Annotated[Path, typer.Option(help="Where the kernel's files are.")] = Path("/proc"),
) -> None:
    """Record this machine's free memory and memory pressure (Linux, Android)."""
    from devices.traces.proc import read_proc, rows_of
    from devices.traces.writing import Sidecar, check_suffix, write_trace

    every_ns, for_ns = _span("--every", every), _span("--for", for_)
    least = _size("--resolution", resolution)
    check_suffix(out)
    sidecar = Sidecar(
        source=source,
        licence=licence,
        sampling=f"/proc/meminfo and /proc/pressure/memory every {format_duration(every_ns)}; a row where "
        f"MemAvailable moved by {resolution.strip()} or more, or MemTotal or the pressure level changed",
        notes=notes,
    )
    looks = sampled(lambda: read_proc(proc), every_ns, for_ns)
    written = write_trace(out, rows_of(name, looks, least), sidecar)
    typer.echo(f"{out}: {written.rows} rows")


def sampled(
    look: "Callable[[], Sample]",
    every_ns: int,
    for_ns: int,
    clock: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> "Iterator[tuple[int, Sample]]":
    """Yield (time_ns, sample) on a fixed grid until *for_ns* have passed, or Ctrl-C is pressed."""
    start = clock()
    step = 0
    try:
        while step * every_ns <= for_ns:
            sleep(max(0, start + step * every_ns - clock()) / NS_PER_S)
            yield clock(), look()
            # A look that took too long skips places of the grid: it is never behind.
            step = max(step + 1, (clock() - start) // every_ns)
    except KeyboardInterrupt:
        return


def _span(option: str, text: str) -> int:
    try:
        span = int(parse_duration(text))
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None
    if span <= 0:
        raise InputError(f"{option}(={text}) must be > 0")
    return span


def _size(option: str, text: str) -> int:
    try:
        return int(parse_bytes(text))
    except ValueError as error:
        raise InputError(f"{option}: {error}") from None
