"""Progress and warnings of calls from Python: bars in terminals and notebooks, and Python's own warnings."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from emulator.progress.run_progress import RunProgress
from emulator.progress.sweep_progress import SweepProgress
from emulator.progress.views import NoView, PacedView, ProgressBars, ProgressView
from peelfleet.notebook_view import NotebookView, in_notebook

_OWN = frozenset(("peelfleet", "emulator", "scenarios", "cloud", "devices", "broker_config", "wire"))
"""The packages of this project: a warning shows the line of the user's program that called them."""


class PeelfleetWarning(UserWarning):
    """A warning of a run, a sweep or a training: the result stands, but read this first."""


class CallWarnings:
    """Gives warnings to the program that has called.

    Where it turns warnings into errors, the first one is raised when the work is done, not in the middle.
    """

    _first: PeelfleetWarning | None = None

    def on_warning(self, text: str) -> None:
        """Give a warning to the program."""
        try:
            warn(text)
        except PeelfleetWarning as error:
            self._first = self._first or error

    def raise_first(self) -> None:
        """Raise the first warning that the program wants as an error, if there is one."""
        if self._first is not None:
            raise self._first


class CallProgress(CallWarnings, RunProgress):
    """Shows the progress of a run that a program has called."""


class CallSweepProgress(CallWarnings, SweepProgress):
    """Shows the progress of a sweep that a program has called."""


@contextmanager
def progress_view(progress: bool) -> Iterator[ProgressView]:
    """Yield a view of progress: in a notebook, in a terminal, or one that shows nothing.

    Args:
        progress: False to show nothing.
    """
    view = _view() if progress else NoView()
    try:
        yield view
    except BaseException:
        view.end(completed=False)
        raise
    view.end(completed=True)


def warn(text: str) -> None:
    """Warn the program that has called peelfleet."""
    warnings.warn(text, PeelfleetWarning, stacklevel=_calls_of_ours() + 1)


def _view() -> ProgressView:
    if in_notebook():
        return PacedView(NotebookView())
    if sys.stderr is not None and sys.stderr.isatty():
        return ProgressBars(Console(stderr=True))
    return NoView()


def _calls_of_ours() -> int:
    """Return the number of calls between the caller of this function and the user's program."""
    frame, count = sys._getframe(1), 0
    while frame is not None and str(frame.f_globals.get("__name__")).split(".")[0] in _OWN | {"contextlib"}:
        frame, count = frame.f_back, count + 1  # type: ignore[assignment]  # None: the outermost call
    return count
