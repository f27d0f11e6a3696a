"""The table of docs/realtime.md that compares one scenario under two clocks.

``make docs-realtime`` runs the scenario that the page shows, under ``virtual`` and under ``realtime``, and
rewrites the table between the page's markers.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.traffic import replace_tables

PAGE = Path(__file__).resolve().parents[1] / "docs" / "realtime.md"
NAME = "both-clocks"
SPEED = 20

Summary = Mapping[str, Any]  # Any: JSON


def _applied_updates(summary: Summary) -> str:
    counts = [summary[f"updates_{end}"] for end in ("applied", "confirmed", "superseded")]
    return f"{' + '.join(f'{count:,}' for count in counts)} = {sum(counts):,}"


def _seconds(key: str) -> Callable[[Summary], str]:
    """Return a function that formats p50 and p95 of a figure in seconds; empty if the clock has none."""

    def write(summary: Summary) -> str:
        figure = summary.get(key)
        return "" if figure is None else f"{figure['p50']:.3g}, {figure['p95']:.3g}"

    return write


ROWS: Mapping[str, Callable[[Summary], str]] = {
    "`wall_seconds`": lambda summary: f"{summary['wall_seconds']:.1f}",
    "`budget_changes`, `budget_reports`": lambda summary: (
        f"{summary['budget_changes']:,}, {summary['budget_reports']:,}"
    ),
    "applied + confirmed + superseded": _applied_updates,
    "`updates_lost`": lambda summary: f"{summary['updates_lost']:,}",
    "`report_bytes`": lambda summary: f"{summary['report_bytes']:,}",
    "`ndcg_at_10`": lambda summary: f"{summary['ndcg_at_10']:.4f}",
    "`update_latency_seconds` p50, p95": _seconds("update_latency_seconds"),
    "uplink, p50 and p95 of that": _seconds("latency_uplink_seconds"),
    "at the cloud (`latency_selection_seconds`) p50, p95": _seconds("latency_selection_seconds"),
    "downlink, p50 and p95": _seconds("latency_downlink_seconds"),
    "`round_trip_seconds` p50, p95, by the wall clock": _seconds("round_trip_seconds"),
}
"""Each row of the table: its heading, and how the figure of one run is written."""
WALL = ("`wall_seconds`",)
"""Rows that no two runs have alike, whatever the clock."""


def scenario_text() -> str:
    """Return the scenario file that the page shows."""
    block = re.search(
        rf"```\n(version: 1\nname: {NAME}\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL
    )
    assert block is not None, f"{PAGE.name} must show the scenario {NAME}"
    return block[1]


def cells(summary: Summary) -> dict[str, str]:
    """Return the column of a run, by the headings of the rows."""
    return {heading: write(summary) for heading, write in ROWS.items()}


def markdown(virtual: Summary, realtime: Summary) -> str:
    """Return the table."""
    left, right = cells(virtual), cells(realtime)
    head = [f"| two shared cores, one run each | `virtual` | `realtime`, speed {SPEED} |", "|---|---|---|"]
    return "\n".join(head + [f"| {heading} | {left[heading]} | {right[heading]} |" for heading in ROWS])


def main() -> None:
    """Run the scenario under both clocks and rewrite the table of the page."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{NAME}.yaml"
        file.write_text(scenario_text(), encoding="utf-8")
        summaries = [run_under(clock, file) for clock in ("virtual", "realtime")]
    page = replace_tables(PAGE.read_text(encoding="utf-8"), {NAME: markdown(*summaries)})
    PAGE.write_text(page, encoding="utf-8")


def run_under(clock: str, file: Path) -> Summary:
    """Run the scenario *file* under *clock* and return its summary.

    Raises:
        SystemExit: the run failed; it has printed why.
    """
    out = file.parent / clock
    command = [sys.executable, "-m", "emulator.cli", "run", file.name, "--clock", clock, "--out", str(out)]
    speed = ["--speed", str(SPEED)] if clock == "realtime" else []
    status = subprocess.run([*command, *speed], cwd=file.parent, check=False).returncode
    if status != 0:
        sys.exit(f"{file.stem}, {clock} clock: the run ended with status {status}; {PAGE.name} is as it was")
    (summary,) = out.glob("*/summary.json")
    found: Summary = msgspec.json.decode(summary.read_bytes())
    return found


if __name__ == "__main__":
    main()
