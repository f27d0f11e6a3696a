"""The JSON Schema of a scenario, from its types: for editors, and for programs that write scenarios."""

import json
import re
from typing import Any, get_args

from msgspec import inspect as types

from scenarios.language.scenario import Scenario
from scenarios.language.types import (
    QUANTITIES,
    Quantity,
    choices,
    default_of,
    documentation,
    hints_of,
    is_share,
    kind_of,
    plain,
    sections,
    summary,
)
from scenarios.reference.recipe_defaults import recipe_defaults
from wire.units import Share

Json = dict[str, Any]  # Any: JSON

_NUMBER = r"([0-9]+(\.[0-9]+)?|\.[0-9]+)"


def schema_text() -> str:
    """Return the content of ``schema.json``."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def json_schema() -> Json:
    """Return the JSON Schema of a scenario."""
    structs = {kind.cls: kind for kind, _ in sections(Scenario)}
    root = _struct(structs.pop(Scenario))
    definitions = {cls.__name__: _struct(kind) for cls, kind in structs.items()}
    assert len(definitions) == len(structs), "two structs have the same name"
    definitions |= {cls.__name__: _quantity(cls, QUANTITIES[cls]) for cls in QUANTITIES}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Peelfleet scenario",
        **root,
        "patternProperties": {"^x-": True},
        "$defs": dict(sorted(definitions.items())),
    }


def _struct(kind: types.StructType) -> Json:
    tag: Json = {kind.tag_field: {"const": kind.tag}} if kind.tag_field else {}
    fields = {field.name: _field(kind.cls, field) for field in kind.fields}
    return {
        "type": "object",
        "description": summary(kind.cls),
        "properties": tag | fields,
        "required": [*tag, *(field.name for field in kind.fields if field.required)],
        "additionalProperties": False,
    }


def _field(cls: type, field: types.Field) -> Json:
    schema = _value(hints_of(cls)[field.name]) | {"description": _description(cls, field)}
    return schema if field.required else schema | {"default": plain(default_of(field))}


def _description(cls: type, field: types.Field) -> str:
    """Return the description of *field*, and its defaults under recipes that change it."""
    others = [
        f" Default with recipe {recipe}: {json.dumps(plain(default), ensure_ascii=False)}."
        for recipe, default in recipe_defaults(cls, field.name).items()
    ]
    return documentation(cls)[field.name] + "".join(others)


def _value(hint: Any) -> Json:  # Any: a type hint
    kind = kind_of(hint)
    match kind:
        case types.DictType():
            return {"type": "object", "additionalProperties": _value(get_args(hint)[1])}
        case types.VarTupleType():
            return {"type": "array", "items": _value(get_args(hint)[0])}
    return _leaf(kind)


def _leaf(kind: types.Type) -> Json:
    match kind:
        case types.AnyType():
            return {}
        case types.UnionType():
            return {"anyOf": [_leaf(option) for option in kind.types]}
        case types.StructType() | types.CustomType():
            return {"$ref": f"#/$defs/{kind.cls.__name__}"}
        case types.LiteralType() if len(kind.values) == 1:
            return {"const": kind.values[0]}
        case types.LiteralType() | types.EnumType():
            return {"enum": choices(kind)}
        case types.StrType():
            return {"type": "string"} | ({"minLength": kind.min_length} if kind.min_length else {})
        case types.IntType() | types.FloatType():
            number = {"type": "integer" if isinstance(kind, types.IntType) else "number"} | _limits(kind)
            percent = {"type": "string", "pattern": rf"^\s*{_NUMBER}\s*%\s*$"}
            return {"anyOf": [percent, number]} if is_share(kind) else number
    return {"type": "boolean" if isinstance(kind, types.BoolType) else "null"}


def _limits(kind: types.IntType | types.FloatType) -> Json:
    limits = {
        "minimum": kind.ge,
        "maximum": kind.le,
        "exclusiveMinimum": kind.gt,
        "exclusiveMaximum": kind.lt,
    }
    return {word: limit for word, limit in limits.items() if limit is not None}


def _quantity(cls: type, quantity: Quantity) -> Json:
    term = rf"{_NUMBER}\s*({'|'.join(re.escape(unit) for unit in quantity.units)})"
    pattern = rf"^\s*({term}\s*)+$" if quantity.several else rf"^\s*{term}\s*$"
    number: Json = {"type": "number", "minimum": 0, "maximum": 1} if cls is Share else {"const": 0}
    text = {"type": "string", "pattern": pattern, "examples": list(quantity.examples)}
    return {"description": quantity.words.capitalize(), "anyOf": [text, number]}
