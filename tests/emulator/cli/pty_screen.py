"""What a command prints, on a terminal of a set size or without one, called in this process."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer

import scenarios
from emulator.cli.main import app, usage_error
from wire.errors import InputError

ROWS = 200
_OF_A_TERMINAL = ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_INTERACTIVE", "TTY_COMPATIBLE")
"""Variables by which somebody says how to print."""
_CONTROL = re.compile(r"\x1b\[(?P<number>[?0-9;]*)(?P<letter>[A-Za-z])|\r|\n")


def screen(text: str) -> str:
    """Return the screen of a terminal after *text*: without colours, lines that were drawn again once."""
    lines, row, column = [""], 0, 0
    at = 0
    for control in _CONTROL.finditer(text):
        lines[row], column = _written(lines[row], column, text[at : control.start()])
        at = control.end()
        if control[0] == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif control[0] == "\r":
            column = 0
        elif control["letter"] == "A":
            row = max(row - int(control["number"] or 1), 0)
        elif control["letter"] == "K":
            lines[row] = "" if control["number"] == "2" else lines[row][:column]
    lines[row], _ = _written(lines[row], column, text[at:])
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


def _written(line: str, column: int, text: str) -> tuple[str, int]:
    end = column + len(text)
    return f"{line[:column]:<{column}}{text}{line[end:]}", end


class PtyTerminal:
    """A terminal of a set size, which receives what is printed.

    Args:
        columns: its width.
    """

    def __init__(self, columns: int) -> None:
        self._ours, self._theirs = pty.openpty()
        self._received: list[bytes] = []
        self._reader = threading.Thread(target=self._read)
        self.resize(columns)

    def resize(self, columns: int) -> None:
        """Give the terminal another width."""
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))

    @contextmanager
    def receiving(self) -> Iterator[None]:
        """Let this process print on the terminal."""
        with self.reading() as end, _streams(end, end):
            yield

    @contextmanager
    def reading(self) -> Iterator[int]:
        """Yield the end at which somebody prints, and receive what is printed there."""
        self._reader.start()
        yield self._theirs
        os.close(self._theirs)
        self._reader.join()
        os.close(self._ours)

    @property
    def text(self) -> str:
        """Everything that it has received."""
        return b"".join(self._received).decode(errors="replace").replace("\r\n", "\n")

    def _read(self) -> None:
        while True:
            try:
                chunk = os.read(self._ours, 65_536)
            except OSError:  # the other end is closed
                return
            if not chunk:
                return
            self._received.append(chunk)


def on_terminal(arguments: Sequence[str], columns: int) -> str:
    """Return the screen after the command *arguments* on a terminal of *columns*."""
    terminal = PtyTerminal(columns)
    with terminal.receiving():
        _call(arguments)
    return screen(terminal.text)


def without_terminal(arguments: Sequence[str], folder: Path) -> str:
    """Return standard output and standard error of the command *arguments*, each under its name."""
    files = [folder / "stdout", folder / "stderr"]
    with files[0].open("wb") as out, files[1].open("wb") as err, _streams(out.fileno(), err.fileno()):
        _call(arguments)
    return _named_texts(files)


def in_a_process(arguments: Sequence[str], columns: int | None, folder: Path, until: str | None) -> str:
    """Return what the command *arguments* prints in a process of its own.

    Args:
        arguments: of the command.
        columns: of the terminal; None: there is none.
        folder: the working folder.
        until: Ctrl-C comes when the output has this pattern; None: the command ends by itself.
    """
    if columns is not None:
        terminal = PtyTerminal(columns)
        with terminal.reading() as end:
            status = _run(arguments, folder, (end, end), until, lambda: terminal.text)
        text = screen(terminal.text)
    else:
        files = [folder / "stdout", folder / "stderr"]
        with files[0].open("wb") as out, files[1].open("wb") as err:
            ends = out.fileno(), err.fileno()
            status = _run(arguments, folder, ends, until, lambda: "".join(map(Path.read_text, files)))
        text = _named_texts(files)
    return text + (f"-- exit status {status}\n" if status else "")


def _run(
    arguments: Sequence[str],
    folder: Path,
    ends: tuple[int, int],
    until: str | None,
    printed: Callable[[], str],
) -> int:
    """Run a command until its end, or until it is interrupted; return its status."""
    packages = str(Path(scenarios.__file__).parents[1])
    changes = {"TERM": "xterm-256color", "PYTHONPATH": packages}
    process = subprocess.Popen(
        [sys.executable, "-m", "emulator.cli", *arguments],
        cwd=folder,
        env={name: value for name, value in os.environ.items() if name not in _OF_A_TERMINAL} | changes,
        stdin=subprocess.DEVNULL,
        stdout=ends[0],
        stderr=ends[1],
    )
    while until is not None and process.poll() is None:
        if re.search(until, printed()):
            process.send_signal(signal.SIGINT)
            break
        time.sleep(0.05)
    return process.wait(120)


def _named_texts(files: Sequence[Path]) -> str:
    """Return the texts of two files, each under its name, and remove the files."""
    texts = [file.read_text() for file in files]
    for file in files:
        file.unlink()
    return "".join(
        f"-- {name}\n{text}" for name, text in zip(("output", "errors"), texts, strict=True) if text
    )


def _call(arguments: Sequence[str]) -> None:
    """Run the command; print an error of the user as the command line does."""
    try:
        status = app(list(arguments), prog_name="peelfleet", standalone_mode=False)
    except InputError as error:
        typer.echo("peelfleet: " + "\npeelfleet: ".join(error.lines), err=True)
        status = 2
    except Exception as error:  # typer's base class is private
        typer.echo(f"peelfleet: {usage_error(error)}", err=True)
        status = 2
    if status:
        typer.echo(f"-- exit status {status}")


@contextmanager
def _streams(out: int, err: int) -> Iterator[None]:
    """Let the standard streams be *out* and *err*, for this process and those that it starts."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(number) for number in (0, 1, 2)]
    for number, other in enumerate((out, out, err)):
        if number or os.isatty(other):
            os.dup2(other, number)
    with pytest.MonkeyPatch.context() as patch:
        for name in _OF_A_TERMINAL:
            patch.delenv(name, raising=False)
        patch.setenv("TERM", "xterm-256color")
        streams = [os.fdopen(os.dup(number), "w", encoding="utf-8", buffering=1) for number in (1, 2)]
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        try:
            yield
        finally:
            for stream in streams:
                stream.close()
            for number, saved in enumerate(kept):
                os.dup2(saved, number)
                os.close(saved)
