"""The stages of a run and of a sweep, in a view of progress."""

import time
from typing import Final

from emulator.metrics.live_status import LiveStatus
from emulator.progress.views import ProgressView
from emulator.runner.observer import RunObserver
from emulator.simulation.model_cache import PreparedModel
from emulator.sweep.run_sweep import SweepObserver
from wire.units import NS_PER_S

LEAST_PAUSE_S: Final = 0.1
"""Time between two pictures of the same stage: a simulation reports many thousand times a second."""


class RunProgress(RunObserver):
    """Shows the stages of a run.

    Args:
        view: the view.
    """

    def __init__(self, view: ProgressView) -> None:
        self.view = view

    def on_training(self, stage: str, done: int, total: int, note: str) -> None:
        """Show a step of a training stage."""
        self.view.show(stage, done, total, note)

    def on_model(self, model: PreparedModel) -> None:
        """Show which model is used."""
        self.view.show("model", 1, 1, f"{model.store.version}, {model.source}")

    def on_progress(self, now_ns: int, stop_ns: int) -> None:
        """Show how far simulated time has come."""
        now_s, stop_s = now_ns / NS_PER_S, stop_ns / NS_PER_S
        self.view.show("simulate", now_ns, stop_ns, f"{now_s:,.0f} of {stop_s:,.0f} s")

    def on_status(self, status: LiveStatus, stop_ns: int) -> None:
        """Show how far a fleet in real time has come."""
        if status.t_ns < stop_ns:
            self.on_progress(status.t_ns, stop_ns)
        else:
            self.view.show("simulate", stop_ns, stop_ns, "at its end; last answers are awaited")

    def on_writing(self) -> None:
        """Show that the simulation is over."""
        self.view.show("report", 0, 1, "writing tables and report")


class SweepProgress(SweepObserver):
    """Shows the training and the runs of a sweep.

    Args:
        view: the view.
    """

    def __init__(self, view: ProgressView) -> None:
        self.view = view
        self._before = self._done = self._total = 0

    def on_training(self, stage: str, done: int, total: int, note: str) -> None:
        """Show a step of a training stage."""
        self.view.show(stage, done, total, note)

    def on_runs(self, done: int, total: int) -> None:
        """Show how many runs there were."""
        self._before, self._done, self._total = done, done, total
        self._show("")

    def on_run_start(self, name: str) -> None:
        """Show which run has started."""
        self._show(name)

    def on_run_end(self, name: str, error: str | None) -> None:
        """Count a run that has ended."""
        self._done += 1
        self._show(name if error is None else f"failed: {name}: {error}")

    def on_end(self) -> None:
        """Show how many runs were new."""
        self._show(f"{self._done - self._before} run now, {self._before} were there")

    def _show(self, note: str) -> None:
        self.view.show("runs", self._done, self._total, f"{self._done} of {self._total} runs  {note}")


class PacedView:
    """A view that passes on what is new enough to be seen.

    Args:
        view: the view behind it.
    """

    def __init__(self, view: ProgressView) -> None:
        self._view = view
        self._stage, self._shown_s = "", 0.0

    def show(self, stage: str, done: float, total: float, note: str) -> None:
        """Show a new stage and the end of one at once, other progress from time to time."""
        now_s = time.monotonic()
        if stage != self._stage or done >= total or now_s - self._shown_s >= LEAST_PAUSE_S:
            self._stage, self._shown_s = stage, now_s
            self._view.show(stage, done, total, note)

    def end(self, *, completed: bool) -> None:
        """End the view."""
        self._view.end(completed=completed)
