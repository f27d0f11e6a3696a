"""docs/extending.md: every example of the page, added to a copy of the product, works."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.pages import blocks

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "extending.md"
SCENARIOS = blocks(PAGE, "yaml")
PACKAGES = ("wire", "cloud", "devices", "broker_config", "scenarios", "emulator", "peelfleet")


def apply_change(product: Path, block: str) -> None:
    """Change a file as a block of the page says: ``-`` and ``+`` before lines, others are found as they are.

    A run of old lines must be in the file exactly once; the new lines take its place.
    """
    header, *lines = block.splitlines()
    path = product / header.removeprefix("--- ")
    text = path.read_text(encoding="utf-8")
    for old, new in _hunks(lines):
        assert text.count(old) == 1, f"{path.name} must have once:\n{old}"
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


def _hunks(lines: Sequence[str]) -> list[tuple[str, str]]:
    """Return the old and the new text of each change: around one line that stays or goes.

    New lines before the first old line come before it; all others follow the old line above them.
    """
    hunks: list[tuple[str, str]] = []
    first = ""
    for line in lines:
        mark, rest = line[:1], line[1:] + "\n"
        if mark != "+":
            hunks.append((rest, first + (rest if mark == " " else "")))
            first = ""
        elif hunks:
            hunks[-1] = (hunks[-1][0], hunks[-1][1] + rest)
        else:
            first += rest
    return hunks


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the product with all examples of the page."""
    copy = tmp_path_factory.mktemp("product")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    for block in blocks(PAGE, "python"):
        name = block.splitlines()[0].removeprefix("# ")
        assert not (copy / name).exists(), f"{name} must be a new file"
        (copy / name).write_text(block.split("\n", 1)[1], encoding="utf-8")
    for block in blocks(PAGE, "diff"):
        apply_change(copy, block)
    return copy


def run_in(product: Path, folder: Path, *words: str) -> str:
    """Return what ``peelfleet`` of the copy prints."""
    done = execute(product, folder, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused_by(product: Path, folder: Path, *words: str) -> str:
    """Return the line with which ``peelfleet`` of the copy refuses its arguments."""
    done = execute(product, folder, *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    return done.stderr


def execute(product: Path, folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "emulator.cli", *words]
    environment = {"PYTHONPATH": str(product), "PATH": "/usr/bin:/bin", "COLUMNS": "80"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("block", SCENARIOS, ids=lambda block: re.findall(r"name: (\w+)", block)[0])
def test_a_scenario_with_the_extension_runs(block: str, product: Path, tmp_path: Path) -> None:
    (tmp_path / "scenario.yaml").write_text(block, encoding="utf-8")
    likes = (
        f"u{user};i{(user * item) % 40};{user + item}\n" for user in range(1, 61) for item in range(1, 21)
    )
    (tmp_path / "likes.log").write_text("".join(likes), encoding="utf-8")
    run_in(product, tmp_path, "run", "scenario.yaml", "--out", "runs", "--store", str(product / "stores"))
    (summary,) = tmp_path.glob("runs/*/summary.json")
    figures = json.loads(summary.read_text())
    assert figures["budget_reports"] > 0
    for impact in [*figures["faults"], *figures["actions"]]:
        assert impact["devices_affected"] > 0


def test_the_commands_of_the_page_print_what_it_says(product: Path, tmp_path: Path) -> None:
    (text,) = blocks(PAGE, "text")
    (tmp_path / "memory.log").write_text(text, encoding="utf-8")
    for block in blocks(PAGE, "console"):
        command, expected = block.split("\n", 1)
        assert run_in(product, tmp_path, *shlex.split(command.removeprefix("$ "))[1:]) == expected


def test_the_command_of_the_page_has_help_and_refuses_wrong_values(product: Path, tmp_path: Path) -> None:
    assert re.search(r"│ fit +Print how many embeddings fit", run_in(product, tmp_path, "--help"))
    assert "--budget <size>" in run_in(product, tmp_path, "fit", "--help")
    assert refused_by(product, tmp_path, "fit", "--budget", "9x").startswith(
        "peelfleet: --budget(='9x') must"
    )


def test_the_examples_keep_the_rules_of_the_code(product: Path) -> None:
    names = [block.splitlines()[0].removeprefix("# ") for block in blocks(PAGE, "python")]
    ruff = Path(sys.executable).with_name("ruff")
    for command in (["check"], ["format", "--check"]):
        done = subprocess.run(
            [ruff, *command, *names], cwd=product, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stdout
