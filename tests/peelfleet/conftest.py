"""A scenario that trains in a second, and a cache of its model that the tests of a session share."""

from pathlib import Path

import pytest

from peelfleet import Run, run
from tests.emulator.scenarios import TINY


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api-stores")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of the scenario."""
    path = tmp_path_factory.mktemp("api-scenario") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def finished(tiny: Path, stores: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of the scenario that no test changes."""
    return run(tiny, out=tmp_path_factory.mktemp("api-runs"), store=stores, workers=1)
