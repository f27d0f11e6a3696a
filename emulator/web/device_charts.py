"""One device of a finished run over time, as charts for a page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from devices.simulated.roster import DeviceRange
from emulator.metrics.per_device import MeasuredRun
from emulator.run_directory.event_reader import EventReader
from wire.errors import InputError
from wire.units import NS_PER_S, approximate_bytes

Json = dict[str, Any]  # Any: JSON

_SHOWN_EXCHANGES = 200


@dataclass(frozen=True)
class DeviceChart:
    """A chart of one device."""

    name: str
    title: str
    caption: str
    """A text that says what to look for; it stands in for the picture where that is not seen."""
    data: Sequence[Json]
    layout: Json


@dataclass(frozen=True)
class DeviceHistory:
    """The rows of one device."""

    name: str
    charts: Sequence[DeviceChart]
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
    tables = _rows_of(reader, devices, number)
    updates = tables["update"]
    shown = range(min(len(updates["t_ns"]), _SHOWN_EXCHANGES))
    return DeviceHistory(
        name,
        [_memory_chart(tables["quality"], run.summary), _quality_chart(tables["quality"], run.summary)],
        [_exchange(updates, at) for at in shown],
        len(updates["t_ns"]),
    )


def _rows_of(
    reader: EventReader, devices: DeviceRange, number: int
) -> dict[str, dict[str, NDArray[Any]]]:  # Any: of several types
    tables = reader.read_range(devices, ("quality", "update"))
    return {
        name: {column: values[table["device"] == number] for column, values in table.items()}
        for name, table in tables.items()
    }


def _memory_chart(states: Mapping[str, NDArray[Any]], summary: Mapping[str, object]) -> DeviceChart:
    hours = _hours(states, summary)
    budget, held = (_until_end(states[name]) / 1024 for name in ("budget_bytes", "resident_bytes"))
    above = float((states["resident_bytes"] > states["budget_bytes"]).mean()) if len(states["t_ns"]) else 0.0
    verdict = "It was never above it." if above == 0 else f"It was above it after {above:.1%} of its changes."
    return DeviceChart(
        "memory",
        "Memory",
        f"The bytes held follow the budget. {verdict}",
        [_line("budget", hours, budget, dash="dot"), _line("held", hours, held)],
        {"yaxis": {"title": {"text": "KiB"}, "rangemode": "tozero"}, "xaxis": {"title": {"text": "hours"}}},
    )


def _quality_chart(states: Mapping[str, NDArray[Any]], summary: Mapping[str, object]) -> DeviceChart:
    hours = _hours(states, summary)
    lines = [
        _line("now", hours, _until_end(states["ndcg_at_10"])),
        _line("best for the budget", hours, _until_end(states["best_ndcg_at_10"]), dash="dot"),
        _line("whole table", hours, _until_end(states["full_ndcg_at_10"]), dash="dash"),
    ]
    return DeviceChart(
        "quality",
        "Quality",
        "NDCG@10 of what the device recommends. A gap below the best for the budget is the time that an "
        "update took.",
        lines,
        {"yaxis": {"title": {"text": "NDCG@10"}}, "xaxis": {"title": {"text": "hours"}}},
    )


def _line(name: str, x: NDArray[np.float64], y: NDArray[Any], dash: str = "solid") -> Json:
    return {
        "type": "scatter", "mode": "lines", "name": name, "x": x.round(5).tolist(), "y": y.round(6).tolist(),
        "line": {"shape": "hv", "dash": dash},
    }  # fmt: skip


def _hours(states: Mapping[str, NDArray[Any]], summary: Mapping[str, object]) -> NDArray[np.float64]:
    seconds = summary["simulated_seconds"]
    assert isinstance(seconds, int | float)
    return np.append(states["t_ns"] / NS_PER_S, [seconds]) / 3600


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
