"""A scenario that trains in a second, and a cache of its model that the tests of a session share."""

from pathlib import Path

import pytest

from tests.emulator.scenarios import Runner


@pytest.fixture(scope="session")
def store_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


@pytest.fixture
def runner(store_root: Path, tmp_path: Path) -> Runner:
    return Runner(store_root, tmp_path)
