"""A checker for the part of JSON Schema that ``scenarios/schema.json`` uses."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from scenarios.reference.json_schema import json_schema

SCHEMA = json_schema()

Json = Any  # Any: JSON

_TYPES: Mapping[str, Callable[[Json], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}
_LIMITS: Mapping[str, Callable[[float, float], bool]] = {
    "minimum": lambda value, limit: value >= limit,
    "maximum": lambda value, limit: value <= limit,
    "exclusiveMinimum": lambda value, limit: value > limit,
    "exclusiveMaximum": lambda value, limit: value < limit,
}


def problems(value: Json) -> list[str]:
    """Return what keeps *value* from being a scenario by the schema."""
    return list(_check(value, SCHEMA, "$"))


def _check(value: Json, schema: Json, path: str) -> Iterator[str]:
    if "$ref" in schema:
        yield from _check(value, SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")], path)
    if "anyOf" in schema and all(any(_check(value, option, path)) for option in schema["anyOf"]):
        yield f"{path}: {value!r} is none of the options"
    if "const" in schema and value != schema["const"]:
        yield f"{path}: {value!r} is not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{path}: {value!r} is none of {schema['enum']}"
    if "type" in schema and not _TYPES[schema["type"]](value):
        yield f"{path}: {value!r} is no {schema['type']}"
    elif isinstance(value, str):
        yield from _check_text(value, schema, path)
    elif isinstance(value, dict):
        yield from _check_mapping(value, schema, path)
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _check(item, schema.get("items", {}), f"{path}[{at}]")
    elif isinstance(value, int | float):
        for word, holds in _LIMITS.items():
            if word in schema and not holds(value, schema[word]):
                yield f"{path}: {value!r} breaks {word} {schema[word]}"


def _check_text(value: str, schema: Json, path: str) -> Iterator[str]:
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{path}: {value!r} does not match {schema['pattern']}"
    if len(value) < schema.get("minLength", 0):
        yield f"{path}: {value!r} is too short"


def _check_mapping(value: Json, schema: Json, path: str) -> Iterator[str]:
    yield from (f"{path}: no {key}" for key in schema.get("required", ()) if key not in value)
    for key, item in value.items():
        if key in schema.get("properties", {}):
            yield from _check(item, schema["properties"][key], f"{path}.{key}")
        elif not any(re.search(pattern, key) for pattern in schema.get("patternProperties", {})):
            other = schema.get("additionalProperties", {})
            yield from [f"{path}: unknown {key}"] if other is False else _check(item, other, f"{path}.{key}")
