"""The stages of a run, in a view of progress."""

from emulator.metrics.live_status import LiveStatus
from emulator.progress.views import COMPILE, ProgressView
from emulator.runner.observer import RunObserver
from emulator.simulation.model_cache import PreparedModel
from wire.units import NS_PER_S

NS_PER_MS = NS_PER_S // 1000
MEASURING_SHARE = 0.7
"""Part of the time of tables and report that goes into measuring."""


class RunProgress(RunObserver):
    """Shows the stages of a run.

    Args:
        view: the view.
    """

    def __init__(self, view: ProgressView) -> None:
        self.view = view
        self._devices = 0

    def on_training(self, stage: str, done: int, total: int, note: str) -> None:
        """Show a step of a training stage."""
        self.view.show(stage, done, total, note)

    def on_model(self, model: PreparedModel) -> None:
        """Show which model is used."""
        self.view.show("model", 1, 1, f"{model.store.version}, {model.source}")

    def on_compiling(self) -> None:
        """Show that the kernel is compiled before the simulation begins."""
        self.view.show(COMPILE, 0, 1, "the kernel, once for this version: about 20 s of one core")

    def on_fleet(self, devices: int) -> None:
        """Keep the number of devices for the lines of the simulation."""
        self._devices = devices

    def on_progress(self, now_ns: int, stop_ns: int) -> None:
        """Show how far simulated time has come."""
        self._show_time(now_ns, stop_ns, f"{self._devices:,} devices" if self._devices else "")

    def on_status(self, status: LiveStatus, stop_ns: int) -> None:
        """Show how far a fleet in real time has come."""
        if status.t_ns >= stop_ns:
            self.view.show("simulate", stop_ns, stop_ns, "at its end; last answers are awaited")
            return
        lag = f", lag {status.lag_ns / NS_PER_MS:,.0f} ms" if status.lag_ns >= 0 else ""
        self._show_time(status.t_ns, stop_ns, f"{status.online:,} of {status.devices:,} devices online{lag}")

    def _show_time(self, now_ns: int, stop_ns: int, fleet: str) -> None:
        times = f"{now_ns / NS_PER_S:,.0f} of {stop_ns / NS_PER_S:,.0f} s"
        self.view.show("simulate", now_ns, stop_ns, f"{times}, {fleet}" if fleet else times)

    def on_writing(self) -> None:
        """Show that the simulation is over."""
        self.on_measuring(0.0)

    def on_measuring(self, share: float) -> None:
        """Show how much of the tables and the report is done."""
        self.view.show("report", MEASURING_SHARE * share, 1, "writing tables and report")
