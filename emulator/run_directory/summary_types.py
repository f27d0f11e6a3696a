"""Types of the keys of ``summary.json``, checked once when a summary is read.

They follow from the catalogues of keys and metrics (`scenarios.catalogue`). A key that is not in a catalogue
may have any value. Most keys of the catalogues may be missing, as in summaries of older versions.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import msgspec

from scenarios.catalogue.metrics import INTERACTION_METRICS, METRICS, Kind, Unit
from scenarios.catalogue.summary_keys import (
    ACCOUNT,
    BREAKDOWNS,
    KEYS,
    PAIRS,
    REALTIME_KEYS,
    ROLLOUT,
    SAMPLE_KEYS,
    STAGE,
    Key,
)
from wire.plugins.plugin import PluginUse

MOST_S: Final = 2**63 / 1e9
"""Longest simulated time of a run: nanoseconds are 64-bit integers."""

_Field = tuple[str, Any] | tuple[str, Any, Any]  # Any: types as values
_Number = float | None
_Numbers = dict[str, _Number]
_Simulated = Annotated[float, msgspec.Meta(gt=0, lt=MOST_S)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Seed = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]

_NEEDED: Final[Mapping[str, Any]] = {
    "scenario": str,
    "seed": _Seed,
    "clock": str,
    "devices": _Count,
    "model_version": str,
    "simulated_seconds": _Simulated,
    "event_log_sha256": str,
}
"""Keys that every summary has."""
_MAY_BE_NULL: Final = frozenset(
    {
        "whole_again_seconds", "quality_before", "quality_lowest", "quality_recovery_seconds",
        "offered_at_seconds", "updated_share",
    }
)  # fmt: skip
"""Keys of an entry of a list whose number may be null."""


def _entry_of(name: str, keys: Mapping[str, Key]) -> type[msgspec.Struct]:
    """Return the type of one entry of a list, which has all of *keys*."""
    return msgspec.defstruct(name, [(key, _type_in_entry(key, each)) for key, each in keys.items()])


def _type_in_entry(name: str, key: Key) -> Any:
    if name == "update_seconds":
        return _Numbers
    if key.unit is None:
        return str
    if name in _MAY_BE_NULL:
        return _Number
    return _Count if key.of else float


class _Verdict(msgspec.Struct):
    metric: str
    rule: str
    value: _Number
    passed: bool


def _fields() -> Iterator[_Field]:
    """Yield each key of the catalogues with its type; keys that may be missing have a default."""
    yield from _NEEDED.items()
    special: dict[str, Any] = {
        "worst": dict[str, dict[str, str | None]],
        "stages": list[_entry_of("Stage", STAGE)],  # type: ignore[misc]  # a type made here
        "faults": list[_entry_of("Account", ACCOUNT)],  # type: ignore[misc]
        "actions": list[_entry_of("Account", ACCOUNT)],  # type: ignore[misc]
        "rollout": list[_entry_of("RolloutGroup", ROLLOUT)],  # type: ignore[misc]
        "thresholds": list[_Verdict],
        "realtime_doubts": list[str] | None,
        "intervals": dict[str, dict[str, float] | None],
        "costs": dict[str, str | float | dict[str, float]],
        "unfinished": bool,
        "plugins": list[PluginUse],
        "replay_of": str,
        "replay_changes": list[str],
        "replay_log_equal": bool,
        "steered_by_hand": _Count,
        "stopped_by_hand": bool,
        **{f"{metric}_by_{dimension}": _Numbers for metric, dimension in BREAKDOWNS.items()},
        **dict.fromkeys(PAIRS, dict[str, dict[str, float]]),
    }
    yield from ((name, kind, None) for name, kind in special.items())
    known = {*_NEEDED, *special}
    for name, key in {**KEYS, **SAMPLE_KEYS, **REALTIME_KEYS}.items():
        if name not in known:
            spread = name in REALTIME_KEYS and key.unit is Unit.SECONDS
            yield name, (_Numbers | None if spread else _Number), None
    for name, metric in {**METRICS, **INTERACTION_METRICS}.items():
        if name not in known and name not in KEYS:
            yield name, (_Numbers | None if metric.kind is Kind.TREND else _Number), None


_Summary = msgspec.defstruct("Summary", _fields())


def find_mistake(summary: Mapping[str, object]) -> str | None:
    """Return a text about the first key of *summary* with a wrong type; None if all types are right."""
    try:
        msgspec.convert(summary, _Summary)
    except msgspec.ValidationError as error:
        return _in_words(str(error))
    return None


def _in_words(text: str) -> str:
    """Return an error of msgspec with the key first: ``faults[0].type: expected str, got int``."""
    words, _, path = text.replace("`", "").partition(" - at $.")
    if missing := re.fullmatch(r"Object missing required field (\w+)(?: - at \$)?", words):
        return f"{path or 'its summary'} has no {missing[1]}"
    return f"{path}: {words[:1].lower()}{words[1:]}" if path else words
