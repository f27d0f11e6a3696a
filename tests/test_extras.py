"""Without the extra `train` everything works but training, and its lack is one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloud.blocks.store import load_store
from cloud.data.load import load as load_data
from emulator.simulation.model_cache import SHIPPED, find_shipped, store_origin
from emulator.simulation.shipped_stores import CODE, NAMES, code_sha256
from scenarios.language.load import load, located

HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "sklearn", "threadpoolctl"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""


def peelfleet(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run the command line where nothing is installed that trains, with empty caches in *folder*."""
    (folder / "sitecustomize.py").write_text(HIDE)
    env = os.environ | {"PYTHONPATH": str(folder), "PEELFLEET_STORE": str(folder / "stores")}
    return subprocess.run(
        [sys.executable, "-m", "emulator.cli", *args],
        cwd=Path(__file__).parents[1], env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_quickstart_runs_on_the_store_that_comes_with_peelfleet(tmp_path: Path) -> None:
    overrides = ("--set", "clock=virtual", "--set", "stop_time=10 min", "--set", "thresholds={}")
    done = peelfleet(tmp_path, "run", "quickstart", *overrides, "--out", str(tmp_path / "runs"))
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    version = load_store(SHIPPED / "quickstart").version
    assert f"{version}, comes with peelfleet" in done.stdout + done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert version in (run / "summary.json").read_text()
    assert sorted(path.name for path in SHIPPED.iterdir() if path.is_dir()) == sorted(NAMES)


@pytest.mark.parametrize("verb", ["run", "train", "pee"])
def test_a_model_that_must_be_trained_is_one_line(verb: str, tmp_path: Path) -> None:
    more = ("--user", "user-0", "--budget", "8KiB") if verb == "pee" else ()
    args = (verb, "quickstart", "--set", "data.users=100", "--set", "clock=virtual", *more)
    done = peelfleet(tmp_path, *args)
    assert done.returncode == 2
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("peelfleet:"))
    assert line == (
        "peelfleet: training a model needs torch, which is not installed: pip install 'peelfleet[train]'"
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_store_is_that_of_its_scenario(name: str) -> None:
    scenario = load(located(Path(name)))
    interactions = load_data(scenario.data)
    assert find_shipped(store_origin(interactions, scenario.model)) == SHIPPED / name
    assert len(load_store(SHIPPED / name).user_groups) == interactions.n_users


def test_the_shipped_stores_are_as_new_as_the_code_that_trains() -> None:
    assert (SHIPPED / CODE).read_text().strip() == code_sha256(), "run `make shipped-store`"
