"""The page about own vectors: its program makes them with scikit-learn, its scenario runs a fleet on them."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cloud.data.load import load as load_data
from cloud.data.sources import LightGCN, Synthetic
from cloud.data.synthetic import generate
from tests.pages import blocks
from wire.ranking_metrics import rank

PAGE = Path(__file__).parents[1] / "docs" / "own-vectors.md"


def block(language: str) -> str:
    (text,) = blocks(PAGE, language)
    return str(text)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data that are split already, the page's scenario, and the vectors of its program."""
    folder = tmp_path_factory.mktemp("project")
    world = generate(Synthetic(users=150, items=100, interactions_per_user=20, user_groups=3, item_kinds=4))
    (folder / "likes").mkdir()
    for name, part in (("train", world.known), ("test", world.test)):
        lines = (" ".join(map(str, (user, *part[user].tolist()))) for user in range(len(part)))
        (folder / "likes" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    (folder / "own-vectors.yaml").write_text(block("yaml"))
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", block("python")], cwd=folder, check=True, timeout=60
    )
    return folder


def run(folder: Path, *words: str) -> tuple[int, str]:
    """Return the exit status of a command in *folder*, and what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "emulator.cli", *words, "--store", "stores"],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(PAGE.parents[1])}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_the_page_runs(project: Path) -> None:
    folder = project / "elsewhere"  # the files lie beside the scenario
    folder.mkdir()
    scenario = ("../own-vectors.yaml", "--data", "../likes")
    status, _ = run(folder, "run", *scenario, "--out", "runs")
    (summary,) = folder.glob("runs/*/summary.json")
    figures = json.loads(summary.read_text())
    assert (status, figures["updates_applied"] > 0) == (0, True)
    status, text = run(folder, "train", *scenario, "--json")
    report = json.loads(text[text.index("{") : text.rindex("}") + 1])
    assert (status, report["pretrain"]["backbone"], report["model_version"]) == (
        0, "file", figures["model_version"],
    )  # fmt: skip


def test_the_quality_is_that_of_the_vectors(project: Path) -> None:
    """The vectors rank as a plain matrix product of the files does, before any stage of ours."""
    data = load_data(LightGCN(path=str(project / "likes")))
    users, items = np.load(project / "users.npy"), np.load(project / "items.npy")
    names = (project / "items.txt").read_text().split()
    order = [names.index(name) for name in data.item_ids]
    scores = users[[int(name) for name in data.user_ids]] @ items[order].T
    known, test = data.known, data.test
    own = rank(scores, known, test, 20).ndcg(10)
    assert float(np.mean(own[test.counts() > 0])) > 0.15


@pytest.mark.slow
def test_changed_vectors_are_another_model(project: Path) -> None:
    first, again = run(project, "train", "own-vectors.yaml")[1], run(project, "train", "own-vectors.yaml")[1]
    kept = (project / "items.npy").read_bytes()
    np.save(project / "items.npy", np.load(project / "items.npy") * 1.5)
    changed = run(project, "train", "own-vectors.yaml")[1]
    (project / "items.npy").write_bytes(kept)
    stores = [re.findall(r"^store: .*?(\w+)$", text, re.MULTILINE) for text in (first, again, changed)]
    assert stores[0] == stores[1] != stores[2]
    assert ("from the cache" in again, "trained now" in changed) == (True, True)


def test_a_wrong_width_is_named(project: Path) -> None:
    status, text = run(project, "train", "own-vectors.yaml", "--set", "model.training.dim=8")
    assert (status, text.splitlines()[-1]) == (
        2, "peelfleet: users.npy: vectors have 16 numbers, so model.training.dim(=8) must be 16"
    )  # fmt: skip
