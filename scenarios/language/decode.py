"""Plain values into a `Scenario`; an error names the path, the value and the rule.

The structs and their annotations are the only statement of what is allowed; this file walks them.
"""

import copy
import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final, get_args

import msgspec
from msgspec import inspect as types

from devices.simulated.roster import FleetGroup
from scenarios.language.checks import RuleError, find_errors
from scenarios.language.plugin_types import plugin_struct, registry_of
from scenarios.language.scenario import Scenario
from scenarios.language.schema import RECIPES, Model
from scenarios.language.types import (
    QUANTITIES,
    choices,
    expected,
    hints_of,
    is_share,
    kind_of,
    quantity_of,
    structs_of,
)
from scenarios.language.wrong_values import WrongError, hint_of, list_of, mapping_of, refuse
from scenarios.language.yaml_tree import Path, Tree, Value, one_line
from wire.errors import InputError
from wire.plugins.registry import PluginRegistry
from wire.units import BYTE_UNITS, RATE_UNITS, TIME_UNITS, BitsPerSecond, Bytes, Duration, parse_share

MAX_QUANTITIES: Mapping[type, int] = {
    Duration: 3650 * TIME_UNITS["d"],
    Bytes: 4096 * BYTE_UNITS["TiB"],
    BitsPerSecond: 1_000_000 * RATE_UNITS["Gbps"],
}
"""The maximum of each quantity: sums of them in a run must fit into signed 64-bit integers."""

MOST_ERRORS = 100
"""The number of errors of a file that are reported; a last line says that there are more."""

_TYPE: Final = "type"
"""The key of the settings of a plug-in that has its name."""
_NONE: Final = "none"
"""The word for null where a value is a mapping of keys."""
_BROKEN: Final = object()
"""A value that breaks a rule, and has been reported; a value that contains it is broken, too."""
_INDEX = re.compile(r"[0-9]{1,9}")
_LINE = re.compile(r".*?:([0-9]{1,9}): ")
MAX_LINES = 10**9
_SUBJECT = re.compile(r"[\w-]+(?:\.[\w-]+|\[[^]]*\])*(?=\(=)")


def decode(tree: Tree, before: Sequence[str] = ()) -> Scenario:
    """Return the scenario that *tree* describes.

    Args:
        tree: the values, and where they are written.
        before: lines of errors that are known already.

    Raises:
        InputError: it breaks rules; for each there is a line with the place, the path, the value and the
            rule, in the order of the file.
    """
    decoder = _Decoder(tree)
    scenario = decoder.value(Scenario, tree.value, ())
    lines = [
        *before,
        *tree.wrong.values(),
        *(one_line(f"{tree.place(error.at)}: {error}") for error in decoder.found),
    ]
    if lines:
        raise InputError(*in_order(lines))
    assert isinstance(scenario, Scenario)
    return scenario


def in_order(lines: Sequence[str]) -> list[str]:
    """Return *lines* without repetitions, by the line number at their beginning; those without come last."""
    numbered = {line: _LINE.match(line) for line in dict.fromkeys(lines)}
    rising = sorted(numbered, key=lambda line: int(found[1]) if (found := numbered[line]) else MAX_LINES)
    more = len(rising) - MOST_ERRORS
    return rising if more <= 0 else [*rising[:MOST_ERRORS], f"and more errors: these are {MOST_ERRORS}"]


def read_path(text: str) -> Path:
    """Read ``fleet[0].memory.min``; brackets may hold an index or a name."""
    parts = re.findall(r"\[([^]]*)\]|([^.\[\]]+)", text)
    return tuple(int(inner) if _INDEX.fullmatch(inner) else inner or outer for inner, outer in parts)


class _Decoder:
    """Walks type hints and values together, collects the errors, and checks the rest, too.

    Args:
        tree: the values; it also says which of them cannot be used or take the type of their default.
    """

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.found: list[WrongError] = []

    # Any: type hints are no types, and the default of a field may be anything.
    def value(self, hint: Any, value: Value, path: Path, default: Any = None) -> object:
        """Return *value*, at *path*, as the type *hint*; `_BROKEN` if it breaks a rule."""
        if path in self._tree.wrong:
            return _BROKEN
        try:
            return self._value(hint, value, path, default)
        except WrongError as error:
            self.found.append(error)
            return _BROKEN

    def _value(self, hint: Any, value: Value, path: Path, default: Any) -> object:
        kind = kind_of(hint)
        if isinstance(kind, types.AnyType):
            return _BROKEN if any(path == wrong[: len(path)] for wrong in self._tree.wrong) else value
        registry = registry_of(hint)
        if (
            registry is not None
            and (plugin := self._plugin(registry, kind, value, path, default)) is not None
        ):
            return plugin
        structs = structs_of(kind)
        if structs and value == _NONE and _is_leaf(kind, None) and not _is_leaf(kind, ""):
            return None
        if structs and not _is_leaf(kind, value):
            given = self._with_type(mapping_of(value, path, expected(kind)), path, default)
            return self._struct(_choose(structs, given, path, registry), given, path, default)
        if isinstance(kind, types.DictType):
            item = get_args(hint)[1]
            given = mapping_of(value, path)
            entries = {key: self.value(item, inner, (*path, key)) for key, inner in given.items()}
            return _BROKEN if any(entry is _BROKEN for entry in entries.values()) else entries
        if isinstance(kind, types.VarTupleType):
            item = get_args(hint)[0]
            items = [self.value(item, inner, (*path, at)) for at, inner in enumerate(list_of(value, path))]
            return _BROKEN if any(entry is _BROKEN for entry in items) else tuple(items)
        return _leaf(hint, kind, value, path, registry)

    def _plugin(
        self, registry: PluginRegistry[Any], kind: types.Type, value: Value, path: Path, default: object
    ) -> object | None:
        """Return *value* as the settings of a plug-in; None if it is no plug-in with settings."""
        given = self._with_type(value, path, default) if isinstance(value, dict) else {_TYPE: value}
        name = given.get(_TYPE)
        if name is None and isinstance(kind, types.LiteralType):
            raise WrongError(path, f": missing key {_TYPE!r}: the name of a plug-in")
        if not isinstance(name, str) or not (isinstance(value, dict) or not structs_of(kind)):
            return None
        at = (*path, _TYPE) if isinstance(value, dict) else path
        try:
            struct = plugin_struct(registry, name)
        except InputError as error:
            raise WrongError(at, f": {error}") from None
        if struct is not None:
            return self._struct(struct, given, path, default)
        if isinstance(value, dict) and isinstance(kind, types.LiteralType):
            words = registry.names()
            known = f"one of {', '.join(words)}{hint_of(name, words)}" if words else "none is installed"
            refuse(name, f"the name of a plug-in: {known}", at)
        return None

    def _with_type(self, given: Mapping[str, Value], path: Path, default: object) -> Mapping[str, Value]:
        if path not in self._tree.implied or not isinstance(default, msgspec.Struct):
            return given
        config = default.__struct_config__
        return {config.tag_field: str(config.tag), **given} if config.tag_field else given

    def _struct(
        self, kind: types.StructType, given: Mapping[str, Value], path: Path, default: object
    ) -> object:
        wrong_keys = list(_wrong_keys(kind, given, path))
        self.found += wrong_keys
        hints, default = hints_of(kind.cls), _by_recipe(kind.cls, given, default)
        # A key that is left out has its value in the default of the struct, not its own default.
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
        broken = {name for name, value in fields.items() if value is _BROKEN}
        broken |= {name for key in given for name in _likely_keys(key, kind) if name not in given}
        values = rest | {name: value for name, value in fields.items() if name not in broken}
        struct = self._create(kind, values, path, broken)
        return _BROKEN if wrong_keys else struct

    def _create(
        self, kind: types.StructType, values: dict[str, object], path: Path, broken: set[str]
    ) -> object:
        """Return the struct with *values*; if it breaks a rule, go on with a default to find more errors.

        Args:
            kind: the struct.
            values: of its fields; changed.
            path: of the struct.
            broken: fields that have a default instead of what is written; changed.
        """
        fields = {field.name: field for field in kind.fields}
        missing = {name for name, field in fields.items() if field.required and name not in values}
        if kind.cls is Scenario and (broken or missing):
            for text in islice(find_errors(_with_gaps(values), broken | missing), MOST_ERRORS + 1):
                self.found.append(_broken(path, text))
            return _BROKEN
        while not any(field.required and name not in values for name, field in fields.items()):
            try:
                struct = kind.cls(**values)
            except RuleError as error:
                self.found += [_broken(path, text) for text in error.texts]
                return _BROKEN
            except ValueError as error:
                rule = str(error)
                if not _names_any(rule, broken):
                    self.found.append(_broken(path, rule))
                subject = _SUBJECT.match(rule)
                name = re.split(r"[.\[]", subject[0], maxsplit=1)[0] if subject else ""
                if name not in values or name in broken:
                    return _BROKEN
                broken.add(name)
                del values[name]
            else:
                return _BROKEN if broken else struct
        return _BROKEN


def _with_gaps(values: Mapping[str, object]) -> Scenario:
    """Return an unchecked scenario with *values* and defaults."""
    scenario = copy.copy(_ANY)  # does not call `__post_init__`
    for field in msgspec.structs.fields(Scenario):
        default = None if field.required else default_of_field(field)
        msgspec.structs.force_setattr(scenario, field.name, values.get(field.name, default))
    scenario.fill_in()
    return scenario


_ANY: Final = Scenario(version=1, name="any", stop_time=Duration(1), fleet=(FleetGroup(name="any", count=1),))


def default_of_field(field: msgspec.structs.FieldInfo) -> object:
    """Return the default of a field that is not required."""
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


def _names_any(rule: str, names: set[str]) -> bool:
    """Return whether *rule* is about one of the fields *names*, whose values were replaced by defaults."""
    return any(re.search(rf"\b{re.escape(name)}\b", rule) for name in names)


def _by_recipe(cls: type, given: Mapping[str, Value], default: object) -> object:
    """Return what gives the keys that are left out their values: the recipe, where one is named."""
    recipe = given.get("recipe") if cls is Model else None
    return RECIPES.get(recipe, default) if isinstance(recipe, str) else default


def _choose(
    structs: Sequence[types.StructType],
    given: Mapping[str, Value],
    path: Path,
    registry: PluginRegistry[Any] | None,
) -> types.StructType:
    """Return the struct that the tag in *given* names, which is no plug-in of *registry*."""
    field = structs[0].tag_field
    if field is None or (len(structs) == 1 and field not in given):
        return structs[0]
    by_tag = {str(struct.tag): struct for struct in structs}
    words = [*by_tag, *(registry.names() if registry is not None else ())]
    if field not in given:
        raise WrongError(path, f": missing key {field!r}: one of {', '.join(words)}")
    tag = given[field]
    if not isinstance(tag, str) or tag not in by_tag:
        one = f"one of {', '.join(words)}" if len(words) > 1 else words[0]
        refuse(tag, f"{one}{hint_of(tag, words)}", (*path, field))
    return by_tag[tag]


def _likely_keys(key: str, kind: types.StructType) -> Sequence[str]:
    """Return the key that an unknown *key* of *kind* most likely stands for; its value is not known."""
    known = [field.name for field in kind.fields]
    unknown = key not in known and key != kind.tag_field
    return difflib.get_close_matches(key, known, n=1) if unknown else ()


def _wrong_keys(kind: types.StructType, given: Mapping[str, Value], path: Path) -> Iterator[WrongError]:
    """Yield the errors in the keys of *given*: unknown keys and missing keys."""
    known = [field.name for field in kind.fields]
    for key in given:
        if key not in known and key != kind.tag_field:
            hint = hint_of(key, known) or f"; known keys: {', '.join(known)}"
            yield WrongError(path, f": unknown key {key!r}{hint}", at=(*path, key))
    for field in kind.fields:
        if field.required and field.name not in given:
            yield WrongError(path, f": missing key {field.name!r}")


def _is_leaf(kind: types.Type, value: Value) -> bool:
    """Return whether *value* is null or text, and *kind* allows that beside a mapping."""
    if not isinstance(kind, types.UnionType):
        return False
    text = any(isinstance(option, types.StrType) for option in kind.types)
    return (value is None and kind.includes_none) or (text and isinstance(value, str))


def _leaf(
    hint: Any,  # a type hint
    kind: types.Type,
    value: Value,
    path: Path,
    registry: PluginRegistry[Any] | None,
) -> object:
    if value is None and isinstance(kind, types.UnionType) and kind.includes_none:
        return None
    if value is None or isinstance(value, list | dict):
        refuse(value, expected(kind), path)
    cls = quantity_of(kind)
    if cls is not None:
        return _quantity(cls, value, path)
    number = _percent(value) if is_share(kind) else value
    try:
        return msgspec.convert(number, hint)
    except msgspec.ValidationError:
        more = registry.names() if registry is not None else ()
        words = [*choices(kind), *more]
        refuse(value, f"{', '.join([expected(kind), *more])}{hint_of(value, words)}", path)


def _percent(value: Value) -> Value:
    """Return the number of a text such as ``5 %``; return other values unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return float(parse_share(value))
    except ValueError:
        return value


def _quantity(cls: type, value: Value, path: Path) -> float:
    try:
        quantity = QUANTITIES[cls].parse(value)
    except ValueError as error:
        raise _broken((*path, ""), str(error)) from None
    if quantity > MAX_QUANTITIES.get(cls, quantity):
        refuse(value, f"at most {QUANTITIES[cls].format(MAX_QUANTITIES[cls])}", path)
    return quantity


def _broken(path: Path, rule: str) -> WrongError:
    """Join *path* and a rule about a part of it, such as ``min(=9 GiB) must not exceed max(=8 GiB)``.

    An empty last part of *path* stands for the subject of the rule.
    """
    subject = _SUBJECT.match(rule)
    text = re.sub(r"(?<=\w)\(=", " (=", rule[subject.end() :] if subject else f": {rule}")
    inner = read_path(subject[0]) if subject else ()
    if path and path[-1] == "":
        path, inner = path[:-1], ()
    return WrongError(path + inner, f" {text}" if subject else text)
