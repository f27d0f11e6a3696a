"""Sections on how runs differ: for each comparison its sides, warnings, and effects with intervals."""

from collections.abc import Sequence
from pathlib import Path

from emulator.compare.descriptions import (
    conclusion,
    headlines,
    list_warnings,
    metric_cells,
    title,
    verdict,
)
from emulator.compare.run_sets import Comparison
from emulator.report.page_parts import ReportCell, ReportRow, ReportSection, ReportTable, ReportText

_HEAD = ("metric", "baseline", "compared", "difference", "relative", "interval", "verdict")
_CAPTION = (
    "The statistics of peelfleet compare. Look at the verdict first: a metric differs where its interval "
    "leaves out no difference; all intervals of the page hold together."
)
_MATTERS = {
    "quality_ratio_to_full": "quality",
    "update_bytes_per_device_hour": "update bytes",
    "over_budget_share": "time over budget",
    "update_latency_p95_seconds": "latency (p95)",
}
"""The metrics of the sentence, with their names in it."""
_STATES = {"worse": "worst", "better": "passed"}


def comparison_sections(comparisons: Sequence[Comparison], most_open: int = 2) -> list[ReportSection]:
    """Return a section for each comparison; those after the first *most_open* are folded."""
    return [
        _section(f"comparison-{number}", comparison, folded=number > most_open)
        for number, comparison in enumerate(comparisons, start=1)
    ]


def comparison_sentence(comparison: Comparison) -> str:
    """Return one sentence on the differences between a set of runs and the baseline."""
    parts = []
    for metric, words in _MATTERS.items():
        judged = comparison.metrics.get(metric)
        if judged is not None:
            relative, word = metric_cells(metric, judged)[3], verdict(metric, judged)
            parts.append(f"{words} {word if relative == '-' else f'{relative} ({word})'}")
    differing = sum(judged.differs or judged.differs_here for judged in comparison.metrics.values())
    sides = side_names(comparison)
    return f"{sides}: {', '.join(parts)}; it differs in {differing} of {len(comparison.metrics)} metrics."


def side_names(comparison: Comparison) -> str:
    """Return the names of both sides."""
    return f"{Path(comparison.second.name).name} against {Path(comparison.first.name).name}"


def _section(name: str, comparison: Comparison, *, folded: bool) -> ReportSection:
    head, *differing = headlines(comparison)
    rows = []
    for metric, judged in comparison.metrics.items():
        word = verdict(metric, judged)
        state = _STATES.get(word.split(" ", 1)[0], "")
        cells = (*metric_cells(metric, judged), ReportCell(word, strong=bool(state)))
        rows.append(ReportRow([metric, *cells], "worst" if state == "worst" else "passed" if state else ""))
    return ReportSection(
        name, side_names(comparison), conclusion(comparison).removeprefix("verdict: ").capitalize(), _CAPTION,
        [
            ReportText(
                [each.strip() for each in (head, *differing, *list_warnings(comparison))], listed=True
            ),
            ReportText([f"{title(comparison).capitalize()}."]),
            ReportTable(f"Effects: {head}", _HEAD, rows),
        ],
        folded=folded,
    )  # fmt: skip
