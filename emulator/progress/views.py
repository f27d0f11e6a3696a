"""Views of progress: bars in a terminal, and lines in a log."""

import time
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

LINE_EVERY_S: Final = 5.0
"""Time between two lines of the same stage in a log."""
LEAST_PAUSE_S: Final = 0.1
"""Time between two pictures of the same stage: a simulation reports many thousand times a second."""
COMPILE: Final = "compile"
"""A stage of which a log has a line when it begins, too: nothing else happens, and no step of it ends."""
_STAGE: Final = 12
"""Columns of the name of a stage."""
_BAR, _LEAST_BAR = 40, 8
"""Columns of a bar: the most, and the least in a narrow terminal."""


class ProgressView(Protocol):
    """A view of stages that follow each other."""

    def show(self, stage: str, done: float, total: float, note: str) -> None:
        """Show how far *stage* is; another stage ends the one before it."""
        ...

    def end(self, *, completed: bool) -> None:
        """End the last stage; it is shown as done if it is *completed*."""
        ...


class NoView:
    """A view that shows nothing."""

    def show(self, stage: str, done: float, total: float, note: str) -> None:
        """Ignore the progress of a stage."""

    def end(self, *, completed: bool) -> None:
        """Ignore the end."""


class PacedView:
    """A view that passes on what is new enough to be seen, and the last step of each stage.

    Args:
        view: the view behind it.
    """

    def __init__(self, view: ProgressView) -> None:
        self._view = view
        self._shown_s = 0.0
        self._waiting: tuple[str, float, float, str] | None = None
        self._stage = ""

    def show(self, stage: str, done: float, total: float, note: str) -> None:
        """Show a new stage and the end of one at once, other progress from time to time."""
        now_s = time.monotonic()
        if stage != self._stage:
            self._show_waiting()
        elif done < total and now_s - self._shown_s < LEAST_PAUSE_S:
            self._waiting = (stage, done, total, note)
            return
        self._stage, self._shown_s, self._waiting = stage, now_s, None
        self._view.show(stage, done, total, note)

    def end(self, *, completed: bool) -> None:
        """End the view."""
        self._show_waiting()
        self._view.end(completed=completed)

    def _show_waiting(self) -> None:
        if self._waiting is not None:
            self._view.show(*self._waiting)
            self._waiting = None


class ProgressLines:
    """Progress as plain lines, for a log: one from time to time, and one at the end of each stage.

    Args:
        terminal: the output.
    """

    def __init__(self, terminal: Console) -> None:
        self._terminal = terminal
        self._stage, self._note = "", ""
        self._start_s = self._printed_s = time.monotonic()
        self._share, self._printed_share = 0.0, 1.0

    def show(self, stage: str, done: float, total: float, note: str) -> None:
        """Print the progress of *stage*, if it is time for a line."""
        now_s = time.monotonic()
        is_new = stage != self._stage
        if is_new:
            self.end(completed=True)
            self._stage, self._printed_share = stage, -1.0
            self._start_s = self._printed_s = now_s
        self._share, self._note = (min(done / total, 1.0) if total else 1.0), note
        is_due = now_s - self._printed_s >= LINE_EVERY_S or (is_new and stage == COMPILE)
        if is_due or (self._share == 1 and self._printed_share < 1):
            self._print()

    def end(self, *, completed: bool) -> None:
        """Print the end of the last stage, if it was not printed; at 100 % if it is *completed*."""
        if self._printed_share < 1:
            self._share = 1.0 if completed else self._share
            self._print()

    def _print(self) -> None:
        spent_s = time.monotonic() - self._start_s
        line = f"{self._stage:<{_STAGE}} {100 * self._share:>3.0f} % {spent_s:>7,.0f} s  {self._note}"
        print_text(self._terminal, line.rstrip())
        self._printed_s, self._printed_share = time.monotonic(), self._share


class _NoteColumn(ProgressColumn):
    """Shows the note of a stage; a long one goes on in the next line."""

    def render(self, task: Task) -> Text:
        """Return the note of *task*."""
        return Text(task.fields["note"])


class ProgressBars:
    """Progress as bars in a terminal, one for each stage.

    Args:
        terminal: the output.
    """

    def __init__(self, terminal: Console) -> None:
        self._bars = Progress(
            TextColumn(f"{{task.description:<{_STAGE}}}"),
            BarColumn(bar_width=None, table_column=Column(min_width=_LEAST_BAR, max_width=_BAR, ratio=1)),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            _NoteColumn(table_column=Column(overflow="fold", ratio=2)),
            console=terminal,
            expand=True,
            refresh_per_second=4,
        )
        self._tasks: dict[str, TaskID] = {}

    def show(self, stage: str, done: float, total: float, note: str) -> None:
        """Move the bar of *stage*; the bars before it are full."""
        self._bars.start()
        if stage not in self._tasks:
            self._fill()  # a stage may end before its last step; stop its clock
            self._tasks[stage] = self._bars.add_task(stage, total=total, note=note)
        self._bars.update(self._tasks[stage], completed=done, total=total, note=note)

    def end(self, *, completed: bool) -> None:
        """Stop; if it is *completed*, with full bars."""
        if completed:
            self._fill()
        self.pause()

    def pause(self) -> None:
        """Stop drawing until there is progress again."""
        self._bars.stop()

    def _fill(self) -> None:
        for task in self._bars.tasks:
            self._bars.update(task.id, completed=task.total)


def print_text(terminal: Console, text: str, style: str | None = None) -> None:
    """Print *text* unchanged: without markup and line breaks."""
    terminal.print(text, style=style, soft_wrap=True, highlight=False, markup=False)
