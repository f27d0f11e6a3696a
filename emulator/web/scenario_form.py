"""The form of a new run: fields for the keys that people change most, made from the schema of scenarios."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import scenarios

MAIN_KEYS: Final = (
    "seed", "clock", "stop_time", "fleet[0].count", "realtime.speed", "sample", "engine", "broker",
)  # fmt: skip
"""The keys of the fields, as after ``--set``."""
_LINK: Final = re.compile(r"\[([^\]]*)\]\([^)]*\)")

Schema = dict[str, Any]  # Any: JSON


@dataclass(frozen=True)
class FormField:
    """A field of the form; an empty one changes nothing."""

    key: str
    kind: str
    """``select``, ``number`` or ``text``."""
    help: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    step: str = "any"
    example: str = ""


def form_fields() -> list[FormField]:
    """Return the fields of the form."""
    schema = json.loads((Path(scenarios.__file__).parent / "schema.json").read_bytes())
    return [_field(schema, key) for key in MAIN_KEYS]


def _field(schema: Schema, key: str) -> FormField:
    node: Schema = schema
    for word in re.findall(r"[a-z_]+|\[\d+\]", key):
        if word.startswith("["):
            node = _resolved(schema, node["items"])
        else:
            found = _resolved(schema, node)["properties"][word]
            node = {**_resolved(schema, found), **found}
    text = _LINK.sub(r"\1", node.get("description", "")).replace("`", "")
    if "enum" in node:
        return FormField(key, "select", text, choices=tuple(node["enum"]))
    if node.get("type") in ("integer", "number"):
        step = "1" if node["type"] == "integer" else "any"
        return FormField(
            key, "number", text, minimum=node.get("minimum"), maximum=node.get("maximum"), step=step
        )
    return FormField(key, "text", text, example=_example(schema, node))


def _resolved(schema: Schema, node: Schema) -> Schema:
    """Return a node, or that which it refers to."""
    if "$ref" in node:
        return _resolved(schema, schema["$defs"][node["$ref"].rpartition("/")[2]])
    return node


def _example(schema: Schema, node: Schema) -> str:
    """Return the first example of a text; empty if it has none."""
    options = [_resolved(schema, option) for option in node.get("anyOf", ())]
    examples = [*node.get("examples", ()), *(_example(schema, option) for option in options)]
    return next((str(example) for example in examples if example), "")
