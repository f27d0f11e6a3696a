"""One device of a finished run over time, as charts for a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.simulated.roster import DeviceRange
from emulator.live.device_rows import DeviceTables
from emulator.metrics.per_device import MeasuredRun
from emulator.report.axes import (
    BUDGET,
    FULL,
    HELD,
    Json,
    axis,
    byte_unit,
    json_numbers,
    line_style,
    maximum,
    step_style,
    time_axis,
    time_unit,
    transparent,
)
from emulator.report.figures import ReportFigure, View
from emulator.run_directory.event_reader import EventReader
from wire.errors import InputError
from wire.units import NS_PER_S, approximate_bytes

_SHOWN_EXCHANGES = 200


@dataclass(frozen=True)
class DeviceHistory:
    """The rows of one device."""

    name: str
    charts: Sequence[ReportFigure]
    exchanges: Sequence[Mapping[str, str]]
    """Its exchanges with the cloud, in order, with texts for people."""
    exchange_count: int


def device_history(run: MeasuredRun, name: str) -> DeviceHistory:
    """Return the history of device *name*.

    Raises:
        InputError: the run has no such device, or is damaged.
    """
    reader = EventReader(run.folder)
    number = run.ids.index(name).as_py()
    if number < 0:
        raise InputError(f"device(={name!r}) is not one of {run.folder}")
    (devices,) = (found for found in reader.ranges if found.first <= number < found.stop)
    stop_s = run.summary["simulated_seconds"]
    assert isinstance(stop_s, int | float)
    return history_from(name, _rows_of(reader, devices, number), stop_s)


def history_from(name: str, tables: DeviceTables, stop_s: float, *, newest: bool = False) -> DeviceHistory:
    """Return the history of device *name* from its rows, until *stop_s*.

    Args:
        name: its id.
        tables: its rows.
        stop_s: simulated time.
        newest: True to show its newest exchanges first; False: its first ones.
    """
    states, updates = tables["quality"], tables["update"]
    count = len(updates["t_ns"])
    shown = range(count)[::-1][:_SHOWN_EXCHANGES] if newest else range(min(count, _SHOWN_EXCHANGES))
    return DeviceHistory(
        name,
        [_memory_chart(states, stop_s), _quality_chart(states, stop_s)],
        [_exchange(updates, at) for at in shown],
        count,
    )


def _rows_of(reader: EventReader, devices: DeviceRange, number: int) -> DeviceTables:
    tables = reader.read_range(devices, ("quality", "update"))
    return {
        name: {column: values[table["device"] == number] for column, values in table.items()}
        for name, table in tables.items()
    }


def _memory_chart(states: Mapping[str, NDArray[Any]], stop_s: float) -> ReportFigure:
    x = _times(states, stop_s)
    budget, held = (_until_end(states[name]) for name in ("budget_bytes", "resident_bytes"))
    unit = byte_unit(maximum(budget, held))
    above = float((states["resident_bytes"] > states["budget_bytes"]).mean()) if len(states["t_ns"]) else 0.0
    finding = "It was never above it." if above == 0 else f"It was above it after {above:.1%} of its changes."
    return ReportFigure(
        "memory", "Memory", f"The bytes held follow the budget. {finding}",
        "Look for held bytes above the budget. A fall of both is an eviction, a step up an update.",
        [
            View(
                "device",
                [
                    _line("budget", x, budget / unit.size, BUDGET, unit.name),
                    _line("held", x, held / unit.size, HELD, unit.name),
                ],
                {"xaxis": time_axis(stop_s), "yaxis": axis(unit.name, rangemode="tozero")},
            )
        ],
        height=340,
    )  # fmt: skip


def _quality_chart(states: Mapping[str, NDArray[Any]], stop_s: float) -> ReportFigure:
    x = _times(states, stop_s)
    now, best, full = (
        _until_end(states[name]) for name in ("ndcg_at_10", "best_ndcg_at_10", "full_ndcg_at_10")
    )
    seconds = np.diff(np.append(states["t_ns"] / NS_PER_S, [stop_s])).clip(0)
    mean = float((states["ndcg_at_10"] * seconds).sum() / max(float(seconds.sum()), 1e-9))
    return ReportFigure(
        "quality", "Quality", f"NDCG@10 was {mean:.3f}, as a mean over time.",
        "NDCG@10 of what the device recommends. A gap below the best for the budget is the time that an "
        "update took.",
        [
            View(
                "device",
                [
                    _line("full table", x, full, FULL) | line_style(FULL, 1.5, dash="dash"),
                    _line("best for the budget", x, best, BUDGET)
                    | line_style(transparent(BUDGET, 0.45), 5),
                    _line("held", x, now, HELD),
                ],
                {"xaxis": time_axis(stop_s), "yaxis": axis("NDCG@10")},
            )
        ],
        height=340,
    )  # fmt: skip


def _line(name: str, x: Sequence[float | None], y: NDArray[Any], color: str, unit: str = "") -> Json:
    drawn: Json = {"x": x, "y": json_numbers(y), "hovertemplate": f"%{{y:.4g}} {unit}".rstrip()}
    return step_style(name, color) | drawn


def _times(states: Mapping[str, NDArray[Any]], stop_s: float) -> Sequence[float | None]:
    """Return the times of the states and of the end, in the unit of the axis."""
    return json_numbers(np.append(states["t_ns"] / NS_PER_S, [stop_s]) / time_unit(stop_s).size)


def _until_end(values: NDArray[Any]) -> NDArray[np.float64]:
    """Return *values* with the last one once more, which lasts until the end."""
    last = values[-1:] if len(values) else np.zeros(1)
    return np.concatenate([values, last]).astype(np.float64)


def _exchange(updates: Mapping[str, NDArray[Any]], at: int) -> dict[str, str]:
    row = {name: values[at].item() for name, values in updates.items()}
    took = (row["applied_ns"] - row["changed_ns"]) / NS_PER_S if row["applied_ns"] >= 0 else None
    return {
        "report": f"{row['seq']:,}",
        "sent after": f"{row['sent_ns'] / NS_PER_S:,.1f} s",
        "asked for": approximate_bytes(row["wanted_bytes"]),
        "blocks before": f"{row['held_before']:,}",
        "blocks after": f"{row['held']:,}",
        "update": approximate_bytes(row["update_bytes"]),
        "took": "not applied" if took is None else f"{took:.3g} s",
    }
