"""Values of a scenario that break a rule, and what the user reads about them."""

import difflib
from collections.abc import Mapping, Sequence
from typing import NoReturn

from scenarios.language.yaml_tree import Path, Value, dotted


class WrongError(Exception):
    """A value breaks a rule.

    Args:
        path: the path of the value.
        text: the message after the dotted path.
        at: the path whose place to show, if it is not *path*.
    """

    def __init__(self, path: Path, text: str, at: Path | None = None) -> None:
        super().__init__(path, text, at)
        self.path = path
        self.text = text
        self.at = path if at is None else at

    def __str__(self) -> str:
        return f"{dotted(self.path)}{self.text}".removeprefix(": ")


def mapping_of(value: Value, path: Path, wanted: str = "a mapping of keys") -> Mapping[str, Value]:
    """Return *value*, which must be a mapping."""
    if not isinstance(value, dict):
        refuse(value, wanted, path)
    return value


def list_of(value: Value, path: Path) -> Sequence[Value]:
    """Return *value*, which must be a list."""
    if not isinstance(value, list):
        refuse(value, "a list", path)
    return value


def refuse(value: Value, rule: str, path: Path) -> NoReturn:
    """Raise the error of *value* at *path*, which breaks *rule*."""
    match value:
        case None:
            text = f" has no value: it must be {rule}"
        case dict():
            text = f" must be {rule}, not a mapping"
        case list():
            text = f" must be {rule}, not a list"
        case bool():
            text = f" (={str(value).lower()}) must be {rule}"
        case _:
            text = f" (={value!r}) must be {rule}"
    if not path:
        text = f": a scenario{text}"
    raise WrongError(path, text)


def hint_of(value: object, known: Sequence[str]) -> str:
    """Return a hint at the known word that is most like *value*; empty if none is."""
    close = difflib.get_close_matches(value, known, n=1) if isinstance(value, str) else []
    return f"; did you mean {close[0]!r}?" if close and close[0] != value else ""
