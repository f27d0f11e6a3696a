"""The ``sweep`` section: variants of a scenario, and seeds."""

import re
from typing import Any

import msgspec

from cloud.settings import Seed
from wire.topics import valid_name

MAX_CASE_NAME = 40

_KEY = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w-]+|\[[^\[\]]+\])*")
_NOT_SWEPT = {
    "seed": "use sweep.seeds",
    "sweep": "a sweep cannot vary itself",
    "version": "a sweep has one version of the language",
}


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A named variant of the scenario: some keys set together."""

    name: str
    """At most 40 letters, digits, '.', '_' or '-'; it names rows and folders."""

    set: dict[str, Any] = {}
    """Keys of the scenario, as after `--set`, with their values in this variant."""

    def __post_init__(self) -> None:
        if not valid_name(self.name) or len(self.name) > MAX_CASE_NAME:
            raise ValueError(
                f"name(={self.name!r}) must be 1 to {MAX_CASE_NAME} letters, digits, '.', '_' or '-'"
            )
        for key in self.set:
            check_key("set", key)


class SweepSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Variants for `peelfleet sweep`: each case with each point of the grid, for each seed."""

    grid: dict[str, tuple[Any, ...]] = {}
    """Keys of the scenario, as after `--set`, each with a list of values."""

    cases: tuple[Case, ...] = ()
    """Named variants; the others are compared with the first."""

    seeds: tuple[Seed, ...] = ()
    """Seeds of the runs; if empty, the scenario's own seed."""

    def __post_init__(self) -> None:
        for key, values in self.grid.items():
            check_key("grid", key)
            if not values:
                raise ValueError(f"grid(={key!r}) must have at least one value")
        _check_distinct("cases", [case.name for case in self.cases], ".name")
        _check_distinct("seeds", list(self.seeds), "")


def check_key(where: str, key: str) -> None:
    """Raise ValueError unless a sweep may set *key*."""
    if not _KEY.fullmatch(key):
        raise ValueError(f"{where}(={key!r}) must have keys such as fleet[0].count")
    top = re.split(r"[.\[]", key, maxsplit=1)[0]
    if top in _NOT_SWEPT:
        raise ValueError(f"{where}(={key!r}) must not set {top}: {_NOT_SWEPT[top]}")


def _check_distinct(where: str, values: list[Any], part: str) -> None:
    first_at: dict[Any, int] = {}
    for at, value in enumerate(values):
        same = first_at.setdefault(value, at)
        if same != at:
            raise ValueError(f"{where}[{at}]{part}(={value!r}) must differ from that of {where}[{same}]")
