"""The JSON Schema of a scenario, from its types: for editors, and for programs that write scenarios."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from msgspec import inspect as types

from cloud.training.config import BACKBONE_PLUGINS
from scenarios.language.plugin_types import plugin_struct, registry_of
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
from scenarios.reference.plugin_list import REGISTRIES
from scenarios.reference.recipe_defaults import recipe_defaults
from wire.errors import InputError
from wire.units import Share

Json = dict[str, Any]  # Any: JSON

_NUMBER = r"([0-9]+(\.[0-9]+)?|\.[0-9]+)"


def schema_text(*, plugins: bool = False) -> str:
    """Return the content of ``schema.json``, or the same with the installed *plugins*."""
    return json.dumps(json_schema(plugins=plugins), indent=2, ensure_ascii=False) + "\n"


def json_schema(*, plugins: bool = False) -> Json:
    """Return the JSON Schema of a scenario, without or with the installed *plugins* that work."""
    structs = {kind.cls: kind for kind, _ in sections(Scenario)}
    more = _AllowedPlugins()
    if plugins:
        structs |= more.add_installed(structs)
    root = _struct(structs.pop(Scenario), more)
    definitions = {more.name_of(cls): _struct(kind, more) for cls, kind in structs.items()}
    assert len(definitions) == len(structs), "two structs have the same name"
    definitions |= {cls.__name__: _quantity(cls, QUANTITIES[cls]) for cls in QUANTITIES}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Peelfleet scenario",
        **root,
        "patternProperties": {"^x-": True},
        "$defs": dict(sorted(definitions.items())),
    }


class _AllowedPlugins:
    """The plug-ins that a schema allows; none at first."""

    def __init__(self) -> None:
        self._names: dict[type, str] = {}
        self._choices: dict[str, list[Json]] = {}

    def add_installed(self, known: Mapping[type, types.StructType]) -> dict[type, types.StructType]:
        """Allow all installed plug-ins that work; return their settings, without those in *known*."""
        added: dict[type, types.StructType] = {}
        for registry in REGISTRIES:
            choices = self._choices.setdefault(registry.kind, [])
            for name in registry.names():
                try:
                    kind = plugin_struct(registry, name)
                except InputError:  # `peelfleet plugins` says why it cannot be used
                    continue
                if kind is None or registry is BACKBONE_PLUGINS:
                    choices.append({"const": name})
                for inner, _ in sections(kind.cls) if kind is not None else ():
                    if inner.cls not in known:
                        added[inner.cls] = inner
                        self._names[inner.cls] = f"{registry.kind}.{name}.{inner.cls.__name__}"
                if kind is not None:
                    choices.append({"$ref": f"#/$defs/{self.name_of(kind.cls)}"})
        return added

    def name_of(self, cls: type) -> str:
        """Return the name of the definition of *cls*."""
        return self._names.get(cls, cls.__name__)

    def choices_for(self, hint: Any) -> Sequence[Json]:  # Any: a type hint
        """Return the schemas of the values that plug-ins add to the type *hint*."""
        registry = registry_of(hint)
        return () if registry is None else self._choices.get(registry.kind, ())


def _struct(kind: types.StructType, more: _AllowedPlugins) -> Json:
    tag: Json = {kind.tag_field: {"const": kind.tag}} if kind.tag_field else {}
    fields = {field.name: _field(kind.cls, field, more) for field in kind.fields}
    return {
        "type": "object",
        "description": summary(kind.cls),
        "properties": tag | fields,
        "required": [*tag, *(field.name for field in kind.fields if field.required)],
        "additionalProperties": False,
    }


def _field(cls: type, field: types.Field, more: _AllowedPlugins) -> Json:
    schema = _value(hints_of(cls)[field.name], more) | {"description": _description(cls, field)}
    return schema if field.required else schema | {"default": plain(default_of(field))}


def _description(cls: type, field: types.Field) -> str:
    """Return the description of *field*, and its defaults under recipes that change it."""
    others = [
        f" Default with recipe {recipe}: {json.dumps(plain(default), ensure_ascii=False)}."
        for recipe, default in recipe_defaults(cls, field.name).items()
    ]
    return documentation(cls).get(field.name, "") + "".join(others)


def _value(hint: Any, more: _AllowedPlugins) -> Json:  # Any: a type hint
    kind, others = kind_of(hint), more.choices_for(hint)
    match kind:
        case types.DictType():
            return {"type": "object", "additionalProperties": _value(get_args(hint)[1], more)}
        case types.VarTupleType():
            return {"type": "array", "items": _value(get_args(hint)[0], more)}
    own = _leaf(kind, more)
    return {"anyOf": [*own.get("anyOf", [own]), *others]} if others else own


def _leaf(kind: types.Type, more: _AllowedPlugins) -> Json:
    match kind:
        case types.AnyType():
            return {}
        case types.UnionType():
            return {"anyOf": [_leaf(option, more) for option in kind.types]}
        case types.StructType() | types.CustomType():
            return {"$ref": f"#/$defs/{more.name_of(kind.cls)}"}
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
