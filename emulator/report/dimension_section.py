"""The section of a report on parts of the fleet and of the time: metrics by dimension."""

from collections.abc import Mapping

import pyarrow as pa

from emulator.metrics.by_dimension import ALL
from emulator.report.page_parts import ReportCell, ReportChoice, ReportRow, ReportSection, ReportTable
from emulator.report.tables import formatted

Cells = Mapping[tuple[str, str], float | None]
"""Numbers of one value of a dimension, by metric and statistic."""

_LOWEST = ("quality_ratio_to_full", "value")
_ORDERED = ("stage", "pressure", "budget_decile", "budget_range")
"""Dimensions whose values have a natural order; for others the lowest quality is shown first."""
_COLUMNS = (
    ("budget changes", ("budget_changes", "total"), "count"),
    ("reports", ("budget_reports", "total"), "count"),
    ("updates applied", ("updates_applied", "total"), "count"),
    ("update bytes", ("update_bytes", "total"), "bytes"),
    ("of full pushes", ("delta_ratio", "value"), "share"),
    ("wasted", ("wasted_share", "value"), "share"),
    ("latency p50", ("update_latency_seconds", "p50"), "seconds"),
    ("latency p95", ("update_latency_seconds", "p95"), "seconds"),
    ("over budget", ("over_budget_share", "value"), "share"),
    ("time to fit p95", ("time_to_fit_seconds", "p95"), "seconds"),
    ("online", ("online_share", "value"), "share"),
    ("NDCG@10", ("ndcg_at_10", "mean"), "decimal"),
    ("of full quality", _LOWEST, "share"),
    ("regret", ("quality_regret", "mean"), "decimal"),
)
_CAPTION = (
    "The same numbers for parts of the fleet and of the time. Look for the row that is marked: it has the "
    "lowest quality. All metrics by every dimension are in the file metrics.parquet of the run."
)


def dimensions_section(measured: pa.Table | None) -> ReportSection | None:
    """Return the section of metrics by dimension, from the table of all metrics; None without it."""
    if measured is None:
        return None
    cells: dict[str, dict[str, dict[tuple[str, str], float | None]]] = {}
    shown = {pair for _, pair, _ in _COLUMNS}
    columns = (measured[name].to_pylist() for name in ("metric", "dimension", "value", "statistic", "number"))
    for metric, dimension, value, statistic, number in zip(*columns, strict=True):
        if (metric, statistic) in shown:
            cells.setdefault(dimension, {}).setdefault(value, {})[metric, statistic] = number
    fleet = cells.pop(ALL, {}).get("", {})
    # Dimensions that only some metrics have are left out.
    general = [name for name, values in cells.items() if all(_LOWEST in own for own in values.values())]
    if not general:
        return None
    return ReportSection(
        "splits", "By dimension", f"The fleet by {', '.join(name.replace('_', ' ') for name in general)}.",
        _CAPTION,
        [ReportChoice("split", "by", [_dimension_table(name, cells[name], fleet) for name in general])],
        folded=True,
    )  # fmt: skip


def _has_values(cells: Cells) -> bool:
    return any(number for number in cells.values())


def _dimension_table(name: str, values: Mapping[str, Cells], fleet: Cells) -> ReportTable:
    used = {value: cells for value, cells in values.items() if _has_values(cells)}
    ratios = {value: cells[_LOWEST] for value, cells in used.items() if cells[_LOWEST] is not None}
    lowest = min(ratios, key=lambda value: ratios[value] or 0.0) if len(set(ratios.values())) > 1 else None
    order = [*used]
    if name not in _ORDERED and lowest is not None:
        order.sort(key=lambda value: value != lowest)
    rows = [_dimension_row(value, used[value], worst=value == lowest) for value in order]
    return ReportTable(
        name, [name, *(title for title, _, _ in _COLUMNS)], [*rows, _dimension_row(ALL, fleet, worst=False)]
    )


def _dimension_row(value: str, cells: Cells, *, worst: bool) -> ReportRow:
    shown = [formatted(cells.get(pair), form) for _, pair, form in _COLUMNS]
    return ReportRow([ReportCell(value, mark="lowest" if worst else ""), *shown], "worst" if worst else "")
