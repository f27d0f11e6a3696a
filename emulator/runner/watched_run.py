"""The observer of a run that is watched: it tells the live side of the run, and another observer."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from emulator.live.deeds import DEEDS
from emulator.live.live_folder import LiveFolder
from emulator.live.live_run import LiveRun
from emulator.live.pause import Pause
from emulator.live.range_watch import RangeWatch
from emulator.metrics.live_status import LiveStatus
from emulator.realtime.fleet_steering import FleetSteering
from emulator.runner.observer import RunObserver
from emulator.simulation.live_hooks import LiveHooks
from emulator.simulation.model_cache import PreparedModel
from scenarios.language.scenario import Scenario


class WatchedObserver(RunObserver):
    """Tells the live side of a run how far it is.

    Args:
        observer: is told the same.
        live: of the run.
    """

    wants_status = True

    def __init__(self, observer: RunObserver, live: LiveRun) -> None:
        self._observer = observer
        self.live = live

    def on_training(self, stage: str, done: int, total: int, note: str) -> None:
        """Show a step of training."""
        self.live.show("training", f"{stage} {note}", done / total if total else 0.0)
        self._observer.on_training(stage, done, total, note)

    def on_warning(self, text: str) -> None:
        """Pass a warning on."""
        self._observer.on_warning(text)

    def on_model(self, model: PreparedModel) -> None:
        """Show which model is used."""
        self.live.show("model", f"{model.store.version}, {model.source}", 1.0)
        self._observer.on_model(model)

    def on_compiling(self) -> None:
        """Show that the kernel is compiled."""
        self.live.show("compiling", "the kernel, once for this version", 0.0)
        self._observer.on_compiling()

    def on_fleet(self, devices: int) -> None:
        """Pass the number of devices on."""
        self._observer.on_fleet(devices)

    def on_progress(self, now_ns: int, stop_ns: int) -> None:
        """Show the simulated time reached."""
        self.live.t_ns = now_ns
        self.live.show("simulation", "", now_ns / stop_ns if stop_ns else 1.0)
        self._observer.on_progress(now_ns, stop_ns)

    def on_status(self, status: LiveStatus, stop_ns: int) -> None:
        """Show the status of the fleet."""
        note = "" if status.t_ns < stop_ns else "at its end; last answers are awaited"
        self.live.show("simulation", note, status.t_ns / stop_ns if stop_ns else 1.0)
        self.live.add_status(status)
        self._observer.on_status(status, stop_ns)

    def on_writing(self) -> None:
        """Show that the simulation is over."""
        self.live.takes_deeds = self.live.is_paused = False
        self.live.show("report", "tables and report are written", 0.0)
        self._observer.on_writing()

    def on_measuring(self, share: float) -> None:
        """Show how much of the measuring is done."""
        self.live.show("report", "tables and report are written", share)
        self._observer.on_measuring(share)

    def hooks(self) -> LiveHooks:
        """Return the hooks of a simulation in one process."""
        stop_ns = int(self.live.scenario.stop_time)
        return LiveHooks(lambda status: self.on_status(status, stop_ns), Pause(self.live.folder))

    def steering(self) -> FleetSteering:
        """Return the steering of a fleet in real time, which records deeds in the run directory."""
        return FleetSteering(self.live, self.live.scenario, self.live.folder.path.with_name(DEEDS))

    def range_watch(self) -> RangeWatch:
        """Return the watch over ranges of devices, for this process or another one."""
        scenario = self.live.scenario
        groups = [group.name for group in scenario.fleet]
        return RangeWatch(self.live.folder.path.parent.resolve(), int(scenario.stop_time), groups)


@contextmanager
def watched_run(
    run: Path, scenario: Scenario, devices: int, observer: RunObserver
) -> Iterator[WatchedObserver]:
    """Yield the observer of a run that is watched while the block runs.

    Args:
        run: the run directory.
        scenario: of the run.
        devices: the size of the fleet.
        observer: is told the same.
    """
    folder = LiveFolder(run)
    with LiveRun(folder, scenario, devices) as live:
        yield WatchedObserver(observer, live)
    folder.remove()
