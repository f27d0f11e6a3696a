"""The docs say what the code does: their examples are real, their links exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scenarios.language.load import shipped
from tests.pages import blocks

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_scenario_that_the_readme_explains_is_one_that_ships() -> None:
    (excerpt,) = blocks(ROOT / "README.md", "yaml")
    assert excerpt in (ROOT / "scenarios" / "squeeze.yaml").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    local = [link for link in links if not link.startswith("https://")]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_every_shipped_scenario_is_run_by_a_command_that_its_header_names() -> None:
    for path in shipped():
        assert f"peelfleet run scenarios/{path.name}" in path.read_text()


def test_the_readme_lists_every_scenario_that_ships() -> None:
    text = (ROOT / "README.md").read_text()
    assert [path.stem for path in shipped() if f"`{path.stem}`" not in text and path.name not in text] == []


@pytest.mark.slow
def test_the_lines_of_python_in_the_readme_run_and_its_pictures_show_what_they_give(tmp_path: Path) -> None:
    (program,) = blocks(ROOT / "README.md", "python")
    done = subprocess.run(
        [sys.executable, "-c", f"{program}\nprint(run.summary['event_log_sha256'])"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    first, sha256 = done.stdout.splitlines()[-2:]
    quality, updates = first.split()
    readme, picture = (ROOT / "README.md").read_text(), (ROOT / "docs" / "terminal.svg").read_text()
    assert f"{float(quality):.1%}".replace("%", " %") in readme
    assert all(words in picture for words in (sha256[:16], f"{float(quality):.4f}", f"{int(updates):,}"))
