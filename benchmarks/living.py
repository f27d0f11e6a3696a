"""``make bench NAME=living``: a month of living on two data sets with times, ways to recommend side by side.

Each run is scenarios/month-100k.yaml with another set, recommender and fixed budget. A figure is the mean of
NDCG@10 over all visits, each ranked before it is learned from; its interval draws users anew, the same draws
for every way, so that differences are of the same people. It prints the tables, and draws docs/living.svg.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import OUT, write
from cloud.data.load import load as load_data
from cloud.data.sources import ByCut, Data, MovieLens, RecBole
from devices.event_log import InteractionEvent
from emulator.exports.chart import Chart, ChartPanel, ChartSeries
from emulator.exports.figure_file import write_figure
from emulator.run_directory.event_reader import EventReader
from emulator.runner.observer import RunObserver
from emulator.runner.runner import RunOptions, run
from emulator.simulation.model_cache import resolve_data
from emulator.simulation.visits import make_visits
from scenarios.language.load import load, located
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray, IntArray
from wire.units import Share, approximate_bytes, format_share

SETS: Mapping[str, Data] = {
    "ml-100k": RecBole(path="ml-100k", split=ByCut()),
    "ml-latest-small": MovieLens(path="ml-latest-small", split=ByCut()),
}
BUDGETS = (0.0025, 0.01, 0.05)
"""Shares of the item table as fp32."""
TABLES = ("learning", "frozen")
"""Ways that hold blocks of the table; each runs at each budget."""
LISTS = ("list", "list_updates")
"""Ways that hold a list, which fills the least budget: a longer one shows nobody anything else."""
IN_CLOUD = "in_cloud"
"""The whole table and a vector that the cloud learns anew at each visit, from all that was reported."""
NAMES = {
    "learning": "table, learns on the device",
    "frozen": "table, frozen vector",
    "list_updates": "list pushed each day",
    "list": "list pushed once",
    IN_CLOUD: "whole table in the cloud",
}
RESAMPLES = 2000
FIGURE = Path(__file__).resolve().parents[1] / "docs" / "living.svg"


@dataclass(frozen=True)
class UserSums:
    """Sums over the visits of each user in one run, by user number, shape (U,)."""

    budget_bytes: int
    newcomers: NDArray[np.bool_]
    visits: FloatArray
    ndcg: FloatArray
    ndcg_in_cloud: FloatArray
    down_bytes: int
    """Lists and vectors from the cloud."""
    up_bytes: int
    """Interactions to the cloud."""


def main() -> None:
    """Run everything, print the tables, and draw the figure."""
    tables = {name: estimate(name, dict(measure(name))) for name in SETS}
    write(
        "living",
        {f"{name}: {label}": values for name, rows in tables.items() for label, values in rows.items()},
    )
    for name, rows in tables.items():
        print(f"\n{name}\n\n{markdown(rows)}")
    write_figure(draw(tables), FIGURE)


def measure(name: str) -> Iterator[tuple[tuple[str, float], UserSums]]:
    """Yield each way to recommend with its share of the table, and what its run gave, for a data set."""
    for way in (*TABLES, *LISTS):
        for share in BUDGETS if way in TABLES else BUDGETS[:1]:
            print(f"{name}: {way}, {format_share(Share(share))}", file=sys.stderr, flush=True)
            yield (way, share), run_once(name, way, share)


def run_once(name: str, way: str, share: float) -> UserSums:
    """Run the scenario for one data set, way to recommend and share of the table; return the sums."""
    data = resolve_data(SETS[name], None)
    interactions = load_data(data)
    file = located(Path("month-100k"))
    base = msgspec.structs.replace(load(file), data=data)
    visits = make_visits(base, interactions)
    assert visits is not None
    budget = int(share * interactions.n_items * base.model.training.dim * 4)
    settings = [
        f"name=living-{name}",
        f"interactions.recommender.type={way}",
        f"fleet[0].count={len(visits.users)}",
        f"fleet[0].budget={{min: {budget} B, max: {budget} B}}",
    ]
    if way in LISTS:
        length = min(budget // 2, interactions.n_items)
        settings.append(f"interactions.recommender.length={length}")
    scenario = msgspec.structs.replace(load(file, settings), data=data)
    result = run(scenario, RunOptions(OUT / "living", report=False), RunObserver())
    return read_sums(result.folder, budget)


def read_sums(folder: Path, budget: int) -> UserSums:
    """Return the sums over the visits of the run in *folder*."""
    parts = [part["interaction"] for part in EventReader(folder).read_ranges()]
    rows = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    is_visit = rows["event"] == InteractionEvent.VISIT
    users = rows["user"][is_visit]

    def sums(column: NDArray[np.generic]) -> FloatArray:
        totals: FloatArray = np.bincount(users, column[is_visit].astype(np.float64)).astype(np.float64)
        return totals

    return UserSums(
        budget,
        sums(rows["newcomer"]) > 0,
        sums(np.ones(len(is_visit))),
        sums(rows["ndcg_at_10"]),
        sums(rows["cloud_ndcg_at_10"]),
        int(rows["down_bytes"].sum()),
        int(rows["up_bytes"].sum()),
    )


def estimate(name: str, runs: Mapping[tuple[str, float], UserSums]) -> dict[str, dict[str, object]]:
    """Return a row for each run and one for the whole table in the cloud; intervals are over users."""
    first = next(iter(runs.values()))
    users = np.flatnonzero(first.visits)
    weights = stream(0, "living", name).multinomial(
        len(users), np.full(len(users), 1 / len(users)), RESAMPLES
    )
    daily = resample(runs["list_updates", BUDGETS[0]], users, weights)
    whole = replace(first, budget_bytes=0, ndcg=first.ndcg_in_cloud, down_bytes=0, up_bytes=0)
    rows: dict[str, dict[str, object]] = {}
    for (way, share), sums in {**runs, (IN_CLOUD, 1.0): whole}.items():
        draws = resample(sums, users, weights)
        members, newcomers = (
            float(sums.ndcg[who].sum() / sums.visits[who].sum())
            for who in (~first.newcomers, first.newcomers)
        )
        label = f"{NAMES[way]}, {format_share(Share(share))}" if way in TABLES else NAMES[way]
        rows[label] = {
            "way": way, "budget_bytes": sums.budget_bytes,
            "ndcg_at_10": interval(draws), "members": members, "newcomers": newcomers,
            "minus_daily_list": interval(draws - daily),
            "down_bytes": sums.down_bytes, "up_bytes": sums.up_bytes,
            "users": len(users), "visits": int(sums.visits.sum()),
        }  # fmt: skip
    return rows


def resample(sums: UserSums, users: IntArray, weights: IntArray) -> FloatArray:
    """Return the mean over visits, first of all *users*, then of each resample of them, shape (R + 1,)."""
    all_weights = np.concatenate([np.ones((1, len(users)), dtype=np.int64), weights])
    return np.asarray((all_weights @ sums.ndcg[users]) / (all_weights @ sums.visits[users]))


def interval(draws: FloatArray) -> list[float]:
    """Return the mean, and the ends of the interval that holds 95 % of the resamples."""
    return [float(draws[0]), *(float(end) for end in np.quantile(draws[1:], [0.025, 0.975]))]


def markdown(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the rows as a table for docs/living.md."""
    lines = [
        "| recommends with | NDCG@10 | members | newcomers | minus the daily list | down | up |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for label, row in rows.items():
        mean, low, high = row["ndcg_at_10"]
        ahead, least, most = row["minus_daily_list"]
        difference = "" if row["way"] == "list_updates" else f"{ahead:+.4f} ({least:+.4f} to {most:+.4f})"
        traffic = [approximate_bytes(row[key]) if row[key] else "" for key in ("down_bytes", "up_bytes")]
        parts = [f"{row[key]:.4f}" for key in ("members", "newcomers")]
        cells = [label, f"{mean:.4f} ({low:.4f} to {high:.4f})", *parts, difference, *traffic]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(tables: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Chart:
    """Return the figure: NDCG@10 by bytes of the table held; lists and the cloud are levels."""
    panels = []
    for name, rows in tables.items():
        series = []
        for way in (*TABLES, *LISTS, IN_CLOUD):
            points = [row for row in rows.values() if row["way"] == way]
            intervals = [row["ndcg_at_10"] for row in points]
            series.append(
                ChartSeries(
                    NAMES[way],
                    [float(row["budget_bytes"]) for row in points],
                    [mean for mean, _, _ in intervals],
                    [(high - low) / 2 for _, low, high in intervals],
                    level=way not in TABLES,
                )
            )
        panels.append(ChartPanel(f"bytes on the device, {name}", "NDCG@10 at the next visit", series))
    return Chart("bytes", panels, "A month: 95 % intervals, users drawn anew")


if __name__ == "__main__":
    main()
