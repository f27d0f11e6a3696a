"""Scenarios from Python: a name, a path, a mapping, or a scenario; with changes as after ``--set``.

Everything becomes the text or the tree that the command line reads, so that there is one set of checks.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scenarios.language.decode import decode
from scenarios.language.load import dump, flow_text, load, parse
from scenarios.language.overrides import apply_all
from scenarios.language.scenario import Scenario
from scenarios.language.sweep_expansion import SweepPlan, expand_tree, load_plan
from scenarios.language.yaml_tree import MAX_DEPTH, Tree, Value, one_line, read_tree, read_value
from wire.errors import InputError

Source = str | os.PathLike[str] | Mapping[str, Any] | Scenario  # Any: of the user
"""A scenario's name, its path, its keys and values, or itself."""
_MAPPING = "scenario"
"""Name in errors of a scenario that is a mapping."""


def load_source(source: Source, overrides: Sequence[str] = ()) -> Scenario:
    """Return the scenario of *source*; *overrides* are ``key=value``, as after ``--set``.

    Raises:
        InputError: it cannot be read, or is not a valid scenario.
    """
    if isinstance(source, Scenario):
        return parse(dump(source), source.name, overrides) if overrides else source
    if isinstance(source, Mapping):
        tree = _tree_of(source)
        return decode(tree, apply_all(tree, overrides))
    return load(_path(source), overrides)


def load_source_plan(
    source: Source, overrides: Sequence[str], over: Sequence[str], seeds: Sequence[int] | None
) -> SweepPlan:
    """Return the combinations of the scenario of *source*; see `scenarios.language.sweep_expansion.expand`.

    Raises:
        InputError: it cannot be read, or the scenario or a combination is not valid.
    """
    if isinstance(source, Scenario):
        return expand_tree(read_tree(dump(source), source.name), source.name, overrides, over, seeds)
    if isinstance(source, Mapping):
        return expand_tree(_tree_of(source), _MAPPING, overrides, over, seeds)
    return load_plan(_path(source), overrides, over, seeds)


def list_overrides(settings: Mapping[str, object]) -> list[str]:
    """Return *settings* as after ``--set``: ``key=value``.

    Raises:
        InputError: a value is nothing that a scenario can hold.
    """
    return [f"{key}={flow_text(plain_value(value, key))}" for key, value in settings.items()]


def list_axes(over: Mapping[str, Sequence[object]]) -> list[str]:
    """Return keys with lists of values as after ``--over``: ``key=v1,v2``.

    Raises:
        InputError: a key has no list, or a value is nothing that a scenario can hold.
    """
    return list(_axes(over))


def _axes(over: Mapping[str, Sequence[object]]) -> Iterator[str]:
    for key, values in over.items():
        listed = plain_value(values, key)
        if not isinstance(listed, list):
            raise InputError(f"over: {key}(={values!r}) must be a list of values")
        yield f"{key}={flow_text(listed)[1:-1]}"


def plain_value(value: object, where: str, depth: int = 0) -> Value:
    """Return *value* as a scenario can hold it: text, numbers, lists and mappings.

    Args:
        value: from a user's program; paths become text, and arrays lists.
        where: its key, for errors.
        depth: number of lists and mappings around it.

    Raises:
        InputError: it is something else.
    """
    if depth > MAX_DEPTH:
        raise InputError(f"{where}: nests deeper than {MAX_DEPTH} levels")
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if not isinstance(value, str | bytes) and hasattr(value, "tolist"):  # of numpy, pandas and polars
        value = value.tolist()
    if value is None or isinstance(value, bool | int | str):
        return value if not isinstance(value, str) else str(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, Mapping):
        return {str(key): plain_value(inner, f"{where}.{key}", depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | range):
        return [plain_value(inner, f"{where}[{at}]", depth + 1) for at, inner in enumerate(value)]
    rule = "a finite number" if isinstance(value, float) else "text, a number, a list or a mapping"
    raise InputError(one_line(f"{where}(={value!r}) must be {rule}"))


def _tree_of(source: Mapping[str, Any]) -> Tree:  # Any: of the user
    """Return the values of a mapping; a place in it has no line."""
    return read_value(flow_text(plain_value(source, _MAPPING)), _MAPPING, ())


def _path(source: str | os.PathLike[str]) -> Path:
    text = os.fsdecode(source)
    if not text:
        raise InputError("the scenario must be a name, a path or a mapping, and is empty text")
    return Path(text)
