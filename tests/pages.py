"""The examples on the pages of the documentation."""

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from prometheus_client.metrics_core import Metric

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page: Path, language: str = "") -> Sequence[str]:
    """Return the blocks of code of a page that are in *language*; without one, blocks of commands."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block[2] for block in found if block[1] == language]


def commands(page: Path) -> Sequence[Sequence[str]]:
    """Return the arguments of each command `peelfleet` on a page."""
    return [shlex.split(line)[1:] for block in blocks(page) for line in block.splitlines()]


def rows(page: Path, section: str) -> list[list[str]]:
    """Return the cells of each row of the tables of a section, their heads left out."""
    text = page.read_text(encoding="utf-8").split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [
        line for line in text.splitlines() if line.startswith("| `") and not line.startswith("| `result` |")
    ]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def ticked(cell: str) -> list[str]:
    """Return the words of a cell that are set as code."""
    return re.findall(r"`([^`]*)`", cell)


def metric_rows(page: Path, section: str) -> dict[str, tuple[str, list[str]]]:
    """Return type and labels of each metric in the tables of a section, by its name."""
    cells = [row for row in rows(page, section) if len(row) == 4]
    return {ticked(row[0])[0]: (row[1], sorted(ticked(row[2]))) for row in cells}


def metrics_of(families: Iterable[Metric]) -> dict[str, tuple[str, list[str]]]:
    """Return type and labels of each metric of *families*, by the name that a page gives it."""
    found = {}
    for family in families:
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = ("gauge" if family.type == "info" else family.type, sorted(labels))
    return found
