"""The training and the runs of a sweep, in a view of progress."""

from emulator.progress.views import ProgressView
from emulator.sweep.run_sweep import SweepObserver


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
        self._show(self.ended_text)

    @property
    def ended_text(self) -> str:
        """Words for how many runs were new."""
        return f"{self._done - self._before} new runs, {self._before} were there"

    def _show(self, note: str) -> None:
        self.view.show("runs", self._done, self._total, f"{self._done} of {self._total} runs  {note}")
