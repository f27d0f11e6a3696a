"""A scenario and its sweep section, as the list of the scenarios to run; each is checked before any runs.

Every case meets every point of the grid. Their keys are written into the text's values as ``--set`` does,
the case's first, and the whole is decoded anew, so every rule of the language sees every combination.
"""

import copy
import functools
import hashlib
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as File

import msgspec

from scenarios.language.decode import MOST_ERRORS, decode, in_order
from scenarios.language.load import located, read, with_traces_beside
from scenarios.language.overrides import apply_all, assign
from scenarios.language.scenario import Scenario
from scenarios.language.sweep import Sweep
from scenarios.language.types import plain
from scenarios.language.yaml_tree import Path, Tree, Value, one_line, read_tree, read_value
from wire.errors import InputError

MAX_COMBINATIONS = 10_000
MAX_SEEDS = 10_000
MAX_SWEPT_VALUES = 1_000_000
BASE = "base"
"""The name of the only combination, where seeds alone are swept."""

_MAX_VALUE, _MAX_NAME = 32, 120
_PASSWORD = re.compile(r"//.*@")
_SEEDS = re.compile(r"\s*([0-9]{1,19})\s*(?:-\s*([0-9]{1,19})\s*)?")


@dataclass(frozen=True)
class Combination:
    """One variant of a scenario."""

    name: str
    """Of its case and its point of the grid, such as ``lean+retry_after=10s``: distinct, fit for a folder."""
    case: str | None
    settings: Mapping[str, Value]
    """Every swept key, as written, and the value that it has here, resolved; None where it has none. Of a
    mapping there are the keys that the sweep sets, not all their defaults."""
    scenario: Scenario
    """Without its sweep section."""


@dataclass(frozen=True)
class Plan:
    """What a sweep runs: every combination with every seed."""

    base: Scenario
    """What `run` would run."""
    keys: tuple[str, ...]
    """Every swept key, as written."""
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
) -> Plan:
    """Read the scenario file *path* with its sweep; see `expand`.

    Raises:
        InputError: it cannot be read, is no valid scenario, or one of its combinations is none.
    """
    path = located(path)
    plan = expand(read(path), str(path), overrides, over, seeds)
    return replace(
        plan,
        base=with_traces_beside(plan.base, path.parent),
        combinations=tuple(
            replace(each, scenario=with_traces_beside(each.scenario, path.parent))
            for each in plan.combinations
        ),
    )


def expand(
    text: str,
    where: str = "scenario",
    overrides: Sequence[str] = (),
    over: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
) -> Plan:
    """Return the combinations of the scenario *text*, which errors call *where*. Pure.

    Args:
        text: YAML.
        where: what to call it.
        overrides: ``key=value``, as after ``--set``.
        over: ``key=v1,v2``, as after ``--over``: a list of the grid, instead of the file's for that key.
        seeds: seeds instead of the file's.

    Raises:
        InputError: it is no valid scenario, sweeps nothing, or one of its combinations is no valid
            scenario; tells which.
    """
    tree = read_tree(text, where)
    wrong = apply_all(tree, overrides)
    _add_options(tree, over, seeds)
    base = decode(tree, wrong)
    sweep = base.sweep or Sweep()
    if not (sweep.grid or sweep.cases or sweep.seeds):
        raise InputError(
            f"{where}: sweeps nothing: write a sweep section, or give --over KEY=V1,V2 or --seeds 1-5"
        )
    assert isinstance(tree.value, dict)
    tree.value.pop("sweep", None)
    keys = tuple(dict.fromkeys([*(key for case in sweep.cases for key in case.set), *sweep.grid]))
    variants = _variants(tree, sweep)
    for path in [path for path in tree.places if path[:1] == ("sweep",)]:
        del tree.places[path]  # what each variant sets knows its place
    _check_size(where, tree, variants)
    found = _combine_all(tree, keys, variants)
    _check_names(where, found)
    return Plan(msgspec.structs.replace(base, sweep=None), keys, tuple(found), sweep.seeds or (base.seed,))


def _add_options(tree: Tree, over: Sequence[str], seeds: Sequence[int] | None) -> None:
    """Write what the command line says into the sweep section; `decode` judges it there."""
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
            return  # `decode` says so
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
        found = _SEEDS.fullmatch(part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        total += last - first + 1
        if first > last or total > MAX_SEEDS:
            raise ValueError(f"seeds(={text!r}) must be such as 1-5 or 1,2,3, at most {MAX_SEEDS} of them")
        yield from range(first, last + 1)


def _variants(tree: Tree, sweep: Sweep) -> list[_Variant]:
    """Return what each combination sets; the last key of the grid varies fastest."""
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
    """Refuse what would take very long to check: each combination is read as a whole."""
    values = len(variants) * len(tree.places)
    if values > MAX_SWEPT_VALUES:
        raise InputError(
            f"{where}: sweep has {len(variants)} combinations of {len(tree.places)} values each, and must "
            f"have at most {MAX_SWEPT_VALUES:,} values in all"
        )


def _combine_all(tree: Tree, keys: Sequence[str], variants: Sequence[_Variant]) -> list[Combination]:
    """Return the scenario of each of *variants*.

    Raises:
        InputError: some are none; each mistake is said once, of the first combination that has it.
    """
    written: dict[str, list[Value]] = {key: [] for key in keys}
    for variant in variants:
        for setting in (*variant.own, *variant.point):
            written[setting.key].append(setting.value)
    found: list[Combination] = []
    wrong: dict[str, str] = {}
    for variant in variants:
        try:
            found.append(_combine(tree, written, variant))
        except _CombinationError as error:
            for line in error.lines:
                wrong.setdefault(line, one_line(f"combination {error.name}: {line}"))
            if len(wrong) > MOST_ERRORS:
                break
    if wrong:
        raise InputError(*in_order(list(wrong.values())))
    return found


class _CombinationError(Exception):
    """A combination is no valid scenario.

    Args:
        name: of the combination.
        lines: what is wrong with it.
    """

    def __init__(self, name: str, lines: Sequence[str]) -> None:
        super().__init__(name, lines)
        self.name = name
        self.lines = lines


def _combine(tree: Tree, written: Mapping[str, Sequence[Value]], variant: _Variant) -> Combination:
    """Return the scenario that *tree* is under *variant*.

    Args:
        tree: of the scenario, without its sweep section.
        written: every swept key, and what the variants set it to.
        variant: a case and a point of the grid.
    """
    keys = tuple(written)
    for setting in (*variant.own, *variant.point):
        _check_no_password(setting)
    name = _name(variant, keys)
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
    return Combination(name, variant.case, settings, scenario)


def _as_written(value: Value, written: Sequence[Value]) -> Value:
    """Return *value* without what no variant writes: of a mapping only the keys that one of them has."""
    mappings = [each for each in written if isinstance(each, dict)]
    if not isinstance(value, dict) or not mappings:
        return value
    keys = {key for each in mappings for key in each}
    shown = {key: inner for key, inner in value.items() if key in keys}
    return {key: _as_written(inner, [each.get(key) for each in mappings]) for key, inner in shown.items()}


def _copy(tree: Tree) -> Tree:
    return Tree(copy.deepcopy(tree.value), dict(tree.places), set(tree.implied), dict(tree.wrong))


def _check_no_password(setting: _Setting) -> None:
    """Refuse what must not get into the names of folders and the columns of tables."""
    if setting.key == "broker" and _PASSWORD.search(str(setting.value)):
        raise InputError(f"{setting.place}: broker (=...) must not hold a password in a sweep: use --broker")


def _check_apart(setting: _Setting, path: Path, before: dict[Path, str]) -> None:
    """Refuse a key that takes back what another of the same combination has set.

    Args:
        setting: the key.
        path: what it sets.
        before: every path at or above one that an earlier key sets, and that key; changed.
    """
    if path in before:
        raise InputError(f"{setting.place}: {setting.key} must not set again what {before[path]} sets")
    for length in range(1, len(path) + 1):
        before.setdefault(path[:length], setting.key)


def _find(tree: Tree, key: str) -> Path | None:
    """Return where the key of another combination points to in this one; None if nowhere."""
    try:
        return assign(_copy(tree), key, None, "")
    except InputError:
        return None


def _at(value: Value, path: Path | None) -> Value:
    """Return what *value* holds at *path*; None if it holds nothing there."""
    for part in path or ():
        found = isinstance(value, dict) and part in value
        found = found or (isinstance(value, list | tuple) and isinstance(part, int) and part < len(value))
        value = value[part] if found else None  # type: ignore[index]  # just checked
    return None if path is None else value


def _name(variant: _Variant, keys: Sequence[str]) -> str:
    parts = [] if variant.case is None else [variant.case]
    parts += [f"{_label(each.key, keys)}={_value_name(each.value)}" for each in variant.point]
    return _cut("+".join(parts) or BASE, _MAX_NAME)


def _label(key: str, keys: Sequence[str]) -> str:
    """Return the shortest end of *key* that is none of another key."""
    return _labels(tuple(dict.fromkeys([*keys, key])))[key]


@functools.lru_cache(maxsize=4)
def _labels(keys: tuple[str, ...]) -> Mapping[str, str]:
    """Return for each of *keys* the shortest end that is none of another key."""
    ends = {key: [tuple(_parts(key)[-length:]) for length in range(1, len(_parts(key)) + 1)] for key in keys}
    count = Counter(end for each in ends.values() for end in each)
    return {
        key: ".".join(next((end for end in each if count[end] == 1), each[-1])) for key, each in ends.items()
    }


def _parts(key: str) -> list[str]:
    return re.findall(r"[\w-]+", key)


def _value_name(value: Value) -> str:
    """Return *value* in letters that any folder may have; what does not show in them shows as a hash."""
    flat = _flat_name(value) if isinstance(value, dict) else None
    if flat is not None:
        return flat
    kind = value.get("type") if isinstance(value, dict) else None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    shown = kind if isinstance(kind, str) else text.strip('"')
    plainly = re.sub(r"[^\w.%-]+", "-", shown.replace(" ", "")).strip("-")
    exact = not isinstance(value, dict | list) and plainly == text.replace(" ", "")
    return _cut(plainly, _MAX_VALUE) if exact else f"{plainly[:_MAX_VALUE]}~{_hash(text)}"


def _flat_name(value: Mapping[str, Value]) -> str | None:
    """Return keys and values of a short mapping of plain ones, its type first; None of any other."""
    parts: list[str] = []
    for key, inner in sorted(value.items(), key=lambda each: each[0] != "type"):
        text = inner if isinstance(inner, str) else json.dumps(inner)
        parts += [text.replace(" ", "")] if key == "type" else [key, text.replace(" ", "")]
    plainly = "-".join(parts)
    exact = bool(parts) and all(re.fullmatch(r"[\w.%]+", part, re.ASCII) for part in parts)
    return plainly if exact and len(plainly) <= _MAX_VALUE else None


def _cut(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 7]}~{_hash(name)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def _check_names(where: str, combinations: Sequence[Combination]) -> None:
    """Refuse two combinations of one name: a value that is listed twice."""
    seen: set[str] = set()
    for each in combinations:
        if each.name in seen:
            raise InputError(f"{where}: sweep has the combination {each.name} twice")
        seen.add(each.name)
