"""A finished sweep: its table, its runs, the means over seeds, plots and comparisons."""

import os
from collections.abc import Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from emulator.sweep.table import BROKEN, SeedStatistics, read_sweep_table, seed_statistics, shown_metrics
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
        """Return the mean of each metric over the seeds of each combination.

        Args:
            metrics: names of figures in `table`; empty: those that ``peelfleet sweep`` prints.

        Returns:
            A row per combination and metric: ``mean``, ``deviation`` (the standard deviation between seeds)
            and ``ratio`` (to the mean of the first combination).

        Raises:
            InputError: a metric has no number in any run.
        """
        rows = [
            {
                "combination": name,
                "metric": metric,
                "mean": each.mean,
                "deviation": each.deviation,
                "ratio": each.ratio,
            }
            for name, figures in self._statistics(metrics).items()
            for metric, each in figures.items()
        ]
        number = pa.float64()
        kinds = {"combination": pa.string(), "metric": pa.string(), "mean": number, "deviation": number}
        return pa.Table.from_pylist(rows, pa.schema({**kinds, "ratio": number}))

    def plot(self, metric: str = "ndcg_at_10") -> "Figure":
        """Return a plot of *metric*, one of the figures in `table`, as a figure of plotly.

        Raises:
            InputError: the metric has no number in any run.
        """
        from emulator.sweep.figures import combinations_figure  # imports plotly

        statistics = {name: figures[metric] for name, figures in self._statistics([metric]).items()}
        return combinations_figure(self._table.to_pylist(), statistics, metric)

    def compare(self) -> Comparisons:
        """Compare every combination with the first.

        Raises:
            InputError: there is only one, or no runs can be paired.
        """
        return compare_sides([self._folder])

    def _statistics(self, metrics: Sequence[str]) -> dict[str, dict[str, SeedStatistics]]:
        rows = self._table.to_pylist()
        return seed_statistics(rows, list(metrics) or shown_metrics(rows))

    def __fspath__(self) -> str:
        return os.fspath(self._folder)

    def __repr__(self) -> str:
        verdict = "passed" if self.passed else "a threshold is broken"
        return (
            f"<Sweep {str(self._folder)!r}: {self._table.num_rows} runs of {len(self.combinations)} "
            f"combinations, {verdict}>"
        )

    def _repr_html_(self) -> str:
        statistics = self._statistics(())
        names = list(next(iter(statistics.values()), {}))
        rows = [
            (combination, *(_text(figures[name]) for name in names))
            for combination, figures in statistics.items()
        ]
        return (
            f"<p>{escape(repr(self)[1:-1])}; mean over seeds ± standard deviation</p>"
            f"{html_table(['combination', *names], rows)}"
        )


def _text(figure: SeedStatistics) -> str:
    if figure.mean is None:
        return "-"
    return f"{figure.mean:.4g}" + ("" if figure.deviation is None else f" ± {figure.deviation:.4g}")
