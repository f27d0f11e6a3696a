"""The pause of a watched run that follows no clock: it waits between two steps."""

import time
from typing import Final

from emulator.live.live_folder import LiveFolder

LOOK_EVERY_S: Final = 0.2


class Pause:
    """Tells whether a run is to wait; looks for it a few times a second only.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: LiveFolder) -> None:
        self._folder = folder
        self._looked_s = 0.0

    def is_on(self) -> bool:
        """Return True while the run is to wait."""
        now_s = time.monotonic()
        if now_s - self._looked_s < LOOK_EVERY_S:
            return False
        if self._folder.is_paused:
            return True
        self._looked_s = now_s
        return False

    def wait(self) -> None:
        """Return at once, or when the run goes on."""
        while self.is_on():
            time.sleep(LOOK_EVERY_S)
