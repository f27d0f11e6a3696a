"""The command ``peelfleet``: its verbs, output streams, error messages and exit statuses."""

import errno
import io
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from emulator.cli.exit_statuses import INTERRUPTED, RUN_FAILED, WRONG_INPUT
from emulator.cli.verbs import VerbGroup
from emulator.processes import interrupts
from emulator.processes.standard_error import ignore_write_errors
from wire.errors import InputError, PeelfleetError, first_error
from wire.redaction import redact_passwords
from wire.text import printable_lines

_FILE_NAME_ERRORS: Final = frozenset(
    (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
)
"""Errors of the system that are about the file that the user has named."""
_OUT_OF_MEMORY: Final = ("can't allocate memory", "failed to map segment from shared object")
"""Messages of C libraries, in errors of several classes, for a lack of memory."""
_UsageError: Final = typer.BadParameter.__mro__[1]
"""The base class of typer's errors in options and arguments; typer does not export it."""

app = typer.Typer(
    name="peelfleet",
    cls=VerbGroup,
    help="Emulate a fleet of devices that recommend inside a changing memory budget (PEEL).",
    no_args_is_help=True,
    epilog="README.md is the place to start; docs/ explains every verb, key and figure.",
    pretty_exceptions_enable=False,
)


def _show_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        typer.echo(f"peelfleet {version('peelfleet')}")
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; an error of the user is one line and exit status 2."""
    interrupts.install_handlers()
    _set_up_streams()
    try:
        _remove_left_folders()
        status = app(prog_name="peelfleet", standalone_mode=False)
    except KeyboardInterrupt:
        _end_interrupted(signal.SIGINT)
    except Exception as error:  # errors while an interrupted command ends are not reported
        if interrupts.received_signal() is not None:
            _end_interrupted(signal.SIGINT)
        _fail_by(error)
    if status == INTERRUPTED:
        _end_interrupted(signal.SIGINT)
    sys.exit(status)


def _set_up_streams() -> None:
    """Escape the characters that an output cannot show, and never fail on standard error."""
    ignore_write_errors()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a closed stream is None
            stream.reconfigure(errors="backslashreplace")


def _remove_left_folders() -> None:
    """Remove temporary folders of killed processes: they may hold passwords."""
    if next(Path(tempfile.gettempdir()).glob("peelfleet-*"), None) is not None:
        from broker_config.temporary_folders import remove_orphaned_folders

        remove_orphaned_folders()


def _end_interrupted(default: signal.Signals) -> NoReturn:
    number = signal.Signals(interrupts.received_signal() or default)
    by = "" if number is signal.SIGINT else f" by {number.name}"
    _fail(f"interrupted{by}", 128 + number)


def _fail_by(error: BaseException) -> NoReturn:
    """End with the line and the exit status for *error*; raise an error of an unknown kind: it is a bug."""
    first = first_error(error)
    if isinstance(first, _UsageError):
        _fail(usage_error(first), WRONG_INPUT)
    if isinstance(first, InputError):
        _fail("\npeelfleet: ".join(first.lines), WRONG_INPUT)
    if isinstance(first, PeelfleetError):
        _fail(str(first), RUN_FAILED)
    if isinstance(first, MemoryError) or any(words in str(first) for words in _OUT_OF_MEMORY):
        _fail("there is not enough memory for this", RUN_FAILED)
    if isinstance(first, OSError):
        _fail(*_system_error(first))
    raise first


def usage_error(error: BaseException) -> str:
    """Return typer's error in an option or argument in our style: ``--jobs(='x') must be ...``."""
    message = str(getattr(error, "message", ""))
    param = getattr(error, "param", None)
    if param is None or not message:
        text = str(error.format_message())  # type: ignore[attr-defined]  # a method of all these errors
        return text[:1].lower() + text[1:].rstrip(".")
    option = max(param.opts, key=len) if param.param_type_name == "option" else param.name
    value, is_not, rule = message.removeprefix("Value error, ").partition(" is not ")
    if is_not:
        return f"{option}(={value}) must be {rule.rstrip('.')}"
    return f"{option} {message.replace('Input should be', 'must be')}"


def _system_error(error: OSError) -> tuple[str, int]:
    """Return the line and the exit status for an error of the system: file names are the user's."""
    if error.errno == errno.ENOSPC:
        return "the disk is full", RUN_FAILED
    if error.errno == errno.ENOENT and error.filename is None and not _has_working_folder():
        return "the working folder is not there any more", WRONG_INPUT
    words = error.strerror or str(error)
    if error.filename is None:
        return words, RUN_FAILED
    status = WRONG_INPUT if error.errno in _FILE_NAME_ERRORS else RUN_FAILED
    return f"{os.fsdecode(error.filename)}: {words}", status


def _has_working_folder() -> bool:
    try:
        return bool(os.getcwd())
    except OSError:
        return False


def _fail(message: str, status: int) -> NoReturn:
    typer.echo(printable_lines(f"peelfleet: {redact_passwords(message)}"), err=True)
    sys.exit(status)
