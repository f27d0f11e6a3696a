"""The part of ``make bench-compare`` on rare events and on events that devices share.

Each figure has a limit. The samples are drawn from known distributions, so the truth is known. The last part
runs a small fleet with shocks; the truth for a sample of its seeds are all other seeds. It alone:
``python -m benchmarks.compare_calibration --parts shocks``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import binom  # type: ignore[import-untyped]

from emulator.compare.resampling_units import MIN_SEEDS
from emulator.compare.run_sets import RunSet, compare
from emulator.compare.statistics import LEVEL, MetricDifference, RatioSums, estimate_differences
from emulator.metrics.per_device import COMPARED_METRICS as COMPARED
from emulator.metrics.per_device import MeasuredRun
from emulator.runner.observer import RunObserver
from emulator.runner.runner import RunOptions, run
from scenarios.language.load import parse
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray, IntArray

METRICS, RESAMPLES = len(COMPARED), 2000
ROUNDING = 1e-9
"""A difference below this part of its value is a rounding error."""
SHOCKS = "fleet[phone].shocks=[{every: 4 min, lasting: 1 min, keeps: 5 %, share: 80 %}]"


Draw = Callable[[np.random.Generator, tuple[int, int]], FloatArray]


@dataclass(frozen=True)
class CheckedFigure:
    """A figure and its limit."""

    name: str
    value: float
    least: float = 0.0
    most: float = 1.0

    @property
    def kept(self) -> bool:
        """Return True if the limit is kept."""
        return self.least <= self.value <= self.most


def drawn_worlds(trials: int) -> Iterator[CheckedFigure]:
    """Yield the figures of drawn samples."""
    yield from _rare(trials)
    yield from _seeds(trials)
    yield from _users(trials)


def _means(values: FloatArray) -> RatioSums:
    return RatioSums(values, np.ones_like(values))


def _rare(trials: int) -> Iterator[CheckedFigure]:
    """Yield the rates for rare events: most devices have 0 on both sides, some a heavy tail."""
    allowed = 0.05 + 3.5 * (0.05 * 0.95 / trials) ** 0.5  # 5 %, and what chance does to so many trials
    for share in (0.1, 0.25):
        seen, alarms = 0.0, 0
        for world in range(trials):
            rng = stream(world, "rare", str(share))
            size = (120, METRICS)
            one, two = (rng.lognormal(0, 1.5, size) * (rng.random(size) < share) for _ in range(2))
            alarms += any(each.differs for each in _compare_sides(one, two))
            none = np.zeros_like(one)
            seen += sum(each.differs for each in _compare_sides(none, two)) / METRICS
        name = f"rare (0 for {1 - share:.0%} of 120 devices, else lognormal)"
        yield CheckedFigure(f"{name}: any of {METRICS} equal metrics reported", alarms / trials, most=allowed)
        yield CheckedFigure(f"{name}: a metric that rises from 0 is reported", seen / trials, least=share * 2)


def _compare_sides(one: FloatArray, two: FloatArray, *, whole_runs: bool = False) -> list[MetricDifference]:
    return estimate_differences(_means(one), _means(two), resamples=RESAMPLES, whole_runs=whole_runs)


def _seeds(trials: int) -> Iterator[CheckedFigure]:
    """Yield the joint coverage of intervals if seeds share storms, by the number of seeds."""
    truth = np.linspace(0, 1, METRICS)
    draws: dict[str, Draw] = {
        "normal": lambda rng, size: rng.normal(0, 1, size),
        "lognormal": lambda rng, size: rng.lognormal(0, 1, size) - np.exp(0.5),
        "rare": lambda rng, size: (rng.random(size) < 0.3) * rng.exponential(1, size) - 0.3,
    }
    for kind, draw in draws.items():
        for seeds in (MIN_SEEDS, 3 * MIN_SEEDS):
            held = 0
            for world in range(trials):
                rng = stream(world, "seeds", kind, seeds)
                storm = draw(rng, (seeds, METRICS))  # what both sides of a pair go through
                one, two = (storm + 0.5 * draw(rng, (seeds, METRICS)) for _ in range(2))
                held += _hold(_compare_sides(one, two + truth, whole_runs=True), truth)
            name = f"{kind} storms, {seeds} seeds: {METRICS} intervals hold together"
            yield CheckedFigure(name, held / trials, least=least_held(trials))


def _hold(judged: Sequence[MetricDifference], truth: FloatArray) -> bool:
    return all(
        not each.has_interval or each.low <= right <= each.high
        for each, right in zip(judged, truth, strict=True)
    )


def _users(trials: int) -> Iterator[CheckedFigure]:
    """Yield the coverage of the mean over users if 200 devices have 80 users."""
    for drawn in ("devices", "users"):
        held = 0
        for world in range(trials):
            rng = stream(world, "users")
            users: IntArray = rng.integers(80, size=200)
            gain = rng.normal(0, 1, (80, 1))[users] + rng.normal(0, 0.3, (200, 1))
            first, second = _means(np.zeros_like(gain)), _means(gain)
            if drawn == "users":
                first, second = first.sum_by(users, 80), second.sum_by(users, 80)
            held += _hold(estimate_differences(first, second, resamples=RESAMPLES), np.zeros(1))
        least = least_held(trials) if drawn == "users" else 0.0
        yield CheckedFigure(f"shared users, {drawn} drawn: the interval holds", held / trials, least=least)


def least_held(samples: int) -> float:
    """Return the share of *samples* that a method of 95 % misses in less than 1 of 1,000 runs of all this.

    There are about ten such figures, so each of them may be missed in 1 of 10,000 cases.
    """
    return float(binom.ppf(1e-4, samples, LEVEL)) / samples


def shocked_fleet(
    folder: Path, store: Path | None, text: str, change: str, seeds: int
) -> Iterator[CheckedFigure]:
    """Yield how often intervals from whole runs of a fleet with shocks hold other runs.

    No two samples have a seed in common, and each is compared with all seeds that are not in it. So a sound
    method breaks a promise in less than 1 of 1,000 runs of this benchmark: see `least_held`.

    Args:
        folder: for the runs.
        store: the cache of models.
        text: the scenario.
        change: the override of the second side.
        seeds: the number of seeds.
    """
    folders = [
        [_run(folder / str(side), store, text, seed, *([change] if side else [])) for seed in range(seeds)]
        for side in range(2)
    ]
    single = [_compared(folders, [seed]) for seed in range(seeds)]
    yield from _claims(1, single)
    yield from _claims(3, [_compared(folders, sample) for sample in _samples(seeds, 3)])
    differences = np.array([[each.difference for each in one] for one in single])
    differences[np.abs(differences) < ROUNDING * np.abs([[each.first for each in one] for one in single])] = 0
    for count in (MIN_SEEDS, 3 * MIN_SEEDS):
        samples = list(_samples(seeds, count))
        found = [_compared(folders, sample) for sample in samples]
        yield from _claims(count, found)
        yield from _coverage(count, found, [np.delete(differences, sample, axis=0) for sample in samples])


def _samples(seeds: int, count: int) -> Iterator[range]:
    """Yield samples of *count* seeds, as many as have no seed in common."""
    return (range(at, at + count) for at in range(0, seeds - count + 1, count))


def _claims(count: int, found: Sequence[Sequence[MetricDifference]]) -> Iterator[CheckedFigure]:
    name, few = f"a fleet that shocks hit, {count} seeds", count < MIN_SEEDS
    claims = np.mean([sum(each.differs for each in one) for one in found])
    none = sum(_is_called_none(each) for one in found for each in one)
    yield CheckedFigure(f"{name}: claims about other runs", float(claims), most=0 if few else len(COMPARED))
    yield CheckedFigure(f"{name}: sure differences that are called none", none, most=0)


def _coverage(
    count: int, found: Sequence[Sequence[MetricDifference]], others: Sequence[FloatArray]
) -> Iterator[CheckedFigure]:
    """Yield how often the intervals of all metrics hold together, for the median and for the mean of runs.

    Means that rare runs carry are counted apart: a mean that is not among the middle 80 % of the runs is made
    by fewer than one run in ten, and ten runs may have none of these.
    """
    differences = others[0]
    low, high = np.nanquantile(differences, [0.1, 0.9], axis=0)
    mean = np.nanmean(differences, axis=0)
    rare = (mean < low) | (mean > high)
    rest = [column for column, is_rare in enumerate(rare) if not is_rare]
    medians = [_hold(one, np.nanmedian(other, axis=0)) for one, other in zip(found, others, strict=True)]
    means = [np.nanmean(other, axis=0) for other in others]
    name = f"a fleet that shocks hit, {count} seeds, {len(found)} samples: intervals hold together"
    least = least_held(len(found))
    yield CheckedFigure(f"{name} the median of other runs", float(np.mean(medians)), least=least)
    held = [_hold([one[k] for k in rest], truth[rest]) for one, truth in zip(found, means, strict=True)]
    names = [metric.name for metric, is_rare in zip(COMPARED, rare, strict=True) if is_rare]
    without = f" but for {', '.join(names)}" if names else ""
    yield CheckedFigure(f"{name} the mean of other runs{without}", float(np.mean(held)), least=least)
    for column in np.flatnonzero(rare).tolist():
        own = [_hold([one[column]], truth[[column]]) for one, truth in zip(found, means, strict=True)]
        yield CheckedFigure(f"{name}: the mean of {COMPARED[column].name} (rare)", float(np.mean(own)))


def _is_called_none(judged: MetricDifference) -> bool:
    return judged.judged and judged.sure and not (judged.differs or judged.differs_here)


def _run(out: Path, store: Path | None, text: str, seed: int, *overrides: str) -> Path:
    scenario = parse(text, "small", [SHOCKS, *overrides, f"seed={seed}"])
    return run(scenario, RunOptions(out, store=store, report=False), RunObserver()).folder


def _compared(folders: Sequence[Sequence[Path]], seeds: Sequence[int]) -> list[MetricDifference]:
    """Return the differences between two sides in all metrics, from the runs of some seeds."""
    one, two = (
        RunSet(name, {seed: MeasuredRun(side[seed]) for seed in seeds}, {})
        for name, side in zip("ab", folders, strict=True)
    )
    return list(compare(one, two).metrics.values())
