"""The part of ``make bench-compare`` on rare events and on events that devices share.

Each figure has a limit. The samples are drawn from known distributions, so the truth is known. The last part
runs a small fleet with shocks; its truth is the mean over all seeds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emulator.compare.resampling_units import MIN_SEEDS
from emulator.compare.run_sets import RunSet, compare
from emulator.compare.statistics import MetricDifference, RatioSums, estimate_differences
from emulator.metrics.per_device import COMPARED_METRICS as COMPARED
from emulator.metrics.per_device import MeasuredRun
from emulator.runner.observer import RunObserver
from emulator.runner.runner import RunOptions, run
from scenarios.language.load import parse
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray, IntArray

METRICS, RESAMPLES = 10, 2000
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


def _compare_sides(one: FloatArray, two: FloatArray) -> list[MetricDifference]:
    return estimate_differences(_means(one), _means(two), resamples=RESAMPLES)


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
                held += _hold(_compare_sides(one, two + truth), truth)
            yield CheckedFigure(
                f"{kind} storms, {seeds} seeds: intervals hold together", held / trials, least=0.9
            )


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
        promise = 0.92 if drawn == "users" else 0.0
        yield CheckedFigure(f"shared users, {drawn} drawn: the interval holds", held / trials, least=promise)


def shocked_fleet(
    folder: Path, store: Path | None, text: str, change: str, seeds: int
) -> Iterator[CheckedFigure]:
    """Yield the verdicts on *change* from 1, 3 and 10 seeds of a fleet with shocks.

    Args:
        folder: for the runs.
        store: the cache of models.
        text: the scenario.
        change: the override of the second side.
        seeds: the number of seeds; all together are the truth.
    """
    runs = [
        [_run(folder / str(side), store, text, seed, *([change] if side else [])) for seed in range(seeds)]
        for side in range(2)
    ]
    truth = np.array([each.difference for each in _compare_sample(runs, range(seeds)).values()])
    for count in (1, 3, MIN_SEEDS):
        samples = [range(at, at + count) for at in range(0, seeds - count + 1, count)]
        found = [list(_compare_sample(runs, sample).values()) for sample in samples]
        held = np.mean([_hold(one, truth) for one in found])
        claims = np.mean([sum(each.differs for each in one) for one in found])
        none = sum(_is_called_none(each) for one in found for each in one)
        name = f"a fleet that shocks hit, {count} seeds"
        few = count < MIN_SEEDS
        yield CheckedFigure(f"{name}: intervals, where there are any, hold together", float(held), least=0.8)
        yield CheckedFigure(
            f"{name}: claims about other runs", float(claims), most=0 if few else len(COMPARED)
        )
        yield CheckedFigure(f"{name}: sure differences that are called none", none, most=0)


def _is_called_none(judged: MetricDifference) -> bool:
    return judged.judged and judged.sure and not (judged.differs or judged.differs_here)


def _run(out: Path, store: Path | None, text: str, seed: int, *overrides: str) -> MeasuredRun:
    scenario = parse(text, "small", [SHOCKS, *overrides, f"seed={seed}"])
    return MeasuredRun(run(scenario, RunOptions(out, store=store, report=False), RunObserver()).folder)


def _compare_sample(
    runs: Sequence[Sequence[MeasuredRun]], seeds: Sequence[int]
) -> dict[str, MetricDifference]:
    one, two = (
        RunSet(name, {seed: side[seed] for seed in seeds}, {}) for name, side in zip("ab", runs, strict=True)
    )
    return dict(compare(one, two).metrics)
