"""``--set key=value``: changes to a scenario before it is checked, so that every check sees them."""

import difflib
import re
from collections.abc import Sequence
from typing import NoReturn

from scenarios.language.decode import read_path
from scenarios.language.yaml_tree import Path, Tree, Value, dotted, one_line, read_value
from wire.errors import InputError

_KEY = re.compile(r"[A-Za-z_][\w-]*(?:\.[\w-]+|\[[^\[\]]+\])*")
_PASSWORD = re.compile(r"//.*@")


def apply(tree: Tree, override: str) -> None:
    """Apply *override*, such as ``fleet[0].memory.min=1 GiB``, to *tree*.

    An entry of a list is meant by its number or by its name: ``fleet[phones].count=10``. A part that
    the file leaves out is taken with its defaults.

    Raises:
        InputError: it has another form, or no such entry can exist.
    """
    key, equals, text = override.partition("=")
    place = one_line("--set " + _PASSWORD.sub("//...@", override))
    if not equals or not _KEY.fullmatch(key.strip()):
        raise InputError(f"{place}: must be key=value, such as fleet[0].count=100")
    if isinstance(tree.value, dict):  # else the decoder reports it
        _Override(tree, place).write(read_path(key.strip()), text)


def apply_all(tree: Tree, overrides: Sequence[str]) -> list[str]:
    """Apply each of *overrides* to *tree*; return the errors of those that cannot be applied."""
    errors: list[str] = []
    for override in overrides:
        try:
            apply(tree, override)
        except InputError as error:
            errors += error.lines
    return errors


def assign(tree: Tree, key: str, value: Value, place: str) -> Path:
    """Set *key* of *tree* to *value*, whose place in errors is *place*; return the path of *key*.

    Raises:
        InputError: no such entry can exist.
    """
    override = _Override(tree, place)
    path, outer = override.find(read_path(key))
    override.put(outer, path, Tree(value, {path: place}))
    return path


class _Override:
    def __init__(self, tree: Tree, place: str) -> None:
        self._tree = tree
        self._place = place

    def write(self, key: Path, text: str) -> None:
        path, outer = self.find(key)
        self.put(outer, path, read_value(text, self._place, path))

    def find(self, key: Path) -> tuple[Path, Value]:
        """Return the path of *key*, names of entries replaced by their indices, and the value around it."""
        path: Path = ()
        inner = self._tree.value
        for part in key[:-1]:
            inner = self._enter(inner, path := (*path, self._index(inner, part, path)))
        return (*path, self._index(inner, key[-1], path)), inner

    def _enter(self, outer: Value, path: Path) -> Value:
        """Return the value at *path*, inside *outer*; create an empty mapping if it is missing."""
        at = path[-1]
        if isinstance(outer, list) and isinstance(at, int):
            return outer[at]
        assert isinstance(outer, dict)
        assert isinstance(at, str)
        if at not in outer:
            outer[at] = {}
            self._tree.places[path] = self._place
            self._tree.implied.add(path)
        return outer[at]

    def put(self, outer: Value, path: Path, new: Tree) -> None:
        """Write *new*, whose paths are absolute, to *path*, inside *outer*."""
        tree, at = self._tree, path[-1]
        for old in self._below(outer, path):
            del tree.places[old]
            tree.implied.discard(old)
            tree.wrong.pop(old, None)
        tree.places.update(new.places)
        tree.wrong.update(new.wrong)
        match outer, at:
            case list(), int():
                outer[at] = new.value
            case dict(), str():
                outer[at] = new.value

    def _below(self, outer: Value, path: Path) -> list[Path]:
        """Return *path*, if it is written inside *outer*, and the paths below it."""
        at = path[-1]
        inner = outer.get(at) if isinstance(outer, dict) and isinstance(at, str) else None
        inner = outer[at] if isinstance(outer, list) and isinstance(at, int) else inner
        if isinstance(inner, dict | list):
            return [old for old in self._tree.places if old[: len(path)] == path]
        return [path] if path in self._tree.places else []

    def _index(self, value: Value, part: str | int, path: Path) -> str | int:
        """Return the key or the index of *part* in *value*."""
        if isinstance(value, dict):
            return str(part)
        if not isinstance(value, list):
            self._refuse(path, "is a single value, and holds no keys")
        if isinstance(part, int):
            if part >= len(value):
                self._refuse(path, f"has {len(value)} entries, the first is [0]")
            return part
        named = [at for at, item in enumerate(value) if isinstance(item, dict) and item.get("name") == part]
        if len(named) != 1:
            names = [str(item.get("name")) for item in value if isinstance(item, dict)]
            meant = difflib.get_close_matches(part, names, n=1) if not named else []
            hint = f"; did you mean {meant[0]!r}?" if meant else ""
            self._refuse(
                path,
                f"has {len(named)} entries named {part!r}: write a number or a name, [0] or [NAME]{hint}",
            )
        return named[0]

    def _refuse(self, path: Path, text: str) -> NoReturn:
        raise InputError(one_line(f"{self._place}: {dotted(path)} {text}"))
