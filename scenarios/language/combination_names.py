"""Names of the combinations of a sweep: rows of its tables, and folders of its runs."""

import functools
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from scenarios.language.yaml_tree import Value

BASE: Final = "base"
"""The name of the only combination, if only seeds vary."""
_MAX_VALUE, _MAX_NAME = 32, 120


def combination_name(case: str | None, point: Sequence[tuple[str, Value]], keys: Sequence[str]) -> str:
    """Return the name of a combination, such as ``lean+retry_after=10s``: distinct, and a valid folder name.

    Args:
        case: the name of its case, if it has one.
        point: the keys and values of its point of the grid.
        keys: all keys of the sweep.
    """
    parts = [] if case is None else [case]
    parts += [f"{_label(key, keys)}={_value_name(value)}" for key, value in point]
    return _shorten("+".join(parts) or BASE, _MAX_NAME)


def variant_name(case: str | None, point: Sequence[tuple[str, Value]]) -> str:
    """Return the name of a combination for people, as it was written: ``lean, updates.retry_after=10 s``.

    Args:
        case: the name of its case, if it has one.
        point: the keys and values of its point of the grid.
    """
    parts = [] if case is None else [case]
    parts += [f"{key}={_written(value)}" for key, value in point]
    return ", ".join(parts) or BASE


def _written(value: Value) -> str:
    """Return *value* as YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    return value if isinstance(value, str) else json.dumps(value)


def _label(key: str, keys: Sequence[str]) -> str:
    """Return the shortest end of *key* that no other key has."""
    return _labels(tuple(dict.fromkeys([*keys, key])))[key]


@functools.lru_cache(maxsize=4)
def _labels(keys: tuple[str, ...]) -> Mapping[str, str]:
    """Return the shortest end of each of *keys* that no other key has."""
    ends = {key: [tuple(_parts(key)[-length:]) for length in range(1, len(_parts(key)) + 1)] for key in keys}
    count = Counter(end for candidates in ends.values() for end in candidates)
    return {
        key: ".".join(next((end for end in candidates if count[end] == 1), candidates[-1]))
        for key, candidates in ends.items()
    }


def _parts(key: str) -> list[str]:
    return re.findall(r"[\w-]+", key)


def _value_name(value: Value) -> str:
    """Return *value* in characters that any file system allows; a hash stands for other characters."""
    flat = _flat_name(value) if isinstance(value, dict) else None
    if flat is not None:
        return flat
    kind = value.get("type") if isinstance(value, dict) else None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    shown = kind if isinstance(kind, str) else text.strip('"')
    plain = re.sub(r"[^\w.%-]+", "-", shown.replace(" ", "")).strip("-")
    exact = not isinstance(value, dict | list) and plain == text.replace(" ", "")
    return _shorten(plain, _MAX_VALUE) if exact else f"{plain[:_MAX_VALUE]}~{_hash(text)}"


def _flat_name(value: Mapping[str, Value]) -> str | None:
    """Return the keys and values of a short mapping of plain values, its type first; else None."""
    parts: list[str] = []
    for key, inner in sorted(value.items(), key=lambda item: item[0] != "type"):
        text = inner if isinstance(inner, str) else json.dumps(inner)
        parts += [text.replace(" ", "")] if key == "type" else [key, text.replace(" ", "")]
    plain = "-".join(parts)
    exact = bool(parts) and all(re.fullmatch(r"[\w.%]+", part, re.ASCII) for part in parts)
    return plain if exact and len(plain) <= _MAX_VALUE else None


def _shorten(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 7]}~{_hash(name)}"


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]
