"""Sets of runs of a comparison: how they are found, checked and paired."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyarrow as pa

from emulator.compare.differences import compare_pairs
from emulator.compare.pairs import RunPair
from emulator.compare.resampling_units import ResamplingUnits, find_units
from emulator.compare.statistics import LEVEL, MetricDifference
from emulator.metrics.per_device import MeasuredRun
from emulator.run_directory.device_reader import find_numbers
from emulator.run_directory.layout import PARTIAL, SCENARIO, SUMMARY, read_scenario
from emulator.sweep.combination_order import read_order
from scenarios.language.yaml_tree import Value, dotted, read_tree
from wire.errors import InputError

_PER_RUN = ("seed",)


@dataclass(frozen=True)
class RunSet:
    """One or more runs of one scenario, each with another seed."""

    name: str
    runs: Mapping[int, MeasuredRun]
    """The runs by seed, rising."""
    scenario: Mapping[str, str]
    """The settings of the scenario by dotted key, without the seed."""

    @property
    def models(self) -> list[str]:
        """The model versions of the runs."""
        return sorted({str(run.summary.get("model_version")) for run in self.runs.values()})


@dataclass(frozen=True)
class SettingDifference:
    """A setting that differs between two scenarios; None if a scenario does not have it."""

    key: str
    first: str | None
    second: str | None


@dataclass(frozen=True)
class Comparison:
    """The comparison of one set of runs with the baseline."""

    first: RunSet
    second: RunSet
    seeds: tuple[tuple[int, int], ...]
    """Seeds of the pairs of runs: equal seeds, or in order if there are none."""
    devices: int
    """Number of pairs of devices in all pairs of runs."""
    only_first: tuple[str, ...]
    """Devices that only the baseline has, as ``seed 3: phone-00007``."""
    only_second: tuple[str, ...]
    units: ResamplingUnits
    """The units of the bootstrap."""
    level: float
    metrics: Mapping[str, MetricDifference]
    keys: tuple[SettingDifference, ...]
    """The settings that differ."""

    @property
    def paired(self) -> bool:
        """True if the runs of each pair have the same seed, with equal memory and networks."""
        return all(one == two for one, two in self.seeds)

    @property
    def differs(self) -> bool:
        """True if any metric differs, at least in these runs."""
        return any(metric.differs or metric.differs_here for metric in self.metrics.values())


def read_run_set(text: str) -> RunSet:
    """Return the runs that *text* names: a run directory, a folder of them, or a comma-separated list.

    Raises:
        InputError: there is no run, the scenarios differ, or two runs have the same seed.
    """
    single = Path(text)
    return read_runs(text, [single] if single.exists() else [Path(part.strip()) for part in text.split(",")])


def read_runs(text: str, paths: Sequence[Path]) -> RunSet:
    """Return the runs of *paths*, run directories or folders of them, as a set with the name *text*.

    Raises:
        InputError: there is no run, the scenarios differ, or two runs have the same seed.
    """
    folders = [folder for path in paths for folder in run_folders(path)]
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


def run_folders(path: Path) -> list[Path]:
    """Return *path* if it is a run directory, else the run directories in it.

    Raises:
        InputError: there are none.
    """
    if (path / SUMMARY).exists():
        return [path]
    folders = _runs_in(path) if path.is_dir() else []
    if not folders:
        inner = [folder.name for folder in combination_folders(path)]
        hint = f": a sweep; name one of its combinations: {', '.join(inner)}" if inner else ""
        raise InputError(f"{path}: no run directory, nor a folder of them{hint}")
    return folders


def combination_folders(path: Path) -> list[Path]:
    """Return the folders with runs in the sweep folder *path*, in the order of the scenario.

    Without a file that says the order, they are sorted by name.
    """
    if not path.is_dir():
        return []
    folders = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and _runs_in(folder)]
    ordered = dict.fromkeys([*read_order(path), *(folder.name for folder in folders)])
    return [path / name for name in ordered if path / name in folders]


def _runs_in(path: Path) -> list[Path]:
    return [
        folder
        for folder in sorted(path.iterdir())
        if (folder / SUMMARY).exists() and not folder.name.endswith(PARTIAL)
    ]


def _seed_of(measured: MeasuredRun) -> int:
    seed = measured.summary["seed"]
    assert isinstance(seed, int)
    return seed


def _read_keys(folder: Path) -> dict[str, str]:
    tree = read_tree(read_scenario(folder), str(folder / SCENARIO))
    return {key: text for key, text in _leaves(tree.value, "") if key not in _PER_RUN}


def _leaves(value: Value, key: str) -> Iterator[tuple[str, str]]:
    """Yield each single value below *key* with its own key; an entry of a list is identified by its name."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{dotted((name,))}".removeprefix("."))
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            own = inner.get("name") if isinstance(inner, dict) else None
            yield from _leaves(inner, f"{key}[{index if own is None else own}]")
    else:
        yield key, value if isinstance(value, str) else msgspec.json.encode(value).decode()


def list_setting_differences(
    first: Mapping[str, str], second: Mapping[str, str]
) -> tuple[SettingDifference, ...]:
    """Return the settings that differ between two scenarios."""
    keys = dict.fromkeys([*first, *second])
    return tuple(
        SettingDifference(key, first.get(key), second.get(key))
        for key in keys
        if first.get(key) != second.get(key)
    )


def compare(first: RunSet, second: RunSet, sides: int = 2) -> Comparison:
    """Compare *second* with *first*.

    Args:
        first: the baseline.
        second: the compared runs.
        sides: number of sets of runs; the risk of error is shared among the comparisons.

    Raises:
        InputError: no device is in both.
    """
    seeds = pair_seeds(tuple(first.runs), tuple(second.runs))
    same_seed = all(one == two for one, two in seeds)
    pairs = [RunPair(first.runs[one], second.runs[two], same_seed) for one, two in seeds]
    if not sum(pair.count for pair in pairs):
        raise InputError(f"{first.name} and {second.name}: no device is in both")
    level = 1 - (1 - LEVEL) / (sides - 1)
    units = find_units(pairs)
    return Comparison(
        first=first,
        second=second,
        seeds=seeds,
        devices=sum(pair.count for pair in pairs),
        only_first=tuple(_only_in(first, second, seeds)),
        only_second=tuple(_only_in(second, first, [(two, one) for one, two in seeds])),
        units=units,
        level=level,
        metrics=compare_pairs(pairs, units, level),
        keys=list_setting_differences(first.scenario, second.scenario),
    )


def pair_seeds(first: Sequence[int], second: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return the seeds of the pairs of runs: equal seeds, or else pairs in the order of seeds."""
    same = [(seed, seed) for seed in first if seed in second]
    return tuple(same or zip(first, second, strict=False))


def _only_in(side: RunSet, other: RunSet, seeds: Sequence[tuple[int, int]]) -> Iterator[str]:
    for own, paired in seeds:
        ids = side.runs[own].ids
        alone = find_numbers(ids, other.runs[paired].ids) < 0
        yield from (f"seed {own}: {name}" for name in ids.filter(pa.array(alone)).to_pylist())
