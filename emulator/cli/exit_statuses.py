"""The exit statuses of the command line."""

from typing import Final

RUN_FAILED: Final = 1
WRONG_INPUT: Final = 2
THRESHOLD_BROKE: Final = 99
"""A threshold of a run is broken, or two runs differ that were to be equal."""
INTERRUPTED: Final = 130
