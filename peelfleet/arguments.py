"""Arguments of calls from Python, as the command line has them."""

import os
from collections.abc import Iterable, Mapping
from operator import index
from pathlib import Path
from typing import TypeVar

from emulator.executors.open_executor import FORMS, ExecutorName, read_executor
from scenarios.language.sources import list_overrides
from scenarios.language.sweep_expansion import read_seeds
from wire.errors import InputError

Name = str | os.PathLike[str]
"""A file or a folder."""
Settings = Mapping[str, object]
"""Keys of a scenario, as after ``--set``, with their values."""
Value = TypeVar("Value")


def overrides(set_: Settings | None, **keys: object) -> list[str]:
    """Return *set_* and then, since the last one wins, the *keys* that are not None, as after ``--set``."""
    given = {key: value for key, value in keys.items() if value is not None}
    return list_overrides({**(set_ or {})}) + list_overrides(given)


def to_path(name: Name) -> Path:
    """Return a file or folder; an empty text would be the working folder.

    Raises:
        InputError: it is empty.
    """
    text = os.fsdecode(name)
    if not text:
        raise InputError("'' must be the name of a file or folder")
    return Path(text)


def to_path_or_none(name: Name | None) -> Path | None:
    """Return a file or folder, or None if there is none."""
    return None if name is None else to_path(name)


def at_least_one(name: str, number: int) -> int:
    """Return *number*, the value of the argument *name*.

    Raises:
        InputError: it is no whole number above 0.
    """
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise InputError(f"{name}(={number!r}) must be a whole number above 0")
    return number


def at_least_one_or_none(name: str, number: int | None) -> int | None:
    """Return *number*, the value of the argument *name*, or None if there is none."""
    return None if number is None else at_least_one(name, number)


def to_seeds(name: str, seeds: str | Iterable[int] | None) -> list[int]:
    """Return the seeds of the argument *name*: a text such as ``1-5``, or numbers.

    Raises:
        InputError: they are neither.
    """
    if seeds is None:
        return []
    try:
        listed = [index(seed) for seed in (read_seeds(seeds) if isinstance(seeds, str) else seeds)]
    except (TypeError, ValueError):
        listed = []
    if not listed:
        raise InputError(f"{name}(={seeds!r}) must be seeds such as range(5), [1, 2] or '1-5'")
    return listed


def to_executor(name: str) -> ExecutorName:
    """Return the executor called *name*.

    Raises:
        InputError: there is none.
    """
    try:
        return read_executor(name)
    except ValueError:
        raise InputError(f"executor(={name!r}) must be {FORMS}") from None
