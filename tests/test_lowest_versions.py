"""The lowest versions that pyproject.toml allows can be installed together."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOWEST = [re.sub(r">=([^,]+).*", r"==\1", each) for each in PROJECT["dependencies"]]


def resolve(*wanted: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed",
         "--only-binary", ":all:", *wanted],
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip


def test_each_dependency_says_its_lowest_version() -> None:
    assert [each for each in LOWEST if "==" not in each] == []


@pytest.mark.slow
def test_the_lowest_versions_can_be_installed_together() -> None:
    if sys.version_info >= (3, 13):
        pytest.skip("the lowest numpy has no wheels for this Python")
    if resolve("simpy").returncode:
        pytest.skip("no package index can be reached")
    done = resolve(*LOWEST)
    assert done.returncode == 0, done.stderr
