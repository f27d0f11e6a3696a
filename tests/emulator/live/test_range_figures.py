"""The figures of ranges of devices, all of them, are those that a person counts row by row."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from devices.event_log import COLUMNS, ExchangeResult, row_type
from emulator.live.range_figures import MOMENTS, RangeFigures
from wire.units import NS_PER_S

STEP_NS = NS_PER_S
STOP_NS = MOMENTS * STEP_NS
GROUPS = ("phone", "tablet", "tvbox")
GROUP_OF = {3: "phone", 5: "tvbox", 6: "phone", 9: "tablet"}

SEEDS, SIZES = st.integers(0, 2**32), st.integers(0, 40)

Row = dict[str, Any]  # Any: a number of any kind


def logged_rows(seed: int, most: int) -> tuple[list[Row], list[Row]]:
    """Return rows of both tables, those of a device in the order of time; at most so many of a device."""
    random = np.random.default_rng(seed)
    quality: list[Row] = []
    update: list[Row] = []

    def moments() -> list[int]:
        steps = random.integers(0, 2 * MOMENTS + 4, random.integers(0, most + 1))
        return sorted((steps * (STEP_NS // 2)).tolist())  # also at the very moment

    for device in GROUP_OF:
        for t_ns in moments():
            budget, held, ndcg, best, online = random.integers(0, (5000, 4000, 65, 65, 2)).tolist()
            quality.append(
                {
                    "t_ns": t_ns, "device": device, "online": bool(online), "budget_bytes": budget,
                    "resident_bytes": held, "ndcg_at_10": ndcg / 64, "best_ndcg_at_10": best / 64,
                }
            )  # fmt: skip
        for t_ns in moments():
            changed_ns, size, result = random.integers(0, (t_ns + 1, 5000, len(ExchangeResult))).tolist()
            times = {"t_ns": t_ns, "changed_ns": changed_ns, "applied_ns": t_ns}
            update.append({"device": device, "result": ExchangeResult(result), "update_bytes": size, **times})
    return quality, update


def packed(name: str, rows: Sequence[Row]) -> NDArray[Any]:
    """Return rows as a table."""
    table = np.zeros(len(rows), dtype=row_type(COLUMNS[name]))
    for place, row in enumerate(rows):
        for column, value in row.items():
            table[place][column] = value
    return table


def figures_of(groups: Mapping[int, str], tables: tuple[Sequence[Row], Sequence[Row]]) -> RangeFigures:
    """Return the figures of some devices."""
    figures = RangeFigures(STOP_NS, GROUPS)
    figures.add_devices(groups)
    for name, rows in zip(("quality", "update"), tables, strict=True):
        if rows:
            table = packed(name, rows)
            figures.add_rows(name, {column: table[column] for column in COLUMNS[name]})
    return figures


def newest_rows(rows: Sequence[Row], end_ns: int) -> dict[int, Row]:
    """Return the last row of each device until a moment."""
    return {row["device"]: row for row in rows if row["t_ns"] <= end_ns}


def counted_columns(quality: Sequence[Row], update: Sequence[Row]) -> dict[str, list[float | None]]:
    """Return the columns, counted row by row; those of percentiles are left out."""
    names: tuple[str, ...] = (
        "t_s",
        "online",
        "budget_bytes",
        "held_bytes",
        "over_budget",
        "ndcg",
        "best_ndcg",
    )
    names += ("reports_per_s", "update_bytes_per_s", "lost")
    columns: dict[str, list[float | None]] = {name: [] for name in names}
    lost = 0
    for moment in range(MOMENTS):
        begin_ns, end_ns = moment * STEP_NS, (moment + 1) * STEP_NS
        if moment == 0:
            begin_ns = -1
        if moment == MOMENTS - 1:
            end_ns = STOP_NS + 2 * NS_PER_S  # what is logged at the very end belongs to the last moment
        states = newest_rows(quality, end_ns).values()
        ended = [row for row in update if begin_ns < row["t_ns"] <= end_ns]
        lost += sum(row["result"] == ExchangeResult.LOST for row in ended)
        values: tuple[float | None, ...] = (
            (moment + 1) * STEP_NS / NS_PER_S,
            sum(row["online"] for row in states),
            sum(row["budget_bytes"] for row in states),
            sum(row["resident_bytes"] for row in states),
            sum(row["resident_bytes"] > row["budget_bytes"] for row in states),
            sum(row["ndcg_at_10"] for row in states) / len(states) if states else None,
            sum(row["best_ndcg_at_10"] for row in states) / len(states) if states else None,
            len(ended) * NS_PER_S / STEP_NS,
            sum(row["update_bytes"] for row in ended) * NS_PER_S / STEP_NS,
            lost,
        )
        for name, value in zip(names, values, strict=True):
            columns[name].append(value)
    return columns


def numbers(values: Sequence[float | None]) -> list[float]:
    """Return values with a number that is none in place of None."""
    return [np.nan if value is None else value for value in values]


def counted_percentile(update: Sequence[Row], moment: int, percent: float) -> float | None:
    """Return the nearest rank of the latencies of one moment, in seconds."""
    latencies = sorted(
        row["applied_ns"] - row["changed_ns"]
        for row in update
        if min(max((row["t_ns"] - 1) // STEP_NS, 0), MOMENTS - 1) == moment
        and row["result"] == ExchangeResult.APPLIED
    )
    if not latencies:
        return None
    return float(latencies[int(np.ceil(percent * len(latencies) / 100)) - 1] / NS_PER_S)


@given(SEEDS, SIZES)
def test_all_figures_are_those_counted_row_by_row(seed: int, most: int) -> None:
    quality, update = tables = logged_rows(seed, most)
    figures = figures_of(GROUP_OF, tables)
    columns = figures.columns()
    for name, counted in counted_columns(quality, update).items():
        assert numbers(columns[name]) == pytest.approx(numbers(counted), rel=1e-5, nan_ok=True), name
    for percent in (50, 95, 99):
        counted = [counted_percentile(update, moment, percent) for moment in range(MOMENTS)]
        shown = numbers(columns[f"p{percent}_s"])
        assert shown == pytest.approx(numbers(counted), rel=0.07, nan_ok=True), percent  # nine per cent wide
    assert columns["in_flight"] == columns["lag_ms"] == [None] * MOMENTS
    last, rows = newest_rows(quality, STOP_NS + 2 * NS_PER_S), []
    for group in GROUPS:
        members = [device for device, name in GROUP_OF.items() if name == group]
        states = [last[device] for device in members if device in last]
        best = sum(row["best_ndcg_at_10"] for row in states)
        share = sum(row["ndcg_at_10"] for row in states) / best if best else None
        sums = [sum(row[name] for row in states) for name in ("online", "budget_bytes", "resident_bytes")]
        over = sum(row["resident_bytes"] > row["budget_bytes"] for row in states)
        rows.append(
            [group, len(members), *sums, over, None if share is None else pytest.approx(share, rel=1e-5)]
        )
    assert figures.group_rows() == rows


@given(SEEDS, SIZES)
def test_the_figures_of_parts_add_up_in_another_process(seed: int, most: int) -> None:
    tables = logged_rows(seed, most)
    total = RangeFigures(STOP_NS, GROUPS)
    for number, group in GROUP_OF.items():
        own = ([row for row in rows if row["device"] == number] for rows in tables)
        part = figures_of({number: group}, tuple(own))  # type: ignore[arg-type]  # a tuple of two
        total.merge(total.with_content(part.as_bytes()))
    whole = figures_of(GROUP_OF, tables)
    assert total.devices == whole.devices == len(GROUP_OF)
    assert total.columns() == whole.columns()
    assert total.group_rows() == whole.group_rows()
