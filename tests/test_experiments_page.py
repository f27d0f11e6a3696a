"""docs/experiments.md: every command on the page does what it says, in the order in which it stands there."""

from pathlib import Path

import pytest

from tests.emulator.cli.test_main import peelfleet
from tests.pages import DOCS, commands


@pytest.mark.slow
def test_every_command_on_the_page_runs(tmp_path: Path) -> None:
    said = {}
    for command in commands(DOCS / "experiments.md"):
        store = ["--store", "stores"] if command[0] in ("run", "sweep") else []
        done = peelfleet(*command, *store, folder=tmp_path)
        assert done.returncode == 0, (command, done.stderr)
        said[command[0]] = done.stdout
    assert "verdict: " in said["compare"]
    assert len((tmp_path / "runs/fleet-sweep/table.csv").read_text().splitlines()) == 13
    assert len((tmp_path / "runs/sizes/table.csv").read_text().splitlines()) == 17
    assert (tmp_path / "differences.json").exists()
    assert (tmp_path / "differences.csv").exists()
