"""``peelfleet trace record``: this machine's memory, sampled into a trace."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from devices.traces.draft import draft_path, finish_draft, open_draft, set_aside
from devices.traces.procfs import Sample, read_proc, rows_of
from devices.traces.writer import Sidecar, check_output
from emulator.cli.options import default, duration_option, path_option, size_option
from emulator.cli.trace.options import TraceOut
from wire.errors import InputError, RunError
from wire.output_files import error_text
from wire.text import printable
from wire.units import NS_PER_S, Bytes, Duration, format_bytes, format_duration

MAX_SLEEP_NS: Final = NS_PER_S // 10
"""The recorder checks this often whether it should end."""


def record(
    out: TraceOut,
    every: Annotated[Duration, duration_option("Time between two samples.")] = default("1 s"),
    for_: Annotated[Duration, duration_option("How long; Ctrl-C ends it earlier.", "--for")] = default(
        "60 s"
    ),
    resolution: Annotated[Bytes, size_option("Smaller changes of free memory make no row.")] = default(
        "1 MiB"
    ),
    name: Annotated[str, typer.Option(help="The device id of the rows.")] = "recording",
    source: Annotated[str, typer.Option(help="The recorded machine, for the sidecar.")] = "a Linux machine",
    licence: Annotated[str, typer.Option(help="Licence of the recording, for the sidecar.")] = "not stated",
    notes: Annotated[str, typer.Option(help="Notes on the recording, for the sidecar.")] = "",
    proc: Annotated[Path, path_option("The folder of the kernel's files.")] = Path("/proc"),
    root: Annotated[
        Path, typer.Option(hidden=True, help="The root of the file systems that hold control groups.")
    ] = Path("/"),
) -> None:
    """Record this machine's free memory and memory pressure (Linux, Android)."""
    sidecar = Sidecar(
        source=printable(source),
        licence=printable(licence),
        sampling=f"/proc/meminfo and /proc/pressure/memory every {format_duration(every)}, within the "
        f"limits of control groups; a row where available memory moved by {format_bytes(resolution)} or "
        "more, or the total or the pressure level changed",
        notes=printable(notes),
    )
    check_output(out)
    earlier = set_aside(out)
    if earlier is not None:
        left = printable(draft_path(out))
        typer.echo(f"{left}: left by an unfinished recording; it is now {printable(earlier)}", err=True)
    error: InputError | None = None
    with interruptions() as interrupted:
        with open_draft(out) as draft:
            draft.begin(sidecar)
            samples = sampled(lambda: read_proc(proc, root), every, for_, interrupted)
            try:
                for row in rows_of(name, samples, resolution, lambda t_s: draft.extend(name, t_s)):
                    draft.add(row)
            except InputError as failure:  # the rows until then are kept
                error = failure
        if not draft.rows:
            raise error or InputError(
                f"{printable(out)}: interrupted before the first sample: nothing to write"
            )
        _finish(out)
    if error is not None:
        raise RunError(f"{error}; the rows until then are in {printable(out)}")


def _finish(out: Path) -> None:
    """Make the finished trace of the draft of *out*, and print its size."""
    try:
        written = finish_draft(out)
    except (InputError, OSError) as error:
        draft = printable(draft_path(out))
        raise RunError(f"{error_text(error)}; the recorded rows are in {draft}") from None
    typer.echo(f"{printable(out)}: {written.rows} rows")


@contextmanager
def interruptions() -> Iterator[Callable[[], bool]]:
    """Yield a function that returns whether Ctrl-C, SIGTERM or SIGHUP came; they raise nothing meanwhile."""
    received: list[bool] = []
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    handlers = {number: signal.getsignal(number) for number in numbers}
    for number, handler in handlers.items():
        if handler is not signal.SIG_IGN or number == signal.SIGINT:  # nohup ignores SIGHUP
            signal.signal(number, lambda *_: received.append(True))
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def sampled(
    read: Callable[[], Sample],
    every_ns: int,
    for_ns: int,
    stopped: Callable[[], bool],
    clock: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[int, Sample]]:
    """Yield (time_ns, sample) on a fixed grid until *for_ns* have passed, or it is *stopped*."""
    start = clock()
    step = 0
    while step * every_ns <= for_ns:
        while (left := start + step * every_ns - clock()) > 0 and not stopped():
            sleep(min(left, MAX_SLEEP_NS) / NS_PER_S)
        if stopped():
            return
        yield clock(), read()
        # After a slow sample, the missed steps of the grid are skipped.
        step = max(step + 1, -(-(clock() - start) // every_ns))
