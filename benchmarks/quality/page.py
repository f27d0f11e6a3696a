"""``python -m benchmarks.quality.page``: the tables of the comparison on the page about the method."""

import sys
from pathlib import Path

from benchmarks.figures import OUT
from benchmarks.traffic import replace_tables

PAGE = Path(__file__).parents[2] / "docs" / "method.md"
NAME = "quality"


def main(tables: Path = OUT / "quality.md") -> None:
    """Rewrite the tables of the page from the file that the comparison wrote."""
    measured = tables.read_text(encoding="utf-8").strip()
    text = replace_tables(PAGE.read_text(encoding="utf-8"), {NAME: measured})
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
