"""The one line with which the command line refuses its arguments, without a process of its own."""

import pytest

from emulator.cli.main import app, usage_error
from wire.errors import PeelfleetError


def refusal(*words: str) -> str:
    """Return the line for the arguments *words*, which must be wrong."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - typer's base class is private
        app(list(words), prog_name="peelfleet", standalone_mode=False)
    error = caught.value
    return str(error) if isinstance(error, PeelfleetError) else usage_error(error)
