"""docs/experiments.md: every command on the page does what it says, in the order in which it stands there."""

import re
import shlex
from pathlib import Path

import pytest

from tests.emulator.cli.test_main import peelfleet

PAGE = Path(__file__).parents[1] / "docs" / "experiments.md"


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]


@pytest.mark.slow
def test_every_command_on_the_page_runs(tmp_path: Path) -> None:
    said = {}
    for command in commands():
        store = ["--store", "stores"] if command[0] in ("run", "sweep") else []
        done = peelfleet(*command, *store, folder=tmp_path)
        assert done.returncode == 0, (command, done.stderr)
        said[command[0]] = done.stdout
    assert "verdict: " in said["compare"]
    assert len((tmp_path / "runs/fleet-sweep/table.csv").read_text().splitlines()) == 13
    assert len((tmp_path / "runs/sizes/table.csv").read_text().splitlines()) == 17
    assert (tmp_path / "differences.json").exists()
    assert (tmp_path / "differences.csv").exists()
