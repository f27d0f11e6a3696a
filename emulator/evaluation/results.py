"""The result of an evaluation: a tidy table, tables for print, and a chart."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from emulator.evaluation.budgets import MemoryBudget
from emulator.evaluation.measure import Measurement
from emulator.evaluation.statistics import METRIC_NAMES, Vary, interval_text, over_seeds, share_over_seeds
from emulator.exports.chart import Chart, ChartPanel, ChartSeries
from emulator.exports.figure_file import to_plotly, write_figure
from emulator.exports.mean_interval import LEVEL
from emulator.exports.printed_table import IntervalCell, PrintedTable
from emulator.exports.table_file import write_table
from wire.errors import InputError
from wire.units import format_bytes

if TYPE_CHECKING:
    import plotly.graph_objects as go

FULL: Final = "full"
"""The policy that is the whole table in fp32."""
DEFAULT_METRICS: Final = ("ndcg_at_20", "tail_recall_at_20")
_TITLES: Final = {
    "ndcg_at_20": "NDCG@20",
    "recall_at_20": "Recall@20",
    "tail_recall_at_20": "Tail recall@20",
    "ndcg_at_50": "NDCG@50",
    "recall_at_50": "Recall@50",
    "ndcg_at_100": "NDCG@100",
    "recall_at_100": "Recall@100",
    "coverage": "Coverage",
}
_DESCRIPTIONS: Final = {
    "scenario": "name of the scenario",
    "policy": "name of the policy or baseline",
    "budget": "the budget as it was given; of a method of one size, that size",
    "budget_bytes": "the budget in bytes",
    "stored_bytes": "bytes that a device stores, mean over seeds; for PEEL the largest of all user groups",
    "metric": "name of the metric; test items, all other items ranked",
    "seeds": "number of seeds with a value",
    "mean": "mean over seeds",
    "half_width": f"half the width of the interval of {LEVEL:.0%} of the mean",
    "deviation": "standard deviation between what the interval is over",
    "over": "what the interval is over",
    "share_of_full": "mean over seeds of the metric as a share of that of full, the whole table in fp32",
    "share_half_width": "half the width of the interval of 95% of share_of_full, seeds or users in pairs",
}


@dataclass(frozen=True)
class EvaluationRow:
    """One metric of one policy at one budget."""

    scenario: str
    policy: str
    budget: str
    budget_bytes: int
    stored_bytes: float
    metric: str
    seeds: int
    mean: float
    half_width: float | None
    deviation: float | None
    over: str
    share_of_full: float | None
    share_half_width: float | None

    def cell(self, *, shares: bool) -> IntervalCell:
        """Return the mean with its interval, or with *shares* that of the share of the whole table."""
        if shares:
            return IntervalCell(self.share_of_full, self.share_half_width)
        return IntervalCell(self.mean, self.half_width)


@dataclass(frozen=True)
class PolicyResult:
    """The measurements of one policy on one scenario: by the text of the budget, one for each seed."""

    scenario: str
    policy: str
    by_budget: Mapping[str, Sequence[Measurement | None]]

    def points(self) -> Iterator[tuple[str, Mapping[int, Measurement]]]:
        """Yield each budget with its measurements by index of the seed; of one size there is one budget."""
        for text, measurements in self.by_budget.items():
            present = {at: each for at, each in enumerate(measurements) if each is not None}
            first = next(iter(present.values()), None)
            if first is not None and first.one_size:
                yield format_bytes(first.budget_bytes), present
                return
            if first is not None:
                yield text, present


@dataclass(frozen=True)
class Evaluation:
    """Quality against bytes of all policies; `table` has every figure."""

    rows: tuple[EvaluationRow, ...]
    budgets: tuple[MemoryBudget, ...]
    over: str
    """The seeds or users that the intervals are over, in words."""
    data: str
    """Name of the data."""

    @property
    def table(self) -> pa.Table:
        """The tidy table: a row per scenario, policy, budget and metric."""
        columns = {name: [getattr(row, name) for row in self.rows] for name in _DESCRIPTIONS}
        types = {str: pa.string(), int: pa.int64()}
        fields = [
            pa.field(
                name,
                types.get(EvaluationRow.__annotations__[name], pa.float64()),
                metadata={"description": text},
            )
            for name, text in _DESCRIPTIONS.items()
        ]
        return pa.table(columns, schema=pa.schema(fields))

    def printed(
        self, metrics: Sequence[str] = DEFAULT_METRICS, *, shares: bool = False
    ) -> list[PrintedTable]:
        """Return a table for people for each of *metrics*: a row per policy, a column per budget.

        With *shares* figures are shares of those of the whole table.

        Raises:
            InputError: a metric is not known.
        """
        return [self._printed(metric, shares=shares) for metric in check_metrics(metrics)]

    def chart(self, metrics: Sequence[str] = DEFAULT_METRICS, *, shares: bool = False) -> Chart:
        """Return the chart with a panel for each of *metrics*, see `printed`.

        Raises:
            InputError: a metric is not known.
        """
        panels = [
            ChartPanel(
                "bytes stored", _title(metric, shares=shares), list(self._series(metric, shares=shares))
            )
            for metric in check_metrics(metrics)
        ]
        return Chart("bytes", panels, f"{self.data}; ±: {self.over}")

    def figure(self, metrics: Sequence[str] = DEFAULT_METRICS, *, shares: bool = False) -> "go.Figure":
        """Return the chart as a figure of plotly."""
        return to_plotly(self.chart(metrics, shares=shares))

    def write_table(
        self, file: Path | str, metrics: Sequence[str] = DEFAULT_METRICS, *, shares: bool = False
    ) -> None:
        """Write the table to *file*: `.csv` and `.parquet` with all columns, `.tex` and `.md` for print.

        Raises:
            InputError: the ending is none of these.
        """
        write_table(self.table, self.printed(metrics, shares=shares), Path(file))

    def write_figure(
        self, file: Path | str, metrics: Sequence[str] = DEFAULT_METRICS, *, shares: bool = False
    ) -> None:
        """Draw the figure into *file*: `.svg` and `.png` by matplotlib, `.html` by plotly.

        Raises:
            InputError: the ending is none of these, or matplotlib is not installed.
        """
        write_figure(self.chart(metrics, shares=shares), Path(file))

    def _labels(self) -> dict[tuple[str, str], str]:
        """Return the name of each curve: that of the scenario, too, where there are several."""
        keys = dict.fromkeys((row.scenario, row.policy) for row in self.rows)
        several = len({scenario for scenario, _ in keys}) > 1
        return {key: f"{key[0]}: {key[1]}" if several else key[1] for key in keys}

    def _of(self, metric: str, key: tuple[str, str]) -> list[EvaluationRow]:
        return [row for row in self.rows if row.metric == metric and (row.scenario, row.policy) == key]

    def _series(self, metric: str, *, shares: bool) -> Iterator[ChartSeries]:
        for key, label in self._labels().items():
            rows = sorted(self._of(metric, key), key=lambda row: row.budget_bytes)
            points = [
                (row.stored_bytes, cell.mean, cell.half_width)
                for row in rows
                for cell in [row.cell(shares=shares)]
                if row.stored_bytes > 0 and cell.mean is not None  # the axis is logarithmic
            ]
            if points:
                sizes, means, widths = zip(*points, strict=True)
                level = key[1] == FULL
                name = f"{label} ({rows[0].budget_bytes:,} B)" if level else label
                yield ChartSeries(name, sizes, means, widths, level)

    def _printed(self, metric: str, *, shares: bool) -> PrintedTable:
        texts = [budget.text for budget in self.budgets]
        cells, alone = {}, []
        for key, label in self._labels().items():
            rows = self._of(metric, key)
            by_budget = {row.budget: row.cell(shares=shares) for row in rows}
            if len(rows) == 1 and rows[0].budget not in texts:
                size = f"{rows[0].budget_bytes:,} B"
                alone.append(f"{label} ({size}): {rows[0].cell(shares=shares).text()}")
            else:
                cells[label] = [by_budget.get(text, IntervalCell(None)) for text in texts]
        sizes = "".join(f" {text}." for text in alone)
        of_full = ", as a share of full" if shares else ""
        caption = f"{_TITLES[metric]} on {self.data}{of_full}.{sizes} ±: {self.over}."
        return PrintedTable(caption, "policy", texts, cells)


def _title(metric: str, *, shares: bool) -> str:
    return f"{_TITLES[metric]}, share of full" if shares else _TITLES[metric]


def check_metrics(metrics: Sequence[str]) -> Sequence[str]:
    """Return *metrics*.

    Raises:
        InputError: one is not known, or there is none.
    """
    for metric in metrics or ("",):
        if metric not in METRIC_NAMES:
            raise InputError(f"metric(={metric!r}) must be one of {', '.join(METRIC_NAMES)}")
    return metrics


def build_evaluation(
    results: Sequence[PolicyResult], budgets: tuple[MemoryBudget, ...], vary: Vary, seeds: int, data: str
) -> Evaluation:
    """Return the evaluation of *results*, with `full` in front for each scenario."""
    over = interval_text(vary, seeds)
    rows: list[EvaluationRow] = []
    whole: dict[str, Mapping[int, Measurement]] = {}
    for result in results:
        if result.policy == FULL:
            ((_, whole[result.scenario]),) = result.points()
        for text, by_seed in result.points():
            rows += [
                _row(result, text, by_seed, metric, over, whole[result.scenario]) for metric in METRIC_NAMES
            ]
    return Evaluation(tuple(rows), budgets, over, data)


def _row(
    result: PolicyResult,
    budget: str,
    by_seed: Mapping[int, Measurement],
    metric: str,
    over: str,
    whole: Mapping[int, Measurement],
) -> EvaluationRow:
    stored = [each.stored_bytes for each in by_seed.values()]
    own = [each.metrics for each in by_seed.values()]
    interval = over_seeds(metric, own)
    share = share_over_seeds(metric, own, [whole[at].metrics for at in by_seed])
    return EvaluationRow(
        scenario=result.scenario,
        policy=result.policy,
        budget=budget,
        budget_bytes=next(iter(by_seed.values())).budget_bytes,
        stored_bytes=sum(stored) / len(stored),
        metric=metric,
        seeds=len(by_seed),
        mean=interval.mean,
        half_width=interval.half_width,
        deviation=interval.deviation,
        over=over,
        share_of_full=_number(share.mean),
        share_half_width=_number(share.half_width),
    )


def _number(value: float | None) -> float | None:
    """Return *value*, None if it is not defined."""
    return None if value is None or math.isnan(value) else value
