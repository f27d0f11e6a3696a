"""The figures of a fleet whose devices are simulated range after range: at moments of simulated time.

No range waits for the others, so the fleet as a whole is nowhere at any moment. But its sums at a moment of
simulated time are sums over the devices that are done, and each range adds its own.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from devices.event_log import ExchangeResult
from emulator.live.status_series import PERCENTS, group_rows, rounded
from emulator.metrics.histogram import bucket_numbers
from emulator.metrics.live_status import live_groups
from wire.units import NS_PER_S

MOMENTS: Final = 60
"""Moments of simulated time, at equal distances; the last one is the end."""
_PER_DOUBLING, _BUCKETS = 8, 8 * 48
"""Buckets of latencies: nine per cent wide, and enough for three days."""
_MOST_LATENCIES: Final = 20_000
"""Latencies that are counted of the rows of one call; of more, every second or third one is."""
_STATES: Final = ("online", "budget_bytes", "resident_bytes", "over", "ndcg_at_10", "best_ndcg_at_10")

Columns = Mapping[str, NDArray[Any]]  # Any: of several types


class RangeFigures:
    """Sums over devices at moments of simulated time.

    Args:
        stop_ns: the end of simulated time.
        groups: the names of the groups of the fleet.
    """

    def __init__(self, stop_ns: int, groups: Sequence[str]) -> None:
        self._step_ns = max(-(-stop_ns // MOMENTS), 1)
        self._groups = list(groups)
        self._places = {name: place for place, name in enumerate(self._groups)}
        self._numbers = self._group_of = np.empty(0, dtype=np.int64)
        shapes = {
            "states": (len(_STATES), MOMENTS),
            "counts": (4, MOMENTS),  # reports, lost, update bytes, devices that have started
            "latencies": (MOMENTS, _BUCKETS),
            "groups": (1 + len(_STATES), len(self._groups)),
        }
        sizes = [math.prod(shape) for shape in shapes.values()]
        self._values = np.zeros(sum(sizes))
        pieces = np.split(self._values, np.cumsum(sizes)[:-1])
        self._arrays = {
            name: piece.reshape(shape) for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
        }
        """Parts of the values, by name."""

    @property
    def devices(self) -> int:
        """The devices that are done."""
        return int(self._arrays["groups"][0].sum())

    def add_devices(self, groups: Mapping[int, str]) -> None:
        """Add some devices; their rows come next.

        Args:
            groups: the group of each device, by its number; the numbers rise.
        """
        self._numbers = np.array(list(groups), dtype=np.int64)
        self._group_of = np.array([self._places[name] for name in groups.values()], dtype=np.int64)
        self._arrays["groups"][0] += np.bincount(self._group_of, minlength=len(self._groups))

    def add_rows(self, name: str, columns: Columns) -> None:
        """Add all rows of a table, at least one, of the devices that were added last.

        Args:
            name: of the table.
            columns: its columns, by device and time.
        """
        if name == "quality":
            self._add_states(columns)
        elif name == "update":
            self._add_exchanges(columns)

    def merge(self, other: "RangeFigures") -> None:
        """Add the figures of other devices."""
        self._values += other._values

    def as_bytes(self) -> bytes:
        """Return the figures for another process of this machine."""
        return self._values.tobytes()

    def with_content(self, content: bytes) -> "RangeFigures":
        """Return the figures that `as_bytes` of another process has returned.

        Raises:
            ValueError: it is not whole.
        """
        read = RangeFigures(MOMENTS * self._step_ns, self._groups)
        read._values[:] = np.frombuffer(content)
        return read

    def columns(self) -> dict[str, Sequence[float | None]]:
        """Return the columns of a page."""
        online, budget, held, over, ndcg, best = (row.tolist() for row in self._arrays["states"])
        counts, seconds = self._arrays["counts"], self._step_ns / NS_PER_S
        reports, lost, size, started = (row.tolist() for row in counts)
        percentiles = self._percentiles()
        return {
            "t_s": [rounded((at + 1) * seconds) for at in range(MOMENTS)],
            "online": online,
            "budget_bytes": budget,
            "held_bytes": held,
            "over_budget": over,
            "ndcg": _means(ndcg, started),
            "best_ndcg": _means(best, started),
            "reports_per_s": [rounded(value / seconds) for value in reports],
            "update_bytes_per_s": [rounded(value / seconds) for value in size],
            **{f"p{percent:g}_s": column for percent, column in zip(PERCENTS, percentiles, strict=True)},
            "in_flight": [None] * MOMENTS,
            "lost": np.cumsum(lost).tolist(),
            "lag_ms": [None] * MOMENTS,
        }

    def group_rows(self) -> list[list[object]]:
        """Return a row for each group: its devices at the end of simulated time."""
        return group_rows(live_groups(self._groups, list(self._arrays["groups"])))

    def _percentiles(self) -> list[list[float | None]]:
        """Return the percentiles of the latencies at each moment, in seconds."""
        found: list[list[float | None]] = []
        done = np.cumsum(self._arrays["latencies"], axis=1)
        for percent in PERCENTS:
            places = [int(np.searchsorted(row, row[-1] * percent / 100)) for row in done]
            found.append(
                [
                    rounded(float(_middle_ns(place)) / NS_PER_S) if row[-1] else None
                    for place, row in zip(places, done, strict=True)
                ]
            )
        return found

    def _add_states(self, columns: Columns) -> None:
        moment, ends = self._moment_ends(columns)
        # The state at a moment is that of the last row before it: all other rows of the step are left out.
        moment, device = moment[ends], columns["device"][ends]
        values = {name: columns[name][ends] for name in _STATES if name != "over"}
        values["over"] = values["resident_bytes"] > values["budget_bytes"]
        is_last = np.append(device[1:] != device[:-1], True)
        until = np.where(is_last, MOMENTS, np.append(moment[1:], MOMENTS))
        last_group = self._group_of[np.searchsorted(self._numbers, device[is_last])]
        for place, name in enumerate(_STATES):
            self._arrays["states"][place] += _held(values[name], moment, until)
            in_groups = np.bincount(last_group, values[name][is_last], len(self._groups))
            self._arrays["groups"][1 + place] += in_groups
        self._arrays["counts"][3] += _held(np.ones(len(ends)), moment, until)

    def _add_exchanges(self, columns: Columns) -> None:
        moment, ends = self._moment_ends(columns)
        result, begins = columns["result"], np.append(0, ends[:-1] + 1)
        sizes = np.add.reduceat(columns["update_bytes"], begins)
        counts = self._arrays["counts"]
        counts[0] += np.bincount(moment[ends], ends + 1 - begins, MOMENTS)
        counts[1] += np.bincount(moment[result == ExchangeResult.LOST], minlength=MOMENTS)
        counts[2] += np.bincount(moment[ends], sizes, MOMENTS)
        applied = np.flatnonzero(result == ExchangeResult.APPLIED)
        applied = applied[:: -(-len(applied) // _MOST_LATENCIES) or 1]
        latency = columns["applied_ns"][applied] - columns["changed_ns"][applied]
        bucket = np.minimum(bucket_numbers(latency, _PER_DOUBLING), _BUCKETS - 1)
        cells = np.bincount(moment[applied] * _BUCKETS + bucket, minlength=MOMENTS * _BUCKETS)
        self._arrays["latencies"] += cells.reshape(MOMENTS, _BUCKETS)

    def _moment_ends(self, columns: Columns) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first moment that is not before each row, and the last row of each device and moment."""
        device = columns["device"]
        moment = (columns["t_ns"] - 1) // self._step_ns
        np.clip(moment, 0, MOMENTS - 1, out=moment)
        ends = np.flatnonzero((device[1:] != device[:-1]) | (moment[1:] != moment[:-1]))
        return moment, np.append(ends, len(device) - 1)


def _held(values: NDArray[Any], moment: NDArray[np.int64], until: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the sum at each moment of values that hold from one moment until another."""
    begun = np.bincount(moment, values, MOMENTS + 1)
    ended = np.bincount(until, values, MOMENTS + 1)
    sums: NDArray[np.float64] = np.cumsum(begun - ended)[:MOMENTS]
    return sums


def _means(sums: Sequence[float], numbers: Sequence[float]) -> list[float | None]:
    return [rounded(value / number) if number else None for value, number in zip(sums, numbers, strict=True)]


def _middle_ns(bucket: int) -> float:
    """Return about the middle of a bucket."""
    if bucket == 0:
        return 0.0
    exponent, within = divmod(bucket - 1, _PER_DOUBLING)
    return float((1 + (within + 0.5) / _PER_DOUBLING) * 2.0**exponent)
