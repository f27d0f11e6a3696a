"""The observer of a run: callbacks that tell how far the run is."""

from emulator.metrics.live_status import LiveStatus
from emulator.simulation.model_cache import PreparedModel


class RunObserver:
    """Receives the progress of a run. This one ignores it; a subclass overrides what it shows."""

    wants_status = False
    """True to receive the live status of the fleet."""

    def on_training(self, stage: str, done: int, total: int, note: str) -> None:
        """Handle a finished step of training."""

    def on_warning(self, text: str) -> None:
        """Handle a warning to the user."""

    def on_model(self, model: PreparedModel) -> None:
        """Handle a model that was trained, or taken from the cache."""

    def on_compiling(self) -> None:
        """Handle the start of the compilation of the kernel, which is done once for a version."""

    def on_fleet(self, devices: int) -> None:
        """Handle the number of devices that are simulated next."""

    def on_progress(self, now_ns: int, stop_ns: int) -> None:
        """Handle the simulated time reached."""

    def on_status(self, status: LiveStatus, stop_ns: int) -> None:
        """Handle the live status of the fleet, once a second."""

    def on_writing(self) -> None:
        """Handle the end of the simulation: tables and the report are written next."""

    def on_measuring(self, share: float) -> None:
        """Handle the share of the measuring that is done; the report is written after it."""
