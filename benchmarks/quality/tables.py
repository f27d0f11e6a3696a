"""The comparison as Markdown for people and as CSV for programs."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.quality.catalogue import BEST
from benchmarks.quality.intervals import CHURN, Band, Curves, Key, ratio
from benchmarks.quality.rivals import duels
from cloud.training.baselines.catalogue import FULL
from cloud.training.baselines.scoring import METRICS

CSV_COLUMNS = (
    "data", "users", "method", "budget_share", "bytes", "seeds", "metric", "mean", "low", "high",
    "share_of_full", "share_low", "share_high",
)  # fmt: skip
SHARES_OF_FULL = {"ndcg_at_20": "NDCG@20", "tail_recall_at_20": "Tail recall@20"}
OTHERS = {"coverage": "coverage", CHURN: "churn", "worst_group": "worst group"}
MIDDLE = (0.0025, 0.01)
"""The budgets at which the other measures are shown; the CSV file has all."""


@dataclass(frozen=True)
class Case:
    """The results for one kind of users of one data set."""

    data: str
    users: str
    seeds: int
    asked: int
    """The number of users with test items, all seeds together."""
    curves: Curves

    @property
    def title(self) -> str:
        """The title of its tables."""
        seeds = f"{self.seeds} seed{'s' if self.seeds > 1 else ''}"
        return f"{self.data}, {self.users}, {seeds}, {self.asked:,} users"


def markdown(cases: Sequence[Case], shares: Sequence[float]) -> str:
    """Return all tables."""
    return "\n".join(line for case in cases for line in _case_lines(case, shares))


def write_csv(cases: Sequence[Case], file: Path) -> None:
    """Write a row per data set, kind of users, method, budget and metric."""
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(CSV_COLUMNS)
        writer.writerows(row for case in cases for row in _csv_rows(case))


def percent(share: float) -> str:
    """Return *share* as a percentage, with as many digits as it needs."""
    return f"{100 * share:.4g} %"


def plain(value: float, digits: int = 3) -> str:
    """Return a number without the 0 in front of its point."""
    return f"{value:.{digits}f}".removeprefix("0")


def interval(band: Band, digits: int = 3) -> str:
    """Return a figure with its interval."""
    return f"{plain(band.mean, digits)} [{plain(band.low, digits)}, {plain(band.high, digits)}]"


def _with_error(band: Band) -> str:
    return f"{plain(band.mean)} ±{plain((band.high - band.low) / 2)}"


def _case_lines(case: Case, shares: Sequence[float]) -> Iterator[str]:
    curves, full = case.curves, _full(case.curves)
    bands = curves.bands[full]
    yield from (f"### {case.title}", "")
    yield (
        f"Full table: NDCG@20 {interval(bands['ndcg_at_20'], 4)}, tail recall@20 "
        f"{interval(bands['tail_recall_at_20'], 4)}, coverage {plain(bands['coverage'].mean)}."
    )
    for metric, words in SHARES_OF_FULL.items():
        cells = {key: _with_error(ratio(curves, key, full, metric)) for key in curves.bands}
        yield from _table(f"{words}, as a share of the full table's", curves, shares, cells)
    yield from _own_sizes(curves, shares)
    yield from _duel_lines(curves)
    yield from _other_lines(curves, [share for share in MIDDLE if share in shares])


def _full(curves: Curves) -> Key:
    return FULL, max(curves.shares(FULL))


def _table(words: str, curves: Curves, shares: Sequence[float], cells: Mapping[Key, str]) -> Iterator[str]:
    """Yield the lines of a table: a row a method, a column a budget."""
    methods = [
        method
        for method in curves.methods()
        if method != FULL and any((method, share) in cells for share in shares)
    ]
    yield from ("", f"| {words} | {' | '.join(map(percent, shares))} |", f"|---|{'---|' * len(shares)}")
    for method in methods:
        row = (cells.get((method, share), "") for share in shares)
        yield f"| {_bold(method)} | {' | '.join(row)} |"


def _own_sizes(curves: Curves, shares: Sequence[float]) -> Iterator[str]:
    """Yield the lines of a table of the methods that have one size."""
    keys = [(method, share) for method, share in curves.bands if share not in shares and method != FULL]
    if keys:
        yield from ("", "| of one size | size | NDCG@20 | tail recall@20 |", "|---|---|---|---|")
    for key in keys:
        ndcg, tail = (_with_error(ratio(curves, key, _full(curves), metric)) for metric in SHARES_OF_FULL)
        yield f"| {key[0]} | {percent(key[1])} | {ndcg} | {tail} |"


def _duel_lines(curves: Curves) -> Iterator[str]:
    found = duels(curves)
    if not found:
        return
    yield from (
        "",
        f"| {BEST} at | share of full | times the best table | which | its tail recall, share of full |",
        "|---|---|---|---|---|",
    )
    for duel in found:
        tail = plain(ratio(curves, (duel.rival, duel.rival_share), _full(curves), "tail_recall_at_20").mean)
        yield (
            f"| {percent(duel.budget_share)} | {interval(duel.of_full)} | {interval(duel.of_rival)} | "
            f"{duel.rival} | {tail}; ours {plain(duel.tail_of_full.mean)} |"
        )


def _other_lines(curves: Curves, shares: Sequence[float]) -> Iterator[str]:
    """Yield the lines of a table of the measures that are no shares of the full table's."""
    measured = [name for name in OTHERS if any(name in each for each in curves.bands.values())]
    columns = [(name, share) for name in measured for share in shares]
    heads = (f"{OTHERS[name]} at {percent(share)}" for name, share in columns)
    yield from ("", f"| | {' | '.join(heads)} |", f"|---|{'---|' * len(columns)}")
    for method in curves.methods():
        if method == FULL:
            continue
        bands = [curves.bands.get((method, share), {}).get(name) for name, share in columns]
        cells = ("" if band is None else plain(band.mean) for band in bands)
        yield f"| {_bold(method)} | {' | '.join(cells)} |"
    yield ""


def _bold(method: str) -> str:
    return f"**{method}**" if method == BEST else method


def _csv_rows(case: Case) -> Iterator[tuple[object, ...]]:
    curves, full = case.curves, _full(case.curves)
    for key, bands in curves.bands.items():
        for metric, band in bands.items():
            share: tuple[float | str, ...] = ("", "", "")
            if metric in METRICS:
                of_full = ratio(curves, key, full, metric)
                share = of_full.mean, of_full.low, of_full.high
            yield (
                case.data, case.users, *key, curves.bytes[key], case.seeds, metric,
                band.mean, band.low, band.high, *share,
            )  # fmt: skip
