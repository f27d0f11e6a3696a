"""Which runs stand on each side of a comparison, how they pair, and what they were runs of."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from emulator.compare.differences import compare_pairs
from emulator.compare.pairs import RunPair
from emulator.compare.resampling_units import ResamplingUnits, find_units
from emulator.compare.statistics import LEVEL, MetricDifference
from emulator.metrics.per_device import MeasuredRun
from emulator.run_directory.layout import PARTIAL, SCENARIO, SUMMARY, read_scenario
from emulator.sweep.combination_order import read_order
from scenarios.language.yaml_tree import Value, dotted, read_tree
from wire.errors import InputError

_PER_RUN = ("seed",)


@dataclass(frozen=True)
class RunSet:
    """One or more runs of one scenario, each with a seed of its own."""

    name: str
    runs: Mapping[int, MeasuredRun]
    """By seed, ascending."""
    scenario: Mapping[str, str]
    """What the scenario says, by dotted key; the seed is not among it."""

    @property
    def models(self) -> list[str]:
        """The model versions of the runs."""
        return sorted({str(run.summary.get("model_version")) for run in self.runs.values()})


@dataclass(frozen=True)
class SettingDifference:
    """A key in which the scenarios of two sides differ; None where a side does not have it."""

    key: str
    first: str | None
    second: str | None


@dataclass(frozen=True)
class Comparison:
    """One side against the baseline."""

    first: RunSet
    second: RunSet
    seeds: tuple[tuple[int, int], ...]
    """The pairs of runs: by the same seed, or in order where no seed is the same."""
    devices: int
    """Pairs of devices, over all pairs of runs."""
    only_first: tuple[str, ...]
    """Devices that only the baseline has, as ``seed 3: phone-00007``."""
    only_second: tuple[str, ...]
    units: ResamplingUnits
    """What is drawn anew."""
    level: float
    metrics: Mapping[str, MetricDifference]
    keys: tuple[SettingDifference, ...]
    """What the scenarios say differently."""

    @property
    def paired(self) -> bool:
        """Tell whether the runs of a pair have the same seed, so that their devices live the same life."""
        return all(one == two for one, two in self.seeds)

    @property
    def differs(self) -> bool:
        """Tell whether any metric does, be it only in these runs."""
        return any(each.differs or each.differs_here for each in self.metrics.values())


def read_run_set(text: str) -> RunSet:
    """Return the runs that *text* names: a run directory, a folder of them, or several with commas between.

    Raises:
        InputError: there is none, they are runs of different scenarios, or two have the same seed.
    """
    whole = Path(text)
    places = [whole] if whole.exists() else [Path(part.strip()) for part in text.split(",")]
    folders = [folder for place in places for folder in run_folders(place)]
    runs: dict[int, MeasuredRun] = {}
    scenario: Mapping[str, str] | None = None
    for folder in folders:
        measured, own = MeasuredRun(folder), _read_keys(folder)
        seed = _seed_of(measured)
        if seed in runs:
            raise InputError(f"{text}: {runs[seed].folder} and {folder} both have seed {seed}")
        keys = list_setting_differences(scenario or own, own)
        if keys:
            raise InputError(
                f"{text}: a side is runs of one scenario, but {folders[0]} and {folder} "
                f"differ in {keys[0].key}"
            )
        runs[seed], scenario = measured, own
    return RunSet(text, dict(sorted(runs.items())), scenario or {})


def run_folders(place: Path) -> list[Path]:
    """Return *place* if it is a run directory, else the run directories in it.

    Raises:
        InputError: there are none.
    """
    if (place / SUMMARY).exists():
        return [place]
    found = _runs_in(place) if place.is_dir() else []
    if not found:
        inner = [each.name for each in combination_folders(place)]
        hint = f": a sweep; name one of its combinations: {', '.join(inner)}" if inner else ""
        raise InputError(f"{place}: no run directory, nor a folder of them{hint}")
    return found


def combination_folders(place: Path) -> list[Path]:
    """Return the folders of combinations in the sweep folder *place*, in the order of the scenario.

    They are those that hold runs. A folder that does not say which is first has them by name.
    """
    if not place.is_dir():
        return []
    folders = [each for each in sorted(place.iterdir()) if each.is_dir() and _runs_in(each)]
    ordered = dict.fromkeys([*read_order(place), *(each.name for each in folders)])
    return [place / name for name in ordered if place / name in folders]


def _runs_in(place: Path) -> list[Path]:
    return [
        each
        for each in sorted(place.iterdir())
        if (each / SUMMARY).exists() and not each.name.endswith(PARTIAL)
    ]


def _seed_of(measured: MeasuredRun) -> int:
    seed = measured.summary["seed"]
    assert isinstance(seed, int)
    return seed


def _read_keys(folder: Path) -> dict[str, str]:
    tree = read_tree(read_scenario(folder), str(folder / SCENARIO))
    return {key: text for key, text in _leaves(tree.value, "") if key not in _PER_RUN}


def _leaves(value: Value, key: str) -> Iterator[tuple[str, str]]:
    """Yield each single value below *key* with its own key; an entry of a list goes by its name."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{dotted((name,))}".removeprefix("."))
    elif isinstance(value, list) and value:
        for at, inner in enumerate(value):
            own = inner.get("name") if isinstance(inner, dict) else None
            yield from _leaves(inner, f"{key}[{at if own is None else own}]")
    else:
        yield key, value if isinstance(value, str) else msgspec.json.encode(value).decode()


def list_setting_differences(
    first: Mapping[str, str], second: Mapping[str, str]
) -> tuple[SettingDifference, ...]:
    """Return the keys in which two scenarios differ."""
    keys = dict.fromkeys([*first, *second])
    return tuple(
        SettingDifference(key, first.get(key), second.get(key))
        for key in keys
        if first.get(key) != second.get(key)
    )


def compare(first: RunSet, second: RunSet, sides: int = 2) -> Comparison:
    """Return how *second* differs from *first*.

    Args:
        first: the baseline.
        second: what is compared with it.
        sides: how many sides are compared in all; the risk of error is shared among the comparisons.

    Raises:
        InputError: they have no device in common.
    """
    seeds = pair_seeds(tuple(first.runs), tuple(second.runs))
    same_lives = all(one == two for one, two in seeds)
    pairs = [RunPair(first.runs[one], second.runs[two], same_lives) for one, two in seeds]
    if not sum(pair.count for pair in pairs):
        raise InputError(f"{first.name} and {second.name}: no device is in both")
    level = 1 - (1 - LEVEL) / (sides - 1)
    units = find_units(pairs)
    return Comparison(
        first=first,
        second=second,
        seeds=seeds,
        devices=sum(pair.count for pair in pairs),
        only_first=tuple(_alone(first, second, seeds)),
        only_second=tuple(_alone(second, first, [(two, one) for one, two in seeds])),
        units=units,
        level=level,
        metrics=compare_pairs(pairs, units, level),
        keys=list_setting_differences(first.scenario, second.scenario),
    )


def pair_seeds(first: Sequence[int], second: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return the pairs of runs: those of the same seed; where there are none, in the order of seeds."""
    same = [(seed, seed) for seed in first if seed in second]
    return tuple(same or zip(first, second, strict=False))


def _alone(side: RunSet, other: RunSet, seeds: Sequence[tuple[int, int]]) -> Iterator[str]:
    for own, its in seeds:
        there = set(other.runs[its].devices)
        yield from (f"seed {own}: {name}" for name in side.runs[own].devices if name not in there)
