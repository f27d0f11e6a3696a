"""Progress of a run in the terminal, and its summary at the end."""

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import msgspec
import typer
from rich.console import Console
from rich.live import Live

from emulator.cli.figure_lines import print_figures
from emulator.cli.live_view import LiveView
from emulator.cli.terminal_width import print_prose, wide_terminal
from emulator.cli.text_table import TextTable, print_table
from emulator.metrics.live_status import LiveStatus
from emulator.metrics.shown_figures import seconds_text
from emulator.progress.run_progress import RunProgress
from emulator.progress.views import NoView, ProgressBars, ProgressLines, ProgressView, print_text
from emulator.report.verdict import list_rules, rollout_groups, rollout_text, verdict_text
from emulator.run_directory.layout import REPORT
from emulator.runner.runner import RunResult
from emulator.simulation.model_cache import PreparedModel
from scenarios.language.thresholds import shown_value
from wire.text import printable_lines


class RunDisplay(RunProgress):
    """The display of a run: progress on standard error, as bars or lines; results on standard output.

    Args:
        live: the live view of the fleet, if it is wanted.
        quiet: whether only warnings and the verdict are shown.
    """

    def __init__(self, live: LiveView | None = None, *, quiet: bool = False) -> None:
        self._terminal = Console(stderr=True)
        self._live = live
        self.wants_status = live is not None
        self._screen: Live | None = None
        self._columns = 0
        self._quiet = quiet
        self._counted = quiet
        view = terminal_view(self._terminal, quiet=quiet)
        self._bars = view if isinstance(view, ProgressBars) else None
        super().__init__(view)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_live()
        self.view.end(completed=error is None)

    def on_warning(self, text: str) -> None:
        """Print a warning above the bars."""
        print_warning(self._terminal, text)

    def on_model(self, model: PreparedModel, *, counts: bool = True) -> None:
        """Show which model is used, and with *counts* what of its data was left out."""
        read = model.interactions.read
        if counts and read is not None and not self._counted:
            for line in read.lines():
                print_text(self._terminal, line)
        self._counted = True
        super().on_model(model)

    def on_status(self, status: LiveStatus, stop_ns: int) -> None:
        """Show how far a fleet in real time has come."""
        if self._live is None:
            super().on_status(status, stop_ns)
            return
        self._live.add(status)
        if self._screen is not None and self._columns != self._terminal.width:
            self._end_live()
            self._terminal.clear()  # what was drawn in another width is broken into other lines now
        if self._screen is None:
            if self._bars is not None:
                self._bars.pause()
            self._columns = self._terminal.width
            self._screen = Live(self._live, console=self._terminal, refresh_per_second=2)
            self._screen.start(refresh=True)

    def on_writing(self) -> None:
        """Show that the simulation is over."""
        self._end_live()
        super().on_writing()

    def _end_live(self) -> None:
        """Stop the live view; its last picture stays on the screen."""
        if self._screen is not None:
            self._screen.stop()
            self._screen = None

    def show(self, finished: RunResult, *, json: bool = False) -> None:
        """Print the figures of a run, its verdict and the path of its report; or all of it as *json*."""
        if json:
            typer.echo(as_json(finished))
            return
        terminal = wide_terminal()
        if not self._quiet:
            print_figures(terminal, finished.summary)
            for make_table in (rollout_table, impact_table, threshold_table):
                print_table(terminal, make_table(finished.summary))
        style = None if finished.passed else "bold red"
        print_prose(terminal, verdict_text(finished.summary), style)
        print_text(terminal, f"report: {finished.folder / REPORT}")


def terminal_view(terminal: Console, *, quiet: bool) -> ProgressView:
    """Return the view of progress: bars in a terminal, lines in a file or a pipe; none if *quiet*."""
    if quiet:
        return NoView()
    return ProgressBars(terminal) if terminal.is_terminal else ProgressLines(terminal)


def print_warning(terminal: Console, text: str) -> None:
    """Print a warning."""
    print_prose(terminal, printable_lines(f"warning: {text}"), "yellow")


def as_json(finished: RunResult) -> str:
    """Return the summary of a run and its folder, as ``run_directory``, as a line of JSON for programs."""
    return msgspec.json.encode({"run_directory": str(finished.folder), **finished.summary}).decode()


def impact_table(summary: Mapping[str, object]) -> TextTable:
    """Return the impact of faults and actions, and the time to recovery; without rows if there were none."""
    impacts = [impact for key in ("faults", "actions") for impact in dicts(summary.get(key))]
    rows = [
        (
            str(impact["type"]),
            str(impact["at"]),
            f"{sum(value for key, value in impact.items() if key.startswith('messages_')):,}",
            *(f"{impact[key]:,}" for key in ("devices_affected", "devices_recovered")),
            _recovery(impact),
        )
        for impact in impacts
    ]
    return TextTable(
        title="faults and actions",
        head=("type", "at", "messages", "devices", "recovered", "all recovered after"),
        words=("at",),
        rows=rows,
        styles={row[-1]: "red" for row in rows if row[-1].endswith("never")},
    )


def _recovery(impact: Mapping[str, Any]) -> str:  # Any: JSON
    if not impact["devices_affected"]:
        return "-"
    seconds = impact["whole_again_seconds"]
    return f"{impact['devices_not_whole']:,} never" if seconds is None else seconds_text(seconds)


def rollout_table(summary: Mapping[str, object]) -> TextTable:
    """Return the results of each group of a rollout, and a sentence on all; no rows if there was none."""
    steps = ("offered", "updated", "failed", "withdrawn")
    return TextTable(
        title="rollout",
        head=("group", *steps, "p95", "max"),
        rows=[
            (str(group["group"]), *(f"{group[step]:,}" for step in steps), *_update_times(group))
            for group in rollout_groups(summary)
        ],
        caption=rollout_text(summary),
    )


def _update_times(group: Mapping[str, object]) -> Iterator[str]:
    times = group["update_seconds"]
    for name in ("p95", "p100"):
        value = times.get(name) if isinstance(times, dict) else None
        yield "-" if value is None else seconds_text(value)


def threshold_table(summary: Mapping[str, object]) -> TextTable:
    """Return the results of the thresholds, each value in the unit of its rule; no rows if none are set."""
    return TextTable(
        title="thresholds",
        head=("metric", "rule", "value", ""),
        words=("rule", ""),
        rows=[
            (
                str(verdict["metric"]),
                str(verdict["rule"]),
                shown_value(verdict["metric"], verdict["rule"], verdict["value"]),
                "passed" if verdict["passed"] else "broken",
            )
            for verdict in list_rules(summary)
        ],
        styles={"passed": "green", "broken": "bold red"},
    )


def dicts(value: object) -> list[dict[str, Any]]:  # Any: JSON
    """Return the mappings in *value*, if it is a list."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []
