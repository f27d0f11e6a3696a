"""Printed tables of the comparison."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.quality.bootstrap import Band, Curves
from benchmarks.quality.rivals import Duel
from cloud.training.baselines.catalogue import FULL


def print_tables(curves: Curves, fights: Sequence[Duel], shares: Sequence[float], title: str) -> None:
    """Print each metric of every method by budget, and the duels."""
    console = Console(width=max(110, 24 + 11 * len(shares)))
    for metric in ("ndcg_at_20", "recall_at_20", "tail_recall_at_20", "coverage"):
        console.print(_metric(curves, shares, metric, title))
    console.print(_own_sizes(curves, shares))
    console.print(_duels(fights))


def percent(share: float) -> str:
    """Return *share* as a percentage, with as many digits as it needs."""
    return f"{100 * share:.4g} %"


def interval(band: Band) -> str:
    """Return a ratio with its band."""
    return f"{band.mean:.4f} [{band.low:.4f}, {band.high:.4f}]"


def _metric(curves: Curves, shares: Sequence[float], metric: str, title: str) -> Table:
    full = curves.bands[FULL, max(curves.shares(FULL))][metric].mean
    share_of_full = metric != "coverage"
    what = f"share of full's {full:.4f}" if share_of_full else f"full: {full:.4f}"
    table = Table(title=f"{title}: {metric}, {what}")
    table.add_column("method", no_wrap=True)
    for share in shares:
        table.add_column(percent(share), justify="right")
    for method in curves.methods():
        means = [curves.bands.get((method, share), {}).get(metric) for share in shares]
        scale = max(full, 1e-12) if share_of_full else 1.0
        if any(means):
            table.add_row(method, *("" if band is None else f"{band.mean / scale:.3f}" for band in means))
    return table


def _own_sizes(curves: Curves, shares: Sequence[float]) -> Table:
    full = curves.bands[FULL, max(curves.shares(FULL))]
    names = ("ndcg_at_20", "recall_at_20", "tail_recall_at_20")
    table = Table(title="methods of one size, share of full")
    for column in ("method", "size", *names, "coverage"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for (method, share), bands in curves.bands.items():
        if share not in shares or method == FULL:
            ratios = [f"{bands[name].mean / max(full[name].mean, 1e-12):.4f}" for name in names]
            table.add_row(method, percent(share), *ratios, f"{bands['coverage'].mean:.4f}")
    return table


def _duels(fights: Sequence[Duel]) -> Table:
    table = Table(title="peel:best against the best baseline, NDCG@20, 95 % by paired bootstrap over users")
    for column in (
        "budget",
        "share of full",
        "best baseline",
        "multiple of it",
        "tail recall, share of full",
    ):
        table.add_column(column)
    for duel in fights:
        table.add_row(
            percent(duel.budget_share),
            interval(duel.of_full),
            duel.rival,
            interval(duel.of_rival),
            interval(duel.tail_of_full),
        )
    return table
