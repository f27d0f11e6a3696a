"""Writes the tables of docs/traffic.md from the folders of the sweeps that the page names.

``make docs-traffic`` runs both sweeps and then ``python -m benchmarks.traffic FOLDER``, where FOLDER has
the sweep folders ``thrash`` and ``policy-matrix``; it rewrites the tables between the markers of the page.
"""

import csv
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from wire.units import approximate_bytes

PAGE = Path(__file__).resolve().parents[1] / "docs" / "traffic.md"
SWEEPS = ("thrash", "policy-matrix")

Figures = Mapping[str, float]
"""Figures of one policy, by the names of the columns."""

COLUMNS: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "update_bytes": ("update bytes", approximate_bytes),
    "of_the_first": ("of the first row's", lambda share: f"{100 * share:.3g} %"),
    "update_wire_bytes": ("on the wire", approximate_bytes),
    "budget_reports": ("reports", lambda count: f"{count:,.0f}"),
    "ndcg_at_10": ("NDCG@10", lambda ndcg: f"{ndcg:.4f}"),
    "quality_ratio_to_full": ("÷ full table's", lambda ratio: f"{ratio:.3f}"),
    "quality_regret": ("regret", lambda regret: f"{regret:.5f}"),
    "update_latency_seconds.p95": ("latency p95", lambda seconds: f"{seconds:.3g} s"),
    "over_budget_share": ("time over budget", lambda share: f"{100 * share:.2g} %"),
}
"""What a table shows of a policy: heading and how a figure is written."""


def read_figures(folder: Path) -> dict[str, Figures]:
    """Return the figures of each combination of the sweep in *folder*, means over its seeds, in order."""
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = list(dict.fromkeys(row["combination"] for row in rows))
    means = {name: _means([row for row in rows if row["combination"] == name]) for name in names}
    first = means[names[0]]["update_bytes"]
    return {name: {**own, "of_the_first": own["update_bytes"] / first} for name, own in means.items()}


def _means(rows: Sequence[Mapping[str, str]]) -> dict[str, float]:
    measured = [name for name in COLUMNS if name != "of_the_first"]
    return {name: math.fsum(float(row[name]) for row in rows) / len(rows) for name in measured}


def markdown(figures: Mapping[str, Figures]) -> str:
    """Return a table with a row per policy."""
    lines = [
        " | ".join(["| policy", *(heading for heading, _ in COLUMNS.values())]) + " |",
        "|---" + "|---:" * len(COLUMNS) + "|",
    ]
    for name, own in figures.items():
        cells = [text(own[column]) for column, (_, text) in COLUMNS.items()]
        lines.append(" | ".join([f"| `{name}`", *cells]) + " |")
    return "\n".join(lines)


def table_pattern(name: str) -> re.Pattern[str]:
    """Return the pattern of the table called *name* with the markers around it."""
    return re.compile(rf"(?<=<!-- {name} -->\n)(?:(?!<!--).)*?(?=\n<!-- end -->)", re.DOTALL)


def replace_tables(page: str, tables: Mapping[str, str]) -> str:
    """Return *page* with *tables* between their markers."""
    for name, table in tables.items():
        page, found = table_pattern(name).subn(lambda _, table=table: table, page)  # type: ignore[misc]  # bound now
        if found != 1:
            raise ValueError(f"page must hold the markers of table {name!r} once, holds {found}")
    return page


def main(folder: Path) -> None:
    """Rewrite the tables of the page from the sweeps in *folder*."""
    tables = {name: markdown(read_figures(folder / name)) for name in SWEEPS}
    PAGE.write_text(replace_tables(PAGE.read_text(encoding="utf-8"), tables), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
