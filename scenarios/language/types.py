"""The types of a scenario, in words: for error messages, for the schema and for the documentation."""

import ast
import functools
import importlib
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_type_hints

import msgspec
from msgspec import inspect as types

from cloud.training.config import BackbonePlugin
from wire import units


@dataclass(frozen=True)
class Quantity:
    """A type that is written with a unit."""

    parse: Callable[[object], float]
    format: Callable[[Any], str]  # Any: takes an int or a float
    words: str
    examples: tuple[str, ...]
    units: tuple[str, ...]
    several: bool = False
    """Allow several terms, as in ``1 h 30 min``."""


QUANTITIES: Mapping[type, Quantity] = {
    units.Bytes: Quantity(
        units.parse_bytes, units.format_bytes, "a size", ("64 MiB", "1.5 GB"), tuple(units.BYTE_UNITS)
    ),
    units.Duration: Quantity(
        units.parse_duration,
        units.format_duration,
        "a span of time",
        ("250 ms", "1 h 30 min"),
        tuple(units.TIME_UNITS),
        several=True,
    ),
    units.BitsPerSecond: Quantity(
        units.parse_rate, units.format_rate, "a data rate", ("5 Mbps", "200 kB/s"), tuple(units.RATE_UNITS)
    ),
    units.Share: Quantity(units.parse_share, units.format_share, "a share", ("5 %", "0.05"), ("%",)),
}


_PLUGIN_BASES = (BackbonePlugin,)
"""Classes in annotations that stand for the classes of plug-ins derived from them."""


@functools.cache
def kind_of(hint: Any) -> types.Type:  # Any: a type hint is no type
    """Return msgspec's description of the type *hint*, without the base classes of plug-ins."""
    kind = types.type_info(hint)
    if isinstance(kind, types.UnionType):
        left = tuple(option for option in kind.types if getattr(option, "cls", None) not in _PLUGIN_BASES)
        return left[0] if len(left) == 1 else types.UnionType(left)
    return kind


@functools.cache
def hints_of(cls: type) -> Mapping[str, Any]:
    """Return the type hints of the fields of *cls*."""
    return get_type_hints(cls, include_extras=True)


def plain(value: object) -> Any:  # Any: whatever YAML and JSON can hold
    """Return *value* as plain values, with quantities as text."""
    return msgspec.to_builtins(value, enc_hook=_as_text)


def structs_of(kind: types.Type) -> tuple[types.StructType, ...]:
    """Return the struct *kind*, or the structs of the union *kind*."""
    return tuple(option for option in _options(kind) if isinstance(option, types.StructType))


def quantity_of(kind: types.Type) -> type | None:
    """Return the class of the quantity *kind*, which may also allow None; None for another kind."""
    return next((option.cls for option in _options(kind) if isinstance(option, types.CustomType)), None)


def is_share(kind: types.Type) -> bool:
    """Return whether *kind* is a number from 0 to 1, which may also be written in percent."""
    if not isinstance(kind, types.FloatType):
        return False
    least = kind.ge if kind.ge is not None else kind.gt
    most = kind.le if kind.le is not None else kind.lt
    return least == 0 and most == 1


def items_of(kind: types.Type) -> types.Type:
    """Return the kind of the items of *kind*, if it is a collection; else *kind*."""
    match kind:
        case types.DictType():
            return kind.value_type
        case types.VarTupleType():
            return kind.item_type
    return kind


def default_of(field: types.Field) -> Any:  # Any: whatever the default is
    """Return the default of a field that is not required."""
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


@functools.cache
def sections(cls: type) -> Sequence[tuple[types.StructType, Sequence[str]]]:
    """Return the structs in *cls*, itself first, each with its paths, such as ``fleet[].memory``."""
    structs: dict[type, tuple[types.StructType, dict[str, None]]] = {}
    for path, struct in _below("", cls):
        structs.setdefault(struct.cls, (struct, {}))[1][path] = None
    return tuple((struct, tuple(paths)) for struct, paths in structs.values())


@functools.cache
def documentation(cls: type) -> Mapping[str, str]:
    """Return the string below each field of *cls*, fields of its base classes included."""
    return {
        field.target.id: _flat(text.value.value)
        for base in reversed(cls.__mro__)
        if issubclass(base, msgspec.Struct) and base is not msgspec.Struct
        for field, text in itertools.pairwise(_body(base))
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and field.target.id in base.__struct_fields__
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def summary(cls: type) -> str:
    """Return the docstring of *cls*, on one line."""
    return _flat(cls.__doc__ or "")


def choices(kind: types.Type) -> list[str]:
    """Return the words of a closed choice; an empty list for another kind."""
    match kind:
        case types.EnumType():
            return [str(member.value) for member in kind.cls]
        case types.LiteralType():
            return [str(value) for value in kind.values]
    return []


def expected(kind: types.Type) -> str:
    """Return a description of the values of *kind*."""
    match kind:
        case types.BoolType():
            return "true or false"
        case types.IntType():
            return f"a whole number{_limits(kind)}"
        case types.FloatType():
            return f"a number{_limits(kind)}"
        case types.StrType():
            return "text that is not empty" if kind.min_length else "text"
        case types.LiteralType() | types.EnumType():
            words = choices(kind)
            return f"one of {', '.join(words)}" if len(words) > 1 else words[0]
        case types.CustomType():
            quantity = QUANTITIES[kind.cls]
            return f"{quantity.words} such as {' or '.join(quantity.examples)}"
        case types.UnionType(includes_none=True):
            texts = dict.fromkeys(expected(option) for option in _options(kind))
            return " or ".join(texts) + ", or null"
        case types.UnionType() if not structs_of(kind):
            return " or ".join(expected(option) for option in _options(kind))
        case types.UnionType() if any(isinstance(option, types.StrType) for option in kind.types):
            return "text, or a mapping of keys"
    return "a list" if isinstance(kind, types.VarTupleType) else "a mapping of keys"


def _as_text(value: Any) -> object:  # Any: a quantity
    text = QUANTITIES[type(value)].format(value)
    # Text such as 1e-07 cannot be read as a share: very small ones stay numbers.
    return float(value) if isinstance(value, units.Share) and not text.endswith("%") else text


def _below(path: str, hint: Any) -> Iterator[tuple[str, types.StructType]]:  # Any: a type hint
    kind = kind_of(hint)
    if isinstance(kind, types.DictType):
        yield from _below(f"{path}.NAME", get_args(hint)[1])
    if isinstance(kind, types.VarTupleType):
        yield from _below(f"{path}[]", get_args(hint)[0])
    for struct in structs_of(kind):
        yield path, struct
        for field in struct.fields:
            yield from _below(f"{path}.{field.name}".lstrip("."), hints_of(struct.cls)[field.name])


def _body(cls: type) -> list[ast.stmt]:
    source = inspect.getsource(importlib.import_module(cls.__module__))
    bodies = (
        node.body
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__
    )
    return next(bodies, [])  # a plug-in may make its class by a function


def _flat(text: str) -> str:
    return " ".join(text.split()).replace("``", "`")


def _options(kind: types.Type) -> tuple[types.Type, ...]:
    options = kind.types if isinstance(kind, types.UnionType) else (kind,)
    return tuple(option for option in options if not isinstance(option, types.NoneType))


def _limits(kind: types.IntType | types.FloatType) -> str:
    if kind.ge is not None and kind.le is not None:
        return f" from {_number(kind.ge)} to {_number(kind.le)}"
    limits = {">": kind.gt, ">=": kind.ge, "<": kind.lt, "<=": kind.le}
    text = " and ".join(f"{sign} {_number(limit)}" for sign, limit in limits.items() if limit is not None)
    return f" {text}" if text else ""


def _number(limit: float) -> str:
    if limit == 2**63 - 1:
        return "2^63 - 1"
    return str(int(limit)) if limit == int(limit) else str(limit)
