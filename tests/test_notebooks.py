"""The notebooks of the docs run from the wheel alone, in a kernel outside the checkout."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.wheel_environment import build_wheel, make_environment

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"
EXECUTE = """
import sys
import nbformat
from nbclient import NotebookClient

book = nbformat.read(sys.argv[1], 4)
book.cells.append(nbformat.v4.new_code_cell("print(pf.Run.__module__, pf.__file__)"))
NotebookClient(book, timeout=900).execute()
nbformat.write(book, sys.argv[2])
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of an environment with the wheel."""
    wheel = build_wheel(tmp_path_factory.mktemp("dist"))
    return make_environment(wheel, tmp_path_factory.mktemp("notebooks") / "environment")


def execute(notebook: str, environment: Path, folder: Path, **variables: str) -> list[dict[str, Any]]:
    """Execute a notebook in *folder*; return the outputs of all cells."""
    pytest.importorskip("nbclient")
    executed = folder / "executed.ipynb"
    done = subprocess.run(
        [str(environment.parents[2] / "bin" / "python"), "-c", EXECUTE, NOTEBOOKS / notebook, executed],
        cwd=folder, capture_output=True, text=True, check=False,
        env=os.environ | {"PEELFLEET_STORE": str(folder / "store")} | variables,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outputs = [
        output
        for cell in json.loads(executed.read_text())["cells"]
        if cell["cell_type"] == "code"
        for output in cell["outputs"]
    ]
    assert outputs[-1]["text"] == [f"peelfleet.run_results {environment / 'peelfleet' / '__init__.py'}\n"]
    assert not [output for output in outputs if output.get("name") == "stderr"]
    return outputs


def count(outputs: list[dict[str, Any]], form: str, text: str) -> int:
    """Return the number of outputs of a form that hold *text*."""
    return sum(text in json.dumps(output.get("data", {}).get(form, "")) for output in outputs)


def test_notebooks_are_kept_without_outputs() -> None:
    cells = [cell for book in NOTEBOOKS.glob("*.ipynb") for cell in json.loads(book.read_text())["cells"]]
    assert cells
    assert not [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_own_vectors(environment: Path, tmp_path: Path) -> None:
    outputs = execute("own-vectors.ipynb", environment, tmp_path)
    assert count(outputs, "text/html", "<progress") >= 2  # training, and the run
    assert count(outputs, "text/html", "of the quality of the whole table") == 1
    assert count(outputs, "application/vnd.plotly.v1+json", "data") == 2


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(1200)
def test_policy_study(environment: Path, tmp_path: Path, data_root: Path) -> None:
    outputs = execute("policy-study.ipynb", environment, tmp_path, PEELFLEET_DATA=str(data_root.resolve()))
    assert count(outputs, "text/html", "30 of 30 runs") == 1
    assert count(outputs, "text/html", "verdict: differs in ") == 1
    assert count(outputs, "application/vnd.plotly.v1+json", "data") == 3
