"""The means of a sweep as a table and a figure for papers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from emulator.exports.chart import Chart, ChartPanel, ChartSeries
from emulator.exports.figure_file import write_figure
from emulator.exports.printed_table import IntervalCell, PrintedTable
from emulator.exports.table_file import write_table
from emulator.sweep.table import Row, SeedStatistics, seed_statistics, seeds_text, shown_metrics

_NUMBERS = {
    "mean": pa.float64(),
    "deviation": pa.float64(),
    "half_width": pa.float64(),
    "ratio": pa.float64(),
    "fleet_seeds": pa.int64(),
    "training_seeds": pa.int64(),
}


@dataclass(frozen=True)
class SweepMeans:
    """The mean of each metric of each variant, and what it is over."""

    statistics: Mapping[str, Mapping[str, SeedStatistics]]
    over: str

    @property
    def caption(self) -> str:
        """Words for what a mean and its ± are."""
        return f"Means over {self.over}; {self.spread}"

    @property
    def spread(self) -> str:
        """Words for what a ± is."""
        counts = [
            max((getattr(each, name) for of in self.statistics.values() for each in of.values()), default=0)
            for name in ("training_seeds", "fleet_seeds")
        ]
        if max(counts, default=0) < 2:
            return "no ±, since there is one run of each"
        return f"±: standard deviation between {'trainings' if counts[0] > 1 else 'seeds of the fleet'}"

    def tidy(self) -> pa.Table:
        """Return a row per variant and metric; `half_width` is that of an interval of 95 %."""
        rows = [
            {"variant": variant, "metric": metric, "over": self.over}
            | {name: getattr(each, name) for name in _NUMBERS}
            for variant, of_variant in self.statistics.items()
            for metric, each in of_variant.items()
        ]
        words = {"variant": pa.string(), "metric": pa.string()}
        return pa.Table.from_pylist(rows, pa.schema({**words, **_NUMBERS, "over": pa.string()}))

    def printed(self) -> PrintedTable:
        """Return the table for people: a row per variant, a column per metric."""
        metrics = list(next(iter(self.statistics.values()), {}))
        rows = {
            variant: [IntervalCell(each.mean, each.deviation) for each in of_variant.values()]
            for variant, of_variant in self.statistics.items()
        }
        return PrintedTable(f"{self.caption}.", "variant", metrics, rows)

    def chart(self) -> Chart:
        """Return the chart: a panel per metric, a dot per variant that has it."""
        panels = [self._panel(metric) for metric in next(iter(self.statistics.values()), {})]
        return Chart("names", panels, self.caption)

    def write_table(self, file: Path) -> None:
        """Write the table to *file*, by its ending.

        Raises:
            InputError: the ending is none of a table.
        """
        write_table(self.tidy(), [self.printed()], file)

    def write_figure(self, file: Path) -> None:
        """Draw the figure into *file*, by its ending.

        Raises:
            InputError: the ending is none of a figure, or matplotlib is not installed.
        """
        write_figure(self.chart(), file)

    def _panel(self, metric: str) -> ChartPanel:
        points = [
            (variant, of_variant[metric].mean, of_variant[metric].deviation)
            for variant, of_variant in self.statistics.items()
        ]
        shown = [(name, mean, width) for name, mean, width in points if mean is not None]
        series = ChartSeries(
            metric,
            [name for name, _, _ in shown],
            [mean for _, mean, _ in shown],
            [width for _, _, width in shown],
        )
        return ChartPanel("variant", metric, [series])


def sweep_means(rows: Sequence[Row], metrics: Sequence[str] = ()) -> SweepMeans:
    """Return the means of *metrics*, or of those that are shown unless others are asked for.

    Raises:
        InputError: a metric has no number in any run.
    """
    return SweepMeans(seed_statistics(rows, metrics or shown_metrics(rows)), seeds_text(rows))
