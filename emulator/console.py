"""What a person sees in the terminal while a run goes on, and at its end."""

from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console as Terminal
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from emulator.model import PreparedModel
from emulator.rundir import REPORT
from emulator.runner import Finished
from wire.units import NS_PER_S, approximate_bytes


class Console:
    """Progress bars on standard error, results on standard output."""

    def __init__(self) -> None:
        self._terminal = Terminal(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=self._terminal,
            refresh_per_second=4,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def training(self, stage: str, done: int, total: int, note: str) -> None:
        """Show a step of a training stage."""
        self._show(stage, done, total, note)

    def warned(self, text: str) -> None:
        """Print a warning above the bars."""
        self._terminal.print(f"warning: {text}", style="yellow", soft_wrap=True, highlight=False)

    def prepared(self, model: PreparedModel) -> None:
        """Show which model is used."""
        how = "trained" if model.trained else "from the cache"
        self._show("model", 1, 1, f"{model.store.version}, {how}")

    def simulating(self, now_ns: int, stop_ns: int) -> None:
        """Show how far simulated time has come."""
        self._show("simulate", now_ns, stop_ns, f"{now_ns / NS_PER_S:,.0f} of {stop_ns / NS_PER_S:,.0f} s")

    def reporting(self) -> None:
        """Show that the simulation is over."""
        for task in self._bars.tasks:
            self._bars.update(task.id, completed=task.total)
        self._show("report", 0, 1, "writing tables and report")

    def show(self, finished: Finished) -> None:
        """Print the summary of a run and where its report is."""
        terminal = Terminal()
        terminal.print(summary_table(finished.summary))
        terminal.print(f"report: {finished.folder / REPORT}", soft_wrap=True, highlight=False)

    def describe(self, model: PreparedModel) -> None:
        """Print what a block store holds and how good its model is."""
        terminal, geometry = Terminal(), model.store.geometry
        terminal.print(
            f"model {model.store.version}: {len(model.store.groups)} user groups of {geometry.blocks} "
            f"{geometry.codec} blocks, {geometry.items} items, {model.store.layers} layers",
            soft_wrap=True,
            highlight=False,
        )
        terminal.print_json(data=model.store.report)
        terminal.print(f"store: {model.folder}", soft_wrap=True, highlight=False)

    def _show(self, name: str, done: int, total: int, note: str) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=total, note=note)
        self._bars.update(self._tasks[name], completed=done, total=total, note=note)


def summary_table(summary: dict[str, object]) -> Table:
    """Return the summary as a table for people: every figure with its unit."""
    table = Table(
        box=box.SIMPLE_HEAD, title=f"{summary['scenario']}, seed {summary['seed']}, {summary['clock']} clock"
    )
    table.add_column("")
    table.add_column("value", justify="right")
    for name, value in summary.items():
        if name == "update_latency_seconds" and isinstance(value, dict):
            for percentile, seconds in value.items():
                table.add_row(f"update latency {percentile}", _text("seconds", seconds))
        elif name not in ("scenario", "seed", "clock", "thresholds"):
            table.add_row(name.replace("_", " "), _text(name, value))
    return table


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
