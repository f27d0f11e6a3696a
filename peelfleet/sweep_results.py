"""A finished sweep: its table, its runs, the means over seeds, plots and comparisons."""

import os
from collections.abc import Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from emulator.sweep.exports import SweepMeans, sweep_means
from emulator.sweep.table import BROKEN, SeedStatistics, read_sweep_table
from peelfleet.arguments import Name, to_path
from peelfleet.comparisons import Comparisons, compare_sides
from peelfleet.html import html_table
from peelfleet.run_results import Run

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


class Sweep:
    """A finished sweep. `sweep` returns one, and the folder of any earlier sweep can be opened.

    Args:
        path: the folder of a sweep.

    Raises:
        InputError: it is none, or its table is damaged.
    """

    def __init__(self, path: Name) -> None:
        self._folder = to_path(path)
        self._table = read_sweep_table(self._folder)

    @property
    def path(self) -> Path:
        """The folder of the sweep."""
        return self._folder

    @property
    def table(self) -> pa.Table:
        """A row per run: combination, swept keys, seed, folder, and every figure of its summary."""
        return self._table

    @property
    def combinations(self) -> tuple[str, ...]:
        """The names of the combinations; the others are compared with the first."""
        return tuple(dict.fromkeys(self._table["combination"].to_pylist()))

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The runs, in the order of the table."""
        return tuple(Run(self._folder / name) for name in self._table["run"].to_pylist())

    @property
    def passed(self) -> bool:
        """True if no threshold is broken in any run."""
        return not any(self._table[BROKEN].to_pylist())

    def means(self, metrics: Sequence[str] = ()) -> pa.Table:
        """Return the mean of each metric over the seeds of each variant.

        Args:
            metrics: names of figures in `table`; empty: those that ``peelfleet sweep`` prints.

        Returns:
            A row per variant and metric: ``mean``, ``deviation`` (the standard deviation between trainings if
            there are several, else between seeds of the fleet), ``half_width`` (of the interval of 95 %),
            ``ratio`` (to the mean of the first variant), and ``over``, in words. Combinations that differ
            in the seed of training only are one variant.

        Raises:
            InputError: a metric has no number in any run.
        """
        return self._means(metrics).tidy()

    def write_table(self, path: Name, metrics: Sequence[str] = ()) -> None:
        """Write `means` to a file, by its ending: `.csv` or `.parquet`, or for print `.tex` or `.md`.

        Raises:
            InputError: the ending is none of these, or a metric has no number in any run.
        """
        self._means(metrics).write_table(to_path(path))

    def write_figure(self, path: Name, metrics: Sequence[str] = ()) -> None:
        """Draw the means into a file, by its ending: `.svg` or `.png` by matplotlib, `.html` by plotly.

        Raises:
            InputError: the ending is none of these, or a metric has no number in any run.
        """
        self._means(metrics).write_figure(to_path(path))

    def plot(self, metric: str = "ndcg_at_10") -> "Figure":
        """Return a plot of *metric*, one of the figures in `table`, as a figure of plotly.

        Raises:
            InputError: the metric has no number in any run.
        """
        from emulator.sweep.figures import combinations_figure  # imports plotly

        statistics = {name: figures[metric] for name, figures in self._means([metric]).statistics.items()}
        return combinations_figure(self._table.to_pylist(), statistics, metric)

    def compare(self) -> Comparisons:
        """Compare every combination with the first.

        Raises:
            InputError: there is only one, or no runs can be paired.
        """
        return compare_sides([self._folder])

    def _means(self, metrics: Sequence[str]) -> SweepMeans:
        return sweep_means(self._table.to_pylist(), list(metrics))

    def __fspath__(self) -> str:
        return os.fspath(self._folder)

    def __repr__(self) -> str:
        verdict = "passed" if self.passed else "a threshold is broken"
        return (
            f"<Sweep {str(self._folder)!r}: {self._table.num_rows} runs of {len(self.combinations)} "
            f"combinations, {verdict}>"
        )

    def _repr_html_(self) -> str:
        means = self._means(())
        names = list(next(iter(means.statistics.values()), {}))
        rows = [
            (variant, *(_text(figures[name]) for name in names))
            for variant, figures in means.statistics.items()
        ]
        return (
            f"<p>{escape(repr(self)[1:-1])}. {escape(means.caption)}.</p>"
            f"{html_table(['variant', *names], rows)}"
        )


def _text(figure: SeedStatistics) -> str:
    if figure.mean is None:
        return "-"
    return f"{figure.mean:.4g}" + ("" if figure.deviation is None else f" ± {figure.deviation:.4g}")
