"""A scenario and its sweep section, as the list of the scenarios to run; each is checked before any runs.

Every case meets every point of the grid. Their keys are written into the text's values as ``--set`` does,
the case's first, and the whole is decoded anew, so every rule of the language sees every combination.
"""

import copy
import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as File

import msgspec

from scenarios.language.combination_names import combination_name, variant_name
from scenarios.language.decode import MOST_ERRORS, decode, in_order
from scenarios.language.load import located, read, with_files_beside
from scenarios.language.overrides import apply_all, assign
from scenarios.language.scenario import Scenario
from scenarios.language.sweep import SweepSection
from scenarios.language.types import plain
from scenarios.language.yaml_tree import Path, Tree, Value, one_line, read_tree, read_value
from wire.errors import InputError

TRAINING_SEED = "model.training.seed"
"""The key by which a sweep trains several models of one variant."""
MAX_COMBINATIONS = 10_000
MAX_SEEDS = 10_000
MAX_SWEPT_VALUES = 1_000_000

_PASSWORD = re.compile(r"//.*@")
_SEEDS = re.compile(r"\s*([0-9]{1,19})\s*(?:-\s*([0-9]{1,19})\s*)?")


@dataclass(frozen=True)
class Combination:
    """One variant of a scenario."""

    name: str
    """Name of its case and its point of the grid, such as ``lean+retry_after=10s``; also a folder name."""
    variant: str
    """Its name for people, as its keys and values were written; combinations that differ in the seed of
    training only have the same."""
    case: str | None
    settings: Mapping[str, Value]
    """The resolved value of every swept key; None if it has none. A mapping has only the keys that the sweep
    sets."""
    scenario: Scenario
    """Without its sweep section."""


@dataclass(frozen=True)
class SweepPlan:
    """The runs of a sweep: every combination with every seed."""

    base: Scenario
    """The scenario without its sweep."""
    keys: tuple[str, ...]
    """Every swept key, as in the file."""
    combinations: tuple[Combination, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class _Setting:
    key: str
    value: Value
    place: str


@dataclass(frozen=True)
class _Variant:
    """A case and a point of the grid."""

    case: str | None
    own: tuple[_Setting, ...]
    point: tuple[_Setting, ...]


def load_plan(
    path: File, overrides: Sequence[str] = (), over: Sequence[str] = (), seeds: Sequence[int] | None = None
) -> SweepPlan:
    """Read the scenario file *path* with its sweep; see `expand`.

    Raises:
        InputError: the file cannot be read, or the scenario or a combination is not valid.
    """
    path = located(path)
    plan = expand(read(path), str(path), overrides, over, seeds)
    return replace(
        plan,
        base=with_files_beside(plan.base, path.parent),
        combinations=tuple(
            replace(combination, scenario=with_files_beside(combination.scenario, path.parent))
            for combination in plan.combinations
        ),
    )


def expand(
    text: str,
    where: str = "scenario",
    overrides: Sequence[str] = (),
    over: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
) -> SweepPlan:
    """Return the combinations of the scenario *text*; errors name it *where*. Pure.

    Args:
        text: YAML.
        where: the name of the text.
        overrides: ``key=value``, as after ``--set``.
        over: ``key=v1,v2``, as after ``--over``: a list of the grid, instead of the file's for that key.
        seeds: seeds instead of the file's.

    Raises:
        InputError: the scenario is not valid, sweeps nothing, or has a combination that is not valid.
    """
    return expand_tree(read_tree(text, where), where, overrides, over, seeds)


def expand_tree(
    tree: Tree, where: str, overrides: Sequence[str], over: Sequence[str], seeds: Sequence[int] | None
) -> SweepPlan:
    """Return the combinations of the values of a scenario, which are changed; see `expand`.

    Raises:
        InputError: the scenario is not valid, sweeps nothing, or has a combination that is not valid.
    """
    wrong = apply_all(tree, overrides)
    _add_options(tree, over, seeds)
    base = decode(tree, wrong)
    sweep = base.sweep or SweepSection()
    if not (sweep.grid or sweep.cases or sweep.seeds):
        raise InputError(
            f"{where}: sweeps nothing: write a sweep section, or give --over KEY=V1,V2 or --seeds 1-5"
        )
    assert isinstance(tree.value, dict)
    tree.value.pop("sweep", None)
    keys = tuple(dict.fromkeys([*(key for case in sweep.cases for key in case.set), *sweep.grid]))
    variants = _variants(tree, sweep)
    for path in [path for path in tree.places if path[:1] == ("sweep",)]:
        del tree.places[path]  # the variants know the places of their settings
    _check_size(where, tree, variants)
    combinations = _combine_all(tree, keys, variants)
    _check_names(where, combinations)
    return SweepPlan(
        msgspec.structs.replace(base, sweep=None), keys, tuple(combinations), sweep.seeds or (base.seed,)
    )


def _add_options(tree: Tree, over: Sequence[str], seeds: Sequence[int] | None) -> None:
    """Write the options of the command line into the sweep section; `decode` checks them there."""
    if not isinstance(tree.value, dict):
        return
    for option in over:
        key, equals, text = option.partition("=")
        place = one_line("--over " + _PASSWORD.sub("//...@", option))
        if not equals or not key.strip():
            raise InputError(f"{place}: must be KEY=V1,V2, such as fleet[0].count=10,20")
        path: Path = ("sweep", "grid", key.strip())
        _write(tree, path, read_value(f"[{text}]", place, path))
    if seeds is not None:
        path = ("sweep", "seeds")
        _write(tree, path, Tree(list(seeds), {path: "--seeds"}))


def _write(tree: Tree, path: Path, new: Tree) -> None:
    inner = tree.value
    for part in path[:-1]:
        if not isinstance(inner, dict):
            return  # `decode` reports it
        if inner.get(str(part)) is None:
            inner[str(part)] = {}
        inner = inner[str(part)]
    if isinstance(inner, dict):
        for old in [old for old in tree.places if old[: len(path)] == path]:
            del tree.places[old]
            tree.wrong.pop(old, None)
        inner[str(path[-1])] = new.value
        tree.places.update(new.places)
        tree.wrong.update(new.wrong)


def read_seeds(text: str) -> Iterator[int]:
    """Yield the seeds of a list such as ``1-5`` or ``1,2,3``.

    Raises:
        ValueError: *text* is not a list of seeds, or there are too many.
    """
    total = 0
    for part in text.split(","):
        match = _SEEDS.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        total += last - first + 1
        if first > last or total > MAX_SEEDS:
            raise ValueError(f"seeds(={text!r}) must be such as 1-5 or 1,2,3, at most {MAX_SEEDS} of them")
        yield from range(first, last + 1)


def training_seeds(seeds: Sequence[int]) -> Sequence[str]:
    """Return the axis, as ``--over`` has it, of *seeds* of training: each trains a model of its own."""
    return [f"{TRAINING_SEED}={','.join(map(str, seeds))}"] if seeds else ()


def _variants(tree: Tree, sweep: SweepSection) -> list[_Variant]:
    """Return the settings of each combination; the last key of the grid varies fastest."""
    cases: list[tuple[str | None, tuple[_Setting, ...]]] = [
        (case.name, tuple(_settings(tree, ("sweep", "cases", at, "set"), case.set)))
        for at, case in enumerate(sweep.cases)
    ]
    axes = [
        [_Setting(key, value, tree.place(("sweep", "grid", key, at))) for at, value in enumerate(values)]
        for key, values in sweep.grid.items()
    ]
    if math.prod(map(len, axes)) * max(len(cases), 1) > MAX_COMBINATIONS:
        raise InputError(f"{tree.place(('sweep',))}: sweep has more than {MAX_COMBINATIONS} combinations")
    points = list(itertools.product(*axes))
    return [_Variant(name, own, point) for name, own in cases or [(None, ())] for point in points]


def _settings(tree: Tree, path: Path, values: Mapping[str, Value]) -> Iterator[_Setting]:
    for key, value in values.items():
        yield _Setting(key, value, tree.place((*path, key)))


def _check_size(where: str, tree: Tree, variants: Sequence[_Variant]) -> None:
    """Refuse a sweep that would take very long to check: every combination is a complete scenario."""
    values = len(variants) * len(tree.places)
    if values > MAX_SWEPT_VALUES:
        raise InputError(
            f"{where}: sweep has {len(variants)} combinations of {len(tree.places)} values each, and must "
            f"have at most {MAX_SWEPT_VALUES:,} values in all"
        )


def _combine_all(tree: Tree, keys: Sequence[str], variants: Sequence[_Variant]) -> list[Combination]:
    """Return the scenario of each of *variants*.

    Raises:
        InputError: some are not valid; each error is reported once, for the first combination that has it.
    """
    written: dict[str, list[Value]] = {key: [] for key in keys}
    for variant in variants:
        for setting in (*variant.own, *variant.point):
            written[setting.key].append(setting.value)
    combinations: list[Combination] = []
    errors: dict[str, str] = {}
    for variant in variants:
        try:
            combinations.append(_combine(tree, written, variant))
        except _CombinationError as error:
            for line in error.lines:
                errors.setdefault(line, one_line(f"combination {error.name}: {line}"))
            if len(errors) > MOST_ERRORS:
                break
    if errors:
        raise InputError(*in_order(list(errors.values())))
    return combinations


class _CombinationError(Exception):
    """A combination is not a valid scenario.

    Args:
        name: the name of the combination.
        lines: its errors.
    """

    def __init__(self, name: str, lines: Sequence[str]) -> None:
        super().__init__(name, lines)
        self.name = name
        self.lines = lines


def _combine(tree: Tree, written: Mapping[str, Sequence[Value]], variant: _Variant) -> Combination:
    """Return the combination of *tree* and *variant*.

    Args:
        tree: the scenario without its sweep section.
        written: the values of every swept key in all variants.
        variant: a case and a point of the grid.
    """
    keys = tuple(written)
    for setting in (*variant.own, *variant.point):
        _check_no_password(setting)
    point = [(setting.key, setting.value) for setting in variant.point]
    name = combination_name(variant.case, point, keys)
    own = _copy(tree)
    paths: dict[str, Path] = {}
    before: dict[Path, str] = {}
    try:
        for setting in (*variant.own, *variant.point):
            path = assign(own, setting.key, copy.deepcopy(setting.value), setting.place)
            _check_apart(setting, path, before)
            paths[setting.key] = path
        scenario = decode(own)
    except InputError as error:
        raise _CombinationError(name, error.lines) from None
    resolved = plain(scenario)
    settings = {
        key: _as_written(_at(resolved, paths[key] if key in paths else _find(own, key)), written[key])
        for key in keys
    }
    differing = [(key, value) for key, value in point if key != TRAINING_SEED]
    return Combination(name, variant_name(variant.case, differing), variant.case, settings, scenario)


def _as_written(value: Value, written: Sequence[Value]) -> Value:
    """Return *value*; of a mapping only the keys that some variant writes."""
    mappings = [other for other in written if isinstance(other, dict)]
    if not isinstance(value, dict) or not mappings:
        return value
    keys = {key for mapping in mappings for key in mapping}
    shown = {key: inner for key, inner in value.items() if key in keys}
    return {
        key: _as_written(inner, [mapping.get(key) for mapping in mappings]) for key, inner in shown.items()
    }


def _copy(tree: Tree) -> Tree:
    return Tree(copy.deepcopy(tree.value), dict(tree.places), set(tree.implied), dict(tree.wrong))


def _check_no_password(setting: _Setting) -> None:
    """Refuse a password: it must not get into names of folders and columns of tables."""
    if setting.key == "broker" and _PASSWORD.search(str(setting.value)):
        raise InputError(f"{setting.place}: broker (=...) must not hold a password in a sweep: use --broker")


def _check_apart(setting: _Setting, path: Path, before: dict[Path, str]) -> None:
    """Refuse a key that overwrites another key of the same combination.

    Args:
        setting: the key.
        path: the path that it sets.
        before: paths that earlier keys set, and the paths above, with those keys; changed.
    """
    if path in before:
        raise InputError(f"{setting.place}: {setting.key} must not set again what {before[path]} sets")
    for length in range(1, len(path) + 1):
        before.setdefault(path[:length], setting.key)


def _find(tree: Tree, key: str) -> Path | None:
    """Return the path of the key of another combination in this one; None if it has none."""
    try:
        return assign(_copy(tree), key, None, "")
    except InputError:
        return None


def _at(value: Value, path: Path | None) -> Value:
    """Return the value at *path* in *value*; None if there is none."""
    for part in path or ():
        exists = isinstance(value, dict) and part in value
        exists = exists or (isinstance(value, list | tuple) and isinstance(part, int) and part < len(value))
        value = value[part] if exists else None  # type: ignore[index]  # just checked
    return None if path is None else value


def _check_names(where: str, combinations: Sequence[Combination]) -> None:
    """Refuse two combinations with one name: a value is listed twice."""
    seen: set[str] = set()
    for combination in combinations:
        if combination.name in seen:
            raise InputError(f"{where}: sweep has the combination {combination.name} twice")
        seen.add(combination.name)
