"""The exit statuses of the command line."""

from typing import Final

RUN_FAILED: Final = 1
WRONG_INPUT: Final = 2
THRESHOLD_BROKE: Final = 99
"""A threshold of a run is broken, two runs differ that were to be equal, or a device breaks a rule."""
INTERRUPTED: Final = 130
