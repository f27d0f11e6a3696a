"""A training that is killed goes on where it was, and leaves the store that it would have left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emulator.simulation.model_cache import TRAINED, prepare_model
from scenarios.language.load import parse

TRAIN = """
import sys
from pathlib import Path
from emulator.simulation.model_cache import prepare_model
from scenarios.language.load import parse

report = lambda *told: print(*told, flush=True)
scenario = parse(sys.argv[1], "x.yaml", ())
model = prepare_model(scenario.data, scenario.model, Path(sys.argv[2]), report)
print("version", model.store.version, flush=True)
"""

# Long enough that a kill at the first checkpoint comes long before the end.
SCENARIO = """
version: 1
name: resume
stop_time: 1 min
data: {{type: synthetic, users: 300, items: 200, interactions_per_user: 20, user_groups: 2, item_kinds: 4}}
model:
  layers: 8
  training:
    dim: 8
    backbone: {backbone}
    epochs: 200
    evaluate_every: 40
    lightgcn: {{epochs: 200, evaluate_every: 40}}
    ials: {{epochs: 200, evaluate_every: 40}}
    user_groups: 2
    item_groups: 4
fleet:
  - name: phone
    count: 1
    memory: {{type: square_wave, low: 50 KiB, high: 1 MiB, low_for: 1 min, high_for: 2 min}}
    budget: {{share: 0.1 %}}
"""


def training(backbone: str, root: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", TRAIN, SCENARIO.format(backbone=backbone), str(root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for_checkpoint(root: Path, process: "subprocess.Popen[str]") -> Path:
    while process.poll() is None:
        for file in root.glob(".*.training/loop.safetensors"):
            return file
        time.sleep(0.002)
    raise AssertionError(f"it ended without a checkpoint: {process.communicate()[0]}")


def finished(process: "subprocess.Popen[str]") -> list[str]:
    told, _ = process.communicate(timeout=120)
    assert process.returncode == 0, told
    return told.splitlines()


def tree(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["ials", "mf", "lightgcn"])
def test_a_killed_training_ends_with_the_same_store(backbone: str, tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with training(backbone, killed) as process:
        checkpoint = wait_for_checkpoint(killed, process)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert sorted(path.name for path in killed.iterdir()) == [checkpoint.parent.name, TRAINED]  # no store yet
    assert list((killed / TRAINED).glob("*.safetensors")) == []
    with training(backbone, killed) as process:
        resumed = finished(process)
    scenario = parse(SCENARIO.format(backbone=backbone), "x.yaml", ())
    uninterrupted = prepare_model(scenario.data, scenario.model, whole, lambda *_: None)
    assert resumed[0].startswith("pretrain ")
    assert "continues from a checkpoint after epoch" in resumed[0]
    assert resumed[-1] == f"version {uninterrupted.store.version}"
    assert tree(killed) == tree(whole)
