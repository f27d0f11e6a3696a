"""The live view of a fleet in the terminal."""

from collections.abc import Sequence
from itertools import pairwise

import msgspec
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from emulator.metrics.live_status import WINDOW_S, LiveStatus, latency_percentiles
from emulator.metrics.timeline import RunTimeline, Span
from scenarios.language.scenario import Scenario
from wire.errors import InputError
from wire.units import NS_PER_S, approximate_bytes

HISTORY = 48
"""Seconds of history that are kept for the curves."""
WIDTH = 104
"""Columns in which two tables stand beside each other; in a narrower terminal one is above the other."""
NAMES, NUMBERS = 14, 11
"""Columns of the names and of the values of a table; its curves have the columns that are left."""
_GAPS = 6
"""Columns of the spaces in a line of a table."""
_FRAME = 4
"""Columns of the frame of the view."""
_BARS = "▁▂▃▄▅▆▇█"
_LATE_NS = NS_PER_S // 10
"""A longer lag is shown in colour."""


class LiveView:
    """A view of the status of a run.

    Args:
        name: the name of the scenario.
        plan: its stages, faults and actions.
    """

    def __init__(self, name: str, plan: RunTimeline) -> None:
        self._name = name
        self._plan = plan
        self._history: tuple[LiveStatus, ...] = ()  # replaced, never changed: another thread draws it

    def add(self, status: LiveStatus) -> None:
        """Add a status; within half a second only the last one is kept."""
        recent = self._history[-1] if self._history else None
        if recent is not None and status.wall_s - recent.wall_s < 0.5:
            latency = dict(recent.latency)
            for bucket, count in status.latency.items():
                latency[bucket] = latency.get(bucket, 0) + count
            self._history = (*self._history[:-1], _with_latency(status, latency))
        else:
            self._history = (*self._history[-HISTORY:], status)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the newest status in the width of the terminal."""
        yield self._panel(options.max_width)

    def _panel(self, width: int) -> Panel:
        """Return the panel of the newest status.

        Args:
            width: the width of the panel, in columns.
        """
        title = Text(self._name)
        if not self._history:
            return Panel("waiting for the fleet", title=title)
        status = self._history[-1]
        is_wide = width >= WIDTH
        columns = (width - _FRAME - 2) // 2 if is_wide else width - _FRAME
        curve = min(max(columns - NAMES - NUMBERS - _GAPS, 1), HISTORY)
        tables = (self._fleet(status, curve), self._traffic(status, curve))
        both = _beside(*tables) if is_wide else Group(*tables)
        title.append(f": {status.devices:,} devices")
        return Panel(
            Group(self._time(status, width), both, self._active_faults(status)), title=title, width=width
        )

    def _time(self, status: LiveStatus, width: int) -> RenderableType:
        stop_ns = self._plan.stop_ns
        line = Table.grid(padding=(0, 1))
        line.add_row(
            f"{status.t_ns / NS_PER_S:,.0f} of {stop_ns / NS_PER_S:,.0f} s",
            ProgressBar(stop_ns, status.t_ns, width=max(min(40, width - 50), 8)),
            f"stage {_names(self._plan.stages, status.t_ns) or '-'}",
        )
        return line

    def _fleet(self, status: LiveStatus, curve: int) -> Table:
        table = _table("fleet", curve)
        started = max(status.started, 1)
        table.add_row("online", f"{status.online:,}", _Curve([past.online for past in self._history]))
        table.add_row("connections", f"{status.connections:,}", "")
        table.add_row("budget", approximate_bytes(status.budget_bytes), self._over_time("budget_bytes"))
        table.add_row("held", approximate_bytes(status.resident_bytes), self._over_time("resident_bytes"))
        over = f"[bold red]{status.over_budget:,}[/]" if status.over_budget else "0"
        table.add_row("over budget", over, "")
        share = status.ndcg_sum / status.best_sum if status.best_sum else 0.0
        quality = _Curve([past.ndcg_sum / max(past.started, 1) for past in self._history])
        table.add_row("NDCG@10", f"{status.ndcg_sum / started:.4f}", quality)
        table.add_row("of the best", f"{share:.1%}", "")
        return table

    def _traffic(self, status: LiveStatus, curve: int) -> Table:
        table = _table("updates", curve)
        updates, size = self._rates("reports"), self._rates("update_bytes")
        table.add_row("reports/s", f"{updates[-1]:,.0f}", _Curve(updates))
        table.add_row("update bytes/s", approximate_bytes(int(size[-1])), _Curve(size))
        table.add_row("in flight", f"{status.in_flight:,}", self._over_time("in_flight"))
        table.add_row("lost", f"{status.lost:,}", "")
        recent = [past.latency for past in self._history[-WINDOW_S:]]
        shown = [
            "-" if value is None else f"{value / NS_PER_S:.3g}"
            for value in latency_percentiles(recent, (50.0, 95.0, 99.0))
        ]
        table.add_row("latency p50", f"{shown[0]} s", "simulated")
        table.add_row("p95", f"{shown[1]} s", "")
        table.add_row("p99", f"{shown[2]} s", "")
        if status.lag_ns >= 0:
            style = "bold red" if status.lag_ns > _LATE_NS else ""
            lag = Text(f"{status.lag_ns / 1e6:,.1f} ms", style=style)
            table.add_row("lag", lag, self._over_time("lag_ns"))
        return table

    def _active_faults(self, status: LiveStatus) -> RenderableType:
        faults = _names(self._plan.faults, status.t_ns)
        actions = _names(self._plan.actions, status.t_ns)
        line = Table.grid(padding=(0, 1))
        line.add_row("faults in force", Text(faults, style="bold yellow") if faults else "none")
        if actions:
            line.add_row("actions", actions)
        return line

    def _rates(self, name: str) -> list[float]:
        rates = [
            # Never below 0: a shard that was killed counts from 0 again.
            max(getattr(after, name) - getattr(before, name), 0) / max(after.wall_s - before.wall_s, 1e-3)
            for before, after in pairwise(self._history)
        ]
        return rates or [0.0]

    def _over_time(self, name: str) -> "_Curve":
        return _Curve([getattr(past, name) for past in self._history])


class _Curve:
    """The last values of a figure as a row of bars, scaled to their range; flat if all are equal.

    Args:
        values: the newest last; as many are shown as there are columns.
    """

    def __init__(self, values: Sequence[float]) -> None:
        self._values = values

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the newest values in the width of the column."""
        recent = self._values[-options.max_width :]
        least, most = min(recent, default=0), max(recent, default=0)
        steps = (len(_BARS) - 1) / (most - least) if most > least else 0.0
        yield Text("".join(_BARS[round((value - least) * steps)] for value in recent))


def live_view(scenario: Scenario) -> LiveView:
    """Return the live view of a run of *scenario*.

    Raises:
        InputError: the clock is virtual.
    """
    if scenario.clock == "virtual":
        raise InputError(
            "--live needs clock lockstep or realtime: under virtual the parts of the fleet are simulated one "
            "by one"
        )
    return LiveView(scenario.name, RunTimeline.from_scenario(scenario))


def _beside(left: Table, right: Table) -> Table:
    both = Table.grid(padding=(0, 1))
    both.add_row(left, right)
    return both


def _table(title: str, curve: int) -> Table:
    table = Table(title=title, box=None, title_justify="left", title_style="bold", padding=(0, 1))
    table.add_column(width=NAMES)
    table.add_column(width=NUMBERS, justify="right")
    table.add_column(width=curve)
    table.show_header = False
    return table


def _names(spans: Sequence[Span], t_ns: int) -> str:
    """Return the types of the spans that are active at a time; an instant is shown for a second."""
    names = [
        span.type for span in spans if span.start_ns <= t_ns < max(span.end_ns, span.start_ns + NS_PER_S)
    ]
    return ", ".join(dict.fromkeys(names))


def _with_latency(status: LiveStatus, latency: dict[int, int]) -> LiveStatus:
    return msgspec.structs.replace(status, latency=latency)
