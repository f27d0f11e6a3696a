"""From plain values to a `Scenario`: what is wrong is told by its path, its value and the rule.

The structs and their annotations are the only statement of what is allowed; this file walks them.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, get_args

import msgspec
from msgspec import inspect as types

from scenarios.kinds import QUANTITIES, choices, expected, hints_of, kind_of, quantity_of, structs_of
from scenarios.schema import RECIPES, Model, Scenario
from scenarios.tree import Path, Tree, Value, dotted, one_line
from wire.errors import InputError
from wire.units import BYTE_UNITS, RATE_UNITS, TIME_UNITS, BitsPerSecond, Bytes, Duration

MOST: Mapping[type, int] = {
    Duration: 3650 * TIME_UNITS["d"],
    Bytes: 4096 * BYTE_UNITS["TiB"],
    BitsPerSecond: 1_000_000 * RATE_UNITS["Gbps"],
}
"""Times and sizes are kept as signed 64-bit numbers: the sums of these in a run must not run out of them."""

_INDEX = re.compile(r"[0-9]{1,9}")
_SUBJECT = re.compile(r"[\w-]+(?:\.[\w-]+|\[[^]]*\])*(?=\(=)")


def decode(tree: Tree) -> Scenario:
    """Return the scenario that *tree* describes.

    Raises:
        InputError: it breaks a rule; one line with the place, the path, the value and the rule.
    """
    try:
        scenario = _Decoder(tree.implied).value(Scenario, tree.value, ())
    except _WrongError as error:
        text = f"{dotted(error.path)}{error.text}".removeprefix(": ")
        raise InputError(one_line(f"{tree.place(error.at)}: {text}")) from None
    assert isinstance(scenario, Scenario)
    return scenario


def read_path(text: str) -> Path:
    """Read ``fleet[0].memory.min``; what is in brackets may be a number or a name."""
    parts = re.findall(r"\[([^]]*)\]|([^.\[\]]+)", text)
    return tuple(int(inner) if _INDEX.fullmatch(inner) else inner or outer for inner, outer in parts)


class _WrongError(Exception):
    """Something breaks a rule.

    Args:
        path: what does.
        text: what follows the dotted path in the message.
        at: whose place to show, if not that of *path*.
    """

    def __init__(self, path: Path, text: str, at: Path | None = None) -> None:
        super().__init__(path, text, at)
        self.path = path
        self.text = text
        self.at = path if at is None else at


class _Decoder:
    """Walks hints and values together.

    Args:
        implied: paths of mappings that take the type of their default, because no one wrote them.
    """

    def __init__(self, implied: set[Path]) -> None:
        self._implied = implied

    # Any: type hints are no types, and the default of a field may be anything.
    def value(self, hint: Any, value: Value, path: Path, default: Any = None) -> object:
        """Return what *value*, at *path*, means where *hint* is wanted."""
        kind = kind_of(hint)
        if isinstance(kind, types.AnyType):
            return value
        structs = structs_of(kind)
        if structs and not _is_leaf(kind, value):
            given = self._with_type(_mapping(value, path, expected(kind)), path, default)
            return self._struct(_choose(structs, given, path), given, path, default)
        if isinstance(kind, types.DictType):
            item = get_args(hint)[1]
            given = _mapping(value, path)
            return {key: self.value(item, each, (*path, key)) for key, each in given.items()}
        if isinstance(kind, types.VarTupleType):
            item = get_args(hint)[0]
            return tuple(self.value(item, each, (*path, at)) for at, each in enumerate(_list(value, path)))
        return _leaf(hint, kind, value, path)

    def _with_type(self, given: Mapping[str, Value], path: Path, default: object) -> Mapping[str, Value]:
        if path not in self._implied or not isinstance(default, msgspec.Struct):
            return given
        config = default.__struct_config__
        return {config.tag_field: str(config.tag), **given} if config.tag_field else given

    def _struct(
        self, kind: types.StructType, given: Mapping[str, Value], path: Path, default: object
    ) -> object:
        _check_keys(kind, given, path)
        hints, default = hints_of(kind.cls), _by_recipe(kind.cls, given, default)
        # What is left out has the default of the whole, which may differ from that of its type.
        rest = msgspec.structs.asdict(default) if isinstance(default, kind.cls) else {}
        fields = {
            field.name: self.value(
                hints[field.name],
                given[field.name],
                (*path, field.name),
                rest.get(field.name, field.default),
            )
            for field in kind.fields
            if field.name in given
        }
        try:
            return kind.cls(**rest | fields)
        except ValueError as error:
            raise _broken(path, str(error)) from None


def _by_recipe(cls: type, given: Mapping[str, Value], default: object) -> object:
    """Return what gives the keys that are left out their values: the recipe, where one is named."""
    recipe = given.get("recipe") if cls is Model else None
    return RECIPES.get(recipe, default) if isinstance(recipe, str) else default


def _mapping(value: Value, path: Path, wanted: str = "a mapping of keys") -> Mapping[str, Value]:
    if not isinstance(value, dict):
        _refuse(value, wanted, path)
    return value


def _list(value: Value, path: Path) -> Sequence[Value]:
    if not isinstance(value, list):
        _refuse(value, "a list", path)
    return value


def _choose(structs: Sequence[types.StructType], given: Mapping[str, Value], path: Path) -> types.StructType:
    """Return the one of *structs* that *given* names in its tag."""
    field = structs[0].tag_field
    if field is None or (len(structs) == 1 and field not in given):
        return structs[0]
    by_tag = {str(struct.tag): struct for struct in structs}
    if field not in given:
        raise _WrongError(path, f": missing key {field!r}: one of {', '.join(by_tag)}")
    tag = given[field]
    if not isinstance(tag, str) or tag not in by_tag:
        one = f"one of {', '.join(by_tag)}" if len(by_tag) > 1 else next(iter(by_tag))
        _refuse(tag, f"{one}{_meant(tag, list(by_tag))}", (*path, field))
    return by_tag[tag]


def _check_keys(kind: types.StructType, given: Mapping[str, Value], path: Path) -> None:
    known = [field.name for field in kind.fields]
    for key in given:
        if key not in known and key != kind.tag_field:
            hint = _meant(key, known) or f"; known keys: {', '.join(known)}"
            raise _WrongError(path, f": unknown key {key!r}{hint}", at=(*path, key))
    for field in kind.fields:
        if field.required and field.name not in given:
            raise _WrongError(path, f": missing key {field.name!r}")


def _is_leaf(kind: types.Type, value: Value) -> bool:
    """Tell whether *value* is what *kind* allows beside a mapping: nothing, or text."""
    if not isinstance(kind, types.UnionType):
        return False
    text = any(isinstance(option, types.StrType) for option in kind.types)
    return (value is None and kind.includes_none) or (text and isinstance(value, str))


def _leaf(hint: Any, kind: types.Type, value: Value, path: Path) -> object:  # Any: a type hint
    if value is None and isinstance(kind, types.UnionType) and kind.includes_none:
        return None
    if value is None or isinstance(value, list | dict):
        _refuse(value, expected(kind), path)
    cls = quantity_of(kind)
    if cls is not None:
        return _quantity(cls, value, path)
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError:
        _refuse(value, f"{expected(kind)}{_meant(value, choices(kind))}", path)


def _quantity(cls: type, value: Value, path: Path) -> float:
    try:
        quantity = QUANTITIES[cls].parse(value)
    except ValueError as error:
        raise _broken((*path, ""), str(error)) from None
    if quantity > MOST.get(cls, quantity):
        _refuse(value, f"at most {QUANTITIES[cls].format(MOST[cls])}", path)
    return quantity


def _broken(path: Path, rule: str) -> _WrongError:
    """Join *path* and a rule such as ``min(=9 GiB) must not exceed max(=8 GiB)`` about a part of it.

    An empty last part of *path* stands for whatever the rule calls its subject.
    """
    subject = _SUBJECT.match(rule)
    text = re.sub(r"(?<=\w)\(=", " (=", rule[subject.end() :] if subject else f": {rule}")
    inner = read_path(subject[0]) if subject else ()
    if path and path[-1] == "":
        path, inner = path[:-1], ()
    return _WrongError(path + inner, f" {text}" if subject else text)


def _refuse(value: Value, wanted: str, path: Path) -> NoReturn:
    match value:
        case None:
            text = f" has no value: it must be {wanted}"
        case dict():
            text = f" must be {wanted}, not a mapping"
        case list():
            text = f" must be {wanted}, not a list"
        case bool():
            text = f" (={str(value).lower()}) must be {wanted}"
        case _:
            text = f" (={value!r}) must be {wanted}"
    if not path:
        text = f": a scenario{text}"
    raise _WrongError(path, text)


def _meant(value: object, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(value, known, n=1) if isinstance(value, str) else []
    return f"; did you mean {close[0]!r}?" if close and close[0] != value else ""
