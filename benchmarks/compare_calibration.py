"""``make bench-compare``: the error rates of `compare`.

Measured are the coverage of each kind of interval on differences with heavy tails; the rate of reported
differences between two runs that differ only in the seed, at most 7 of 100 pairs; the detection of a real
difference; and the verdicts on rare events and on events that devices share, by the number of seeds
(`benchmarks.compare_units`), with limits of their own.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np

from benchmarks.compare_units import CheckedFigure, drawn_worlds, shocked_fleet
from benchmarks.figures import verdict, write
from emulator.compare.resampling_units import MIN_SEEDS
from emulator.compare.run_sets import Comparison, compare, read_run_set
from emulator.compare.statistics import LEVEL, RatioSums, estimate_differences
from emulator.metrics.per_device import COMPARED_METRICS
from emulator.runner.observer import RunObserver
from emulator.runner.runner import RunOptions, run
from scenarios.language.load import parse
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray

SMALL = """
version: 1
name: small
clock: virtual
stop_time: 10 min
data: {type: synthetic, users: 120, items: 80, interactions_per_user: 12, user_groups: 2, item_kinds: 4}
model:
  layers: 16
  training: {dim: 8, epochs: 6, user_groups: 2, item_groups: 4}
networks:
  flaky:
    uplink: {latency: 80 ms, deviation: 30 ms, loss: 2 %}
    downlink: {latency: 80 ms, deviation: 30 ms, loss: 2 %, bandwidth: 100 kbps}
fleet:
  - name: phone
    count: 20
    network: flaky
    memory: {type: bounded_walk, min: 1 KiB, max: 1200 KiB, max_step: 300 KiB, step_every: 20 s}
    budget: {share: 0.1 %}
  - name: tvbox
    count: 10
    memory: {type: square_wave, low: 50 KiB, high: 1 MiB, low_for: 1 min, high_for: 2 min, phase: random}
    budget: {share: 0.1 %}
"""
"""A small fleet: some devices lose messages and wait half a minute, so latencies have heavy tails."""

CHANGE = "updates.local_eviction=false"
FULL = "updates.encoding=full"
PAIRS, ALLOWED = 100, 0.07
PARTS = ("intervals", "drawn", "shocks", "pairs")
NORMAL = NormalDist()
EVERYWHERE = (-np.inf, np.inf)

Draw = Callable[[np.random.Generator, tuple[int, int]], FloatArray]
SHAPES: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, size: rng.normal(1, 1, size), 1.0),
    "lognormal": (lambda rng, size: rng.lognormal(0, 1.5, size), float(np.exp(1.125))),
    "rare": (
        lambda rng, size: rng.lognormal(0, 1, size) * (rng.random(size) < 0.2),
        float(0.2 * np.exp(0.5)),
    ),
}
"""Differences of devices, and their true mean: one side of zero, as those of a change mostly are."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print and write all; return 1 if a limit is exceeded."""
    parser = argparse.ArgumentParser(description="How often `compare` is wrong.")
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--trials", type=int, default=1000, help="samples per coverage")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--store", type=Path, help="folder in which trained models are cached")
    given = parser.parse_args(arguments)
    figures: dict[str, object] = {}
    measured: list[CheckedFigure] = []
    if "intervals" in given.parts:
        figures |= coverages(given.trials)
        figures |= family_errors(given.trials // 4)
    if "drawn" in given.parts:
        measured += drawn_worlds(max(given.trials // 5, 1))
    with tempfile.TemporaryDirectory() as folder:
        if "shocks" in given.parts:
            seeds = max(4 * given.pairs, 3 * MIN_SEEDS)
            measured += shocked_fleet(Path(folder) / "shocks", given.store, SMALL, CHANGE, seeds)
        if "pairs" in given.parts:
            seen, checked = real_pairs(Path(folder), given.store, given.pairs)
            figures |= seen
            measured.append(checked)
    figures |= {each.name: each.value for each in measured}
    write("compare", figures)
    return verdict(
        [
            f"{each.name}: {each.value:.3g}, promised {each.least:.3g} to {each.most:.3g}"
            for each in measured
            if not each.kept
        ]
    )


def real_pairs(folder: Path, store: Path | None, pairs: int) -> tuple[dict[str, object], CheckedFigure]:
    """Return the verdicts on pairs of runs: equal ones, and ones with a change; and the share of alarms."""
    same = null_pairs(folder, store, pairs)
    changed = {
        change: changed_pairs(folder / str(at), store, max(pairs // 5, 1), change)
        for at, change in enumerate((CHANGE, FULL))
    }
    wrong = sum(each.differs for each in same)
    figures: dict[str, object] = {
        "pairs that differ in the seed only": len(same),
        "reported as different": wrong,
    }
    figures |= {f"  because of {name}": count for name, count in reasons(same).items()}
    for change, found in changed.items():
        figures[f"pairs that differ in {change}"] = len(found)
        figures[f"reported as different: {change}"] = sum(each.differs for each in found)
        figures |= {f"  seen in {name}: {change}": count for name, count in reasons(found).items()}
    return figures, CheckedFigure("equal pairs reported as different", wrong / len(same), most=ALLOWED)


def null_pairs(folder: Path, store: Path | None, pairs: int) -> list[Comparison]:
    """Return the comparisons of runs 2n and 2n + 1: one scenario, two seeds."""
    runs = [run_seed(folder / "same", store, seed) for seed in range(2 * pairs)]
    return [compare_folders(one, two) for one, two in zip(runs[::2], runs[1::2], strict=True)]


def changed_pairs(folder: Path, store: Path | None, pairs: int, change: str = CHANGE) -> list[Comparison]:
    """Return the comparisons of runs of one seed, without and with *change*."""
    return [
        compare_folders(
            run_seed(folder / "before", store, seed), run_seed(folder / "after", store, seed, change)
        )
        for seed in range(pairs)
    ]


def run_seed(out: Path, store: Path | None, seed: int, *overrides: str) -> Path:
    """Run `SMALL` with *seed*; return its folder."""
    scenario = parse(SMALL, "small", [*overrides, f"seed={seed}"])
    return run(scenario, RunOptions(out, store=store, report=False), RunObserver()).folder


def compare_folders(one: Path, two: Path) -> Comparison:
    """Return the comparison of two run directories."""
    return compare(read_run_set(str(one)), read_run_set(str(two)))


def reasons(comparisons: Sequence[Comparison]) -> dict[str, int]:
    """Return the number of comparisons in which each metric was reported as different."""
    names = [name for each in comparisons for name, judged in each.metrics.items() if judged.differs]
    return {name: names.count(name) for name in dict.fromkeys(names)}


def coverages(trials: int) -> dict[str, float]:
    """Return the coverage of 95 % intervals of each kind, by shape and devices."""
    found = {}
    for shape, (draw, truth) in SHAPES.items():
        for units in (30, 100, 300):
            rng = stream(0, "coverage", shape, units)
            for kind, interval in INTERVALS.items():
                hits = [_holds(interval(draw(rng, (units, 1))[:, 0]), truth) for _ in range(trials)]
                found[f"coverage of {kind}, {shape}, {units} devices"] = float(np.mean(hits))
    return found


def _holds(interval: tuple[float, float], truth: float) -> bool:
    return interval[0] <= truth <= interval[1]


def percentile_interval(values: FloatArray, resamples: int = 1000) -> tuple[float, float]:
    """Return the percentile interval of the mean."""
    low, high = np.quantile(_resampled_means(values, resamples), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def bca_interval(values: FloatArray, resamples: int = 1000) -> tuple[float, float]:
    """Return the bias-corrected and accelerated interval of the mean."""
    means = _resampled_means(values, resamples)
    bias = NORMAL.inv_cdf(float(np.clip((means < values.mean()).mean(), 1 / resamples, 1 - 1 / resamples)))
    left = values.mean() - values
    skew = float((left**3).sum() / max(6 * (left**2).sum() ** 1.5, 1e-300)) * -1.0
    ends = [bias + NORMAL.inv_cdf(share) for share in ((1 - LEVEL) / 2, (1 + LEVEL) / 2)]
    low, high = np.quantile(means, [NORMAL.cdf(bias + end / (1 - skew * end)) for end in ends])
    return float(low), float(high)


def studentized_interval(values: FloatArray, resamples: int = 1000) -> tuple[float, float]:
    """Return the interval that `compare` gives a single metric."""
    ones, column = np.ones((len(values), 1)), values[:, None]
    (judged,) = estimate_differences(
        RatioSums(np.zeros_like(column), ones), RatioSums(column, ones), resamples=resamples
    )
    return (judged.low, judged.high) if judged.judged else EVERYWHERE


def _resampled_means(values: FloatArray, resamples: int) -> FloatArray:
    draws = stream(0, "draws", len(values)).integers(len(values), size=(resamples, len(values)))
    return np.asarray(values[draws].mean(axis=1))


INTERVALS = {"percentile": percentile_interval, "BCa": bca_interval, "studentized": studentized_interval}


def family_errors(trials: int, metrics: int = len(COMPARED_METRICS)) -> dict[str, float]:
    """Return the rate at which any of the metrics of two equal sides is reported as different."""
    found = {}
    for shape, (draw, _) in SHAPES.items():
        for units in (30, 100, 300):
            rng = stream(0, "family", shape, units)
            size = (units, metrics)
            wrong = [_any_differs(draw(rng, size), draw(rng, size)) for _ in range(trials)]
            found[f"any of {metrics} equal metrics reported, {shape}, {units} devices"] = float(
                np.mean(wrong)
            )
    return found


def _any_differs(one: FloatArray, two: FloatArray) -> bool:
    ones = np.ones_like(one)
    return any(
        each.differs
        for each in estimate_differences(RatioSums(one, ones), RatioSums(two, ones), resamples=4000)
    )


if __name__ == "__main__":
    sys.exit(main())
