"""Unquoted words of YAML: each has the same meaning in YAML 1.1 and 1.2, or is refused.

Readers of both versions are in use; PyYAML reads 1.1. They disagree on ``no``, ``1:30``, ``1e3``, ``0777``,
``1_000`` and dates. Pure.
"""

import re
from decimal import Decimal

import yaml

Scalar = None | bool | int | float | str

MAX_DIGITS = 40

_TAG = "tag:yaml.org,2002:"
# YAML 1.2.2, section 10.3.2: the core schema.
_CORE = (
    ("null", re.compile(r"null|Null|NULL|~|")),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE")),
    ("int", re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")),
    ("float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")),
    ("infinite", re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")),
)
_KINDS = {
    "null": "empty",
    "bool": "true or false",
    "int": "a number",
    "float": "a number",
    "timestamp": "a date",
    "str": "text",
}
_YAML_11 = yaml.resolver.Resolver()


class AmbiguousError(ValueError):
    """An unquoted word has different meanings in YAML 1.1 and 1.2, or none that a scenario can use."""


def read_plain(text: str) -> Scalar:
    """Return the value of the unquoted *text*.

    Raises:
        AmbiguousError: readers of YAML disagree about it; the message says what to write instead.
    """
    kind = _kind_12(text)
    if kind == "infinite":
        raise AmbiguousError("must be a finite number")
    old = _kind_11(text)
    if old != kind:
        raise AmbiguousError(_disagreement(text, old, kind))
    if kind in ("int", "float") and len(text) > MAX_DIGITS:
        raise AmbiguousError(f"must have at most {MAX_DIGITS} digits")
    if kind == "int" and re.fullmatch(r"[-+]?0[0-9]+", text):
        raise AmbiguousError(f"starts with 0, octal in YAML 1.1: write {_decimal(text)}, or quote it as text")
    return _value(text, kind)


def is_plain_text(text: str) -> bool:
    """Return whether every reader reads the unquoted *text* as this text."""
    return _tag_11(text) == _kind_12(text) == "str"


def _kind_12(text: str) -> str:
    return next((kind for kind, pattern in _CORE if pattern.fullmatch(text)), "str")


def _kind_11(text: str) -> str:
    kind = _tag_11(text)
    # << and = have a meaning in YAML 1.1 only; & * ! do not begin a word in any version.
    return "str" if kind in ("merge", "value", "yaml") else kind


def _tag_11(text: str) -> str:
    tag: str = _YAML_11.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return tag.removeprefix(_TAG)


def _value(text: str, kind: str) -> Scalar:
    match kind:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return int(text, 16 if text.startswith("0x") else 10)
        case "float":
            return float(text)
    return text


def _disagreement(text: str, old: str, new: str) -> str:
    return (
        f"is {_KINDS[old]} in YAML 1.1 and {_KINDS[new]} in YAML 1.2: "
        f"{_instead(text, old, new)}quote it as text"
    )


def _instead(text: str, old: str, new: str) -> str:
    if old == "bool":
        return f"write {'true' if text.lower() in ('yes', 'on') else 'false'}, or "
    if ":" in text and old in ("int", "float"):
        return "write a span of time as 1 h 30 min, or "
    if "int" in (old, new) or "float" in (old, new):
        return f"write {_decimal(text)}, or "
    return ""


def _decimal(text: str) -> str:
    """Return the number that *text* most likely stands for, in a form that every reader reads equally."""
    digits = text.replace("_", "")
    if len(digits) > MAX_DIGITS:
        return "it in full"
    if re.match(r"[-+]?0[box]", digits):
        return str(int(digits, 0)) if digits[-1] not in "box" else "it in full"
    number = Decimal(digits)
    if abs(number.adjusted()) > MAX_DIGITS:
        return "it in full"
    plain = format(number, "f")
    whole = plain.lstrip("+") if "." in plain else str(int(number))
    return f"{whole} or {whole}.0" if "e" in text.lower() and "." not in whole else whole
