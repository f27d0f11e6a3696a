"""Every scenario file that ships, at a reduced scale: the same log twice, sharded, and through a broker."""

import os
from pathlib import Path

import pytest

from cloud.config import Synthetic
from emulator.replay import read_replay
from emulator.runner import Options, run
from scenarios.load import load, shipped
from tests.emulator.scenarios import Silent

QUICK = (
    "model.training.epochs=4",
    "model.training.dim=16",
    "model.training.refine.epochs=2",
    "model.training.controller.steps=4",
)


def reduced(path: Path) -> list[str]:
    """Return overrides that leave a few devices of each group and train briefly."""
    scenario = load(path)
    return [
        *QUICK,
        *(f"fleet[{place}].count={min(6, group.count)}" for place, group in enumerate(scenario.fleet)),
    ]


def data_of(path: Path) -> Path | None:
    """Return where the scenario's data are; skip where they are absent."""
    data = load(path).data
    if isinstance(data, Synthetic):
        return None
    root = Path(os.environ.get("PEELFLEET_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (root / data.path).exists():
        pytest.skip(f"{root / data.path} is absent: these data may not be redistributed")
    return root / data.path


@pytest.mark.data
@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_a_shipped_scenario_gives_one_log_whatever_runs_it(path: Path, tmp_path: Path) -> None:
    data, overrides = data_of(path), reduced(path)

    def log(*more: str, shards: int = 1) -> object:
        options = Options(tmp_path / "runs", data=data, store=tmp_path / "stores", shards=shards)
        return run(load(path, [*overrides, *more]), options, Silent()).summary["event_log_sha256"]

    def log_of_the_replay() -> object:
        (recording,) = (tmp_path / "runs").iterdir()
        options = Options(tmp_path / "replays", data=data, store=tmp_path / "stores")
        scenario, playback, warnings = read_replay(recording, ())
        assert warnings == []
        return run(scenario, options, Silent(), playback).summary["event_log_sha256"]

    once = log("clock=virtual")
    assert log_of_the_replay() == once
    assert log("clock=virtual") == once
    assert log("clock=virtual", shards=4) == once
    assert log("clock=lockstep") == once
