"""``peelfleet trace``: record this machine's memory, import the traces of others, look into a trace.

What a command needs is imported when it runs.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emulator.cli.verbs import Verbs
from wire.errors import InputError, RunError
from wire.output_files import error_text
from wire.text import printable
from wire.units import NS_PER_S, format_duration, parse_bytes, parse_duration

if TYPE_CHECKING:
    from devices.traces.procfs import Sample

NAP_NS = NS_PER_S // 10
"""The recorder sleeps no longer than this before it looks whether it is to end."""

app = Verbs(help="Record, import and inspect traces of memory and availability.", no_args_is_help=True)

Out = Annotated[Path, typer.Option("--out", "-o", help="The trace to write: .csv or .parquet.")]


@app.command()
def record(
    out: Out,
    every: Annotated[str, typer.Option(help="Time between two samples.")] = "1 s",
    for_: Annotated[str, typer.Option("--for", help="How long; Ctrl-C ends it earlier.")] = "60 s",
    resolution: Annotated[str, typer.Option(help="Smaller changes of free memory make no row.")] = "1 MiB",
    name: Annotated[str, typer.Option(help="The device id of the rows.")] = "recording",
    source: Annotated[str, typer.Option(help="What is recorded, for the sidecar.")] = "a Linux machine",
    licence: Annotated[str, typer.Option(help="Licence of the recording, for the sidecar.")] = "not stated",
    notes: Annotated[str, typer.Option(help="Notes on the recording, for the sidecar.")] = "",
    proc: Annotated[Path, typer.Option(help="Where the kernel's files are.")] = Path("/proc"),
    root: Annotated[
        Path, typer.Option(hidden=True, help="The root of the file systems that hold control groups.")
    ] = Path("/"),
) -> None:
    """Record this machine's free memory and memory pressure (Linux, Android)."""
    from devices.traces.draft import draft_path, finish_draft, open_draft, set_aside
    from devices.traces.procfs import read_proc, rows_of
    from devices.traces.writer import Sidecar, check_output

    every_ns, for_ns = _span("--every", every), _span("--for", for_)
    least = _size("--resolution", resolution)
    sidecar = Sidecar(
        source=printable(source),
        licence=printable(licence),
        sampling=f"/proc/meminfo and /proc/pressure/memory every {format_duration(every_ns)}, within the "
        f"limits of control groups; a row where available memory moved by {resolution.strip()} or more, or "
        "the total or the pressure level changed",
        notes=printable(notes),
    )
    failed: InputError | None = None
    check_output(out)
    kept = set_aside(out)
    if kept is not None:
        left = printable(draft_path(out))
        typer.echo(f"{left}: left of a recording that did not end; it is in {printable(kept)} now", err=True)
    with interruptions() as pressed:
        with open_draft(out) as draft:
            draft.begin(sidecar)
            looks = sampled(lambda: read_proc(proc, root), every_ns, for_ns, pressed)
            try:
                for row in rows_of(name, looks, least, lambda t_s: draft.extend(name, t_s)):
                    draft.add(row)
            except InputError as error:  # what was recorded until then is kept
                failed = error
        if not draft.rows:
            raise failed or InputError(
                f"{printable(out)}: interrupted before the first look: nothing to write"
            )
        try:
            written = finish_draft(out)
        except (InputError, OSError) as error:
            left = printable(draft_path(out))
            raise RunError(f"{error_text(error)}; what was recorded is in {left}") from None
    typer.echo(f"{printable(out)}: {written.rows} rows")
    if failed is not None:
        raise RunError(f"{failed}; what was recorded until then is in {printable(out)}")


@app.command()
def recover(
    trace: Annotated[
        Path, typer.Argument(help="The --out of the recording: .csv or .parquet.", show_default=False)
    ],
) -> None:
    """Finish a recording whose process was killed: its rows are in TRACE.partial."""
    from devices.traces.draft import SUFFIX, recover
    from devices.traces.writer import check_output

    out = trace.with_suffix("") if trace.suffix == SUFFIX else trace
    check_output(out)
    typer.echo(f"{printable(out)}: {recover(out).rows} rows")


@app.command("import")
def import_(
    kind: Annotated[
        str, typer.Argument(help="fedscale, flash, greenhub, alibaba, columns, meminfo or dumpsys.")
    ],
    source: Annotated[Path, typer.Argument(help="The file to import.", show_default=False)],
    out: Out,
    time_: Annotated[
        str | None, typer.Option("--time", metavar="COLUMN", help="columns: the column of the time.")
    ] = None,
    time_unit: Annotated[
        str | None,
        typer.Option(
            help="columns: what it counts: s, ms, us, ns, iso (dates), epoch (since 1970, unit by its size)."
        ),
    ] = None,
    available: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="columns: the column of the available memory.")
    ] = None,
    unit: Annotated[
        str | None, typer.Option(help="columns: what memory is counted in: B, KiB, kB, MiB and so on.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="columns: the column that names the device.")
    ] = None,
    total: Annotated[
        str | None,
        typer.Option(
            help="alibaba: the memory of a device, such as 8 GiB; columns: the column of the total memory."
        ),
    ] = None,
    online: Annotated[
        str | None,
        typer.Option(
            help="flash: online on any known network (default), on wifi, or while eligible to train; "
            "columns: the column that says whether the device is online."
        ),
    ] = None,
    time_zone: Annotated[
        str, typer.Option(help="Time zone of dates without one: Europe/Berlin, +02:00.")
    ] = "UTC",
    every: Annotated[
        str | None, typer.Option(help="meminfo, dumpsys: time between samples, if the log has no times.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="columns, meminfo, dumpsys: the device id, where the source names none."),
    ] = None,
    layout: Annotated[
        str, typer.Option(help="greenhub: fields as the app stores them (batteryhub), or as named.")
    ] = "batteryhub",
    incomplete: Annotated[
        str, typer.Option(help="Devices without the signals that are imported: leave_out or keep.")
    ] = "leave_out",
    encoding: Annotated[
        str | None, typer.Option(help="Encoding of text that is not UTF-8, such as latin-1.")
    ] = None,
    devices: Annotated[
        int | None, typer.Option(min=1, help="Take only this many devices, the first.")
    ] = None,
) -> None:
    """Convert a recording of another project, with a sidecar that names its source."""
    from devices.traces.importers.importer import ImportOptions, check_devices, formula_note, source_name
    from devices.traces.importers.registry import IMPORTERS
    from devices.traces.inspect import inspect as look_into
    from devices.traces.inspect import unit_warnings
    from devices.traces.writer import check_output, with_notes, write_trace

    if kind not in IMPORTERS:
        raise InputError(f"kind(={kind!r}) must be one of {', '.join(IMPORTERS)}")
    check_output(out)
    columns = kind == "columns"
    options = ImportOptions(
        devices=devices,
        total_bytes=None if total is None or columns else _size("--total", total),
        online="network" if online is None or columns else online,
        layout=layout,
        incomplete=incomplete,
        encoding=encoding,
        zone=time_zone,
        name=name or source_name(source).split(".")[0] or "recording",
        time=time_,
        time_unit=time_unit,
        device=device,
        available=available,
        total=total if columns else None,
        online_column=online if columns else None,
        unit=unit,
        every_ns=None if every is None else _span("--every", every),
    )
    importer = IMPORTERS[kind]
    rows = list(importer.rows(source, options))
    check_devices(source, dict.fromkeys(row.device_id for row in rows))
    sidecar = importer.sidecar(source, options)
    written = write_trace(out, rows, with_notes(sidecar, options.notes))
    typer.echo(f"{printable(out)}: {written.series} series, {written.rows} rows; see {sidecar_name(out)}")
    for line in [*options.notes, *formula_note(dict.fromkeys(row.device_id for row in rows))]:
        typer.echo(printable(line), err=True)
    for line in unit_warnings(look_into(out)):
        typer.echo(f"warning: {line}", err=True)


@app.command()
def inspect(
    trace: Annotated[Path, typer.Argument(help="A trace: .csv or .parquet.", show_default=False)],
    series: Annotated[int, typer.Option(min=0, help="Show at most this many series.")] = 20,
) -> None:
    """Check every column of a trace, and print figures of its series."""
    from devices.traces.inspect import inspect, plausibility_warnings
    from devices.traces.writer import check_suffix, digest, read_sidecar
    from emulator.cli.trace_table import table

    check_suffix(trace)
    found = inspect(trace)
    sidecar = read_sidecar(trace)
    shown = printable(trace)
    typer.echo(f"{shown}: {len(found.series)} series, {found.overall.rows} rows; {', '.join(found.columns)}")
    if found.others:
        typer.echo(f"besides: {printable(', '.join(found.others))}")
    if sidecar is None:
        typer.echo(f"no {sidecar_name(trace)} says where it comes from")
    else:
        for name in ("source", "licence", "transform", "notes"):
            if getattr(sidecar, name):
                typer.echo(f"{name}: {printable(getattr(sidecar, name))}")
        if sidecar.proxy_for:
            typer.echo(f"a proxy for {printable(sidecar.proxy_for)}")
        if sidecar.sha256 != digest(trace):
            typer.echo("the file is not the one that its sidecar describes: SHA-256 differs", err=True)
    for line in table(found, series):
        typer.echo(line)
    for line in plausibility_warnings(found):
        typer.echo(f"warning: {line}", err=True)


def sidecar_name(trace: Path) -> str:
    """Return what the sidecar of *trace* is called."""
    from devices.traces.writer import sidecar_path

    return printable(sidecar_path(trace).name)


@contextmanager
def interruptions() -> Iterator[Callable[[], bool]]:
    """Give a function that tells whether Ctrl-C, SIGTERM or SIGHUP came; they interrupt nothing meanwhile."""
    came: list[bool] = []
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in (getattr(signal, name) for name in names)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN or number == signal.SIGINT:  # nohup ignores SIGHUP
            signal.signal(number, lambda *_: came.append(True))
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def sampled(
    look: "Callable[[], Sample]",
    every_ns: int,
    for_ns: int,
    stopped: Callable[[], bool],
    clock: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> "Iterator[tuple[int, Sample]]":
    """Yield (time_ns, sample) on a fixed grid until *for_ns* have passed, or it is *stopped*."""
    start = clock()
    step = 0
    while step * every_ns <= for_ns:
        while (left := start + step * every_ns - clock()) > 0 and not stopped():
            sleep(min(left, NAP_NS) / NS_PER_S)
        if stopped():
            return
        yield clock(), look()
        # A look that took too long skips places of the grid: it is never behind.
        step = max(step + 1, -(-(clock() - start) // every_ns))


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
