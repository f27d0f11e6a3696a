"""Progress of a run in the terminal, and its summary at the end."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import msgspec
from rich import box
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from emulator.cli.live_view import LiveView
from emulator.metrics.live_status import LiveStatus
from emulator.progress.run_progress import RunProgress
from emulator.progress.views import NoView, ProgressBars, ProgressLines, print_text
from emulator.report.verdict import rollout_groups, rollout_text, verdict_text
from emulator.run_directory.layout import REPORT
from emulator.runner.runner import RunResult
from emulator.simulation.model_cache import PreparedModel
from scenarios.language.thresholds import shown_value
from wire.text import printable_lines
from wire.units import approximate_bytes


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
        self._quiet = quiet
        self._bars = ProgressBars(self._terminal) if self._terminal.is_terminal and not quiet else None
        self._counted = quiet
        super().__init__(NoView() if quiet else self._bars or ProgressLines(self._terminal))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_live()
        self.view.end(completed=error is None)

    def on_warning(self, text: str) -> None:
        """Print a warning above the bars."""
        print_text(self._terminal, printable_lines(f"warning: {text}"), "yellow")

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
        if self._screen is None:
            if self._bars is not None:
                self._bars.pause()
            self._screen = Live(self._live, console=self._terminal, refresh_per_second=2)
            self._screen.start()

    def on_writing(self) -> None:
        """Show that the simulation is over."""
        self._end_live()
        super().on_writing()

    def _end_live(self) -> None:
        """Stop the live view; its last picture stays on the screen."""
        if self._screen is not None:
            self._screen.stop()
            self._screen = None

    def show(self, finished: RunResult) -> None:
        """Print the summary of a run and the path of its report."""
        terminal = Console()
        tables = (summary_table, rollout_table, impact_table, threshold_table)
        for make_table in () if self._quiet else tables:
            table = make_table(finished.summary)
            if table is not None:
                terminal.print(table)
        style = "" if finished.passed else "bold red"
        terminal.print(verdict_text(finished.summary), style=style, highlight=False, markup=False)
        print_text(terminal, f"report: {finished.folder / REPORT}")


def as_json(finished: RunResult) -> str:
    """Return the summary of a run and its folder, as ``run_directory``, as a line of JSON for programs."""
    return msgspec.json.encode({"run_directory": str(finished.folder), **finished.summary}).decode()


HEADLINE = (
    "devices", "model_version", "simulated_seconds", "wall_seconds", "device_hours_per_wall_minute",
    "budget_changes", "budget_reports", "updates_applied", "updates_confirmed", "updates_superseded",
    "updates_rejected", "updates_lost", "update_bytes", "update_wire_bytes", "full_update_bytes",
    "delta_ratio", "report_bytes", "wasted_bytes", "lost_bytes", "over_budget_device_seconds",
    "over_budget_share", "ndcg_at_10", "recall_at_20", "hit_rate_at_10", "quality_ratio_to_full",
    "quality_regret", "update_latency_seconds", "online_share", "event_log_sha256", "reports_sent_again",
)  # fmt: skip
"""The keys of the summary in the terminal; the report has all keys."""
REAL = (
    "schedule_lag_seconds", "connections_made", "connections_per_second", "connections_broken",
    "connections_failed", "round_trips_per_second", "round_trip_seconds", "shard_restarts", "cloud_restarts",
    "broker_restarts", "broker_messages_dropped",
)  # fmt: skip
"""More keys of a run in real time."""


def summary_table(summary: dict[str, object]) -> Table:
    """Return the main figures of the summary as a table, with units."""
    table = Table(
        box=box.SIMPLE_HEAD, title=f"{summary['scenario']}, seed {summary['seed']}, {summary['clock']} clock"
    )
    table.add_column("", overflow="fold")
    table.add_column("value", justify="right")
    for name in HEADLINE if summary["clock"] != "realtime" else HEADLINE + REAL:
        value = summary.get(name)
        if isinstance(value, dict):
            for percentile in ("p50", "p95", "p99", "max"):
                table.add_row(f"{escape(name)}.{percentile}", _text("seconds", value[percentile]))
        elif name in summary:
            table.add_row(escape(name), _text(name, value))
    return table


def impact_table(summary: Mapping[str, object]) -> Table | None:
    """Return the impact of faults and actions, and the time to recovery; None if there were none."""
    impacts = [impact for key in ("faults", "actions") for impact in dicts(summary.get(key))]
    if not impacts:
        return None
    table = Table(box=box.SIMPLE_HEAD, title="faults and actions")
    table.add_column("", overflow="fold")
    for name in ("at", "messages", "devices", "recovered", "all recovered after"):
        table.add_column(name, justify="right" if name != "at" else "left", overflow="fold")
    for impact in impacts:
        messages = sum(value for key, value in impact.items() if key.startswith("messages_"))
        seconds = impact["whole_again_seconds"]
        recovery = (
            f"[red]{impact['devices_not_whole']:,} never[/]" if seconds is None else f"{seconds:,.3g} s"
        )
        counts = [f"{impact[key]:,}" for key in ("devices_affected", "devices_recovered")]
        recovery = recovery if impact["devices_affected"] else "-"
        name, at = escape(str(impact["type"])), escape(str(impact["at"]))
        table.add_row(name, at, f"{messages:,}", *counts, recovery)
    return table


def rollout_table(summary: Mapping[str, object]) -> Table | None:
    """Return the results of each group of a rollout, and a sentence on all; None if there was no rollout."""
    groups = rollout_groups(summary)
    if not groups:
        return None
    table = Table(box=box.SIMPLE_HEAD, title="rollout", caption=rollout_text(summary))
    for name in ("group", "offered", "updated", "failed", "withdrawn", "p95", "max"):
        table.add_column(name, justify="right", overflow="fold")
    for group in groups:
        times = group["update_seconds"]
        seconds = [times.get(name) for name in ("p95", "p100")] if isinstance(times, dict) else [None, None]
        table.add_row(
            str(group["group"]),
            *(f"{group[step]:,}" for step in ("offered", "updated", "failed", "withdrawn")),
            *("-" if value is None else f"{value:,.3g} s" for value in seconds),
        )
    return table


def threshold_table(summary: Mapping[str, object]) -> Table | None:
    """Return the results of the thresholds; None if there are none."""
    verdicts = dicts(summary.get("thresholds"))
    if not verdicts:
        return None
    table = Table(box=box.SIMPLE_HEAD, title="thresholds")
    for name in ("metric", "rule", "value", ""):
        table.add_column(name, justify="right" if name == "value" else "left", overflow="fold")
    for verdict in verdicts:
        value = shown_value(verdict["metric"], verdict["rule"], verdict["value"])
        result = "[green]passed[/]" if verdict["passed"] else "[bold red]broken[/]"
        table.add_row(escape(str(verdict["metric"])), escape(str(verdict["rule"])), value, result)
    return table


def dicts(value: object) -> list[dict[str, Any]]:  # Any: JSON
    """Return the mappings in *value*, if it is a list."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _text(name: str, value: object) -> str:
    if value is None:
        return "-"
    if name == "event_log_sha256":
        return str(value)[:16] + "..."
    if isinstance(value, int) and name.endswith("bytes"):
        return f"{value:,} ({approximate_bytes(value)})"
    if isinstance(value, float):
        number = f"{value:,.4f}".rstrip("0").rstrip(".") if abs(value) >= 0.001 else f"{value:.3g}"
        return f"{number} s" if "seconds" in name else number
    return f"{value:,}" if isinstance(value, int) else str(value)
