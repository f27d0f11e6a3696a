"""Fixtures that more than one part of the tests needs."""

import os
from pathlib import Path

import hypothesis
import pytest

# `make test` says the same twice: a property that fails there was broken by the change under test. New
# examples are what `make fuzz` is for.
hypothesis.settings.register_profile("same", derandomize=True, deadline=None)
hypothesis.settings.register_profile("new", deadline=None)
hypothesis.settings.load_profile("same")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with ml-1m and ml-100k, never a part of the project; skips where it is absent."""
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    root = Path(os.environ.get("PEELFLEET_DATA", beside))
    if not root.is_dir():
        pytest.skip(f"no data at {root}: set PEELFLEET_DATA")
    return root
