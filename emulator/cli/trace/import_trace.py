"""``peelfleet trace import``: a trace of the recording of another project."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from devices.traces.importers.importer import ImportOptions, check_devices, formula_note, source_name
from devices.traces.importers.registry import IMPORTER_PLUGINS, IMPORTERS
from devices.traces.inspect import inspect, unit_warnings
from devices.traces.writer import check_output, with_notes, write_trace
from emulator.cli.options import duration_option, one_of
from emulator.cli.trace.options import TraceOut, sidecar_name
from wire.errors import InputError
from wire.text import printable
from wire.units import BYTE_UNITS, Duration, parse_bytes


def column(name: str, *options: str) -> Any:  # Any: typer's own type is private
    """Return the declaration of an option that names a column of a table."""
    return typer.Option(*options, metavar="COLUMN", help=f"columns: the column {name}.")


_KINDS = [*IMPORTERS, *IMPORTER_PLUGINS.names()]
Kind = Annotated[str, typer.Argument(parser=one_of(_KINDS), help=f"{', '.join(_KINDS)}.")]
TimeUnit = Annotated[
    Literal["s", "ms", "us", "ns", "iso", "epoch"] | None,
    typer.Option(help="columns: the unit of the time; iso: dates; epoch: since 1970, unit by its size."),
]
MemoryUnit = Annotated[
    str | None,
    typer.Option(parser=one_of(BYTE_UNITS), metavar="<unit>", help=f"columns: {', '.join(BYTE_UNITS)}."),
]
Total = Annotated[
    str | None,
    typer.Option(
        help="alibaba: the memory of a device, such as 8 GiB; columns: the column of the total memory."
    ),
]
Online = Annotated[
    str | None,
    typer.Option(
        help="flash: online on any known network (default), on wifi, or while eligible to train; "
        "columns: the column that says whether the device is online."
    ),
]
TimeZone = Annotated[str, typer.Option(help="Time zone of dates without one: Europe/Berlin, +02:00.")]
Every = Annotated[
    Duration | None, duration_option("meminfo, dumpsys: time between samples, if the log has no times.")
]
Name = Annotated[
    str | None,
    typer.Option(help="columns, meminfo, dumpsys: the device id, if the source names none."),
]
Layout = Annotated[
    Literal["batteryhub", "named"],
    typer.Option(help="greenhub: fields as the app stores them (batteryhub), or as named."),
]
Incomplete = Annotated[
    Literal["leave_out", "keep"], typer.Option(help="Devices without the signals that are imported.")
]
Encoding = Annotated[str | None, typer.Option(help="Encoding of text that is not UTF-8, such as latin-1.")]
MaxDevices = Annotated[int | None, typer.Option(min=1, help="Take only this many devices, the first.")]


def import_trace(
    kind: Kind,
    source: Annotated[Path, typer.Argument(help="The file to import.", show_default=False)],
    out: TraceOut,
    time_: Annotated[str | None, column("of the time", "--time")] = None,
    time_unit: TimeUnit = None,
    available: Annotated[str | None, column("of the available memory")] = None,
    unit: MemoryUnit = None,
    device: Annotated[str | None, column("that names the device")] = None,
    total: Total = None,
    online: Online = None,
    time_zone: TimeZone = "UTC",
    every: Every = None,
    name: Name = None,
    layout: Layout = "batteryhub",
    incomplete: Incomplete = "leave_out",
    encoding: Encoding = None,
    devices: MaxDevices = None,
) -> None:
    """Convert a recording of another project, with a sidecar that names its source."""
    check_output(out)
    columns = kind == "columns"
    options = ImportOptions(
        devices=devices,
        total_bytes=None if total is None or columns else _total_bytes(total),
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
        every_ns=every,
    )
    write_import(kind, source, out, options)


def write_import(kind: str, source: Path, out: Path, options: ImportOptions) -> None:
    """Write the trace *out* and its sidecar from *source*; print its size, notes and warnings.

    Raises:
        InputError: *source* is not a recording of this kind, or an option is missing.
    """
    importer = IMPORTERS[kind]
    rows = list(importer.rows(source, options))
    names = dict.fromkeys(row.device_id for row in rows)
    check_devices(source, names)
    sidecar = importer.sidecar(source, options)
    written = write_trace(out, rows, with_notes(sidecar, options.notes))
    typer.echo(f"{printable(out)}: {written.series} series, {written.rows} rows; see {sidecar_name(out)}")
    for line in [*options.notes, *formula_note(names)]:
        typer.echo(printable(line), err=True)
    for warning in unit_warnings(inspect(out)):
        typer.echo(f"warning: {warning}", err=True)


def _total_bytes(text: str) -> int:
    try:
        return int(parse_bytes(text))
    except ValueError:
        raise InputError(f"--total(={text!r}) must be a size such as 8 GiB") from None
