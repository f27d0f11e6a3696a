"""The wire as an AsyncAPI 3.0 document, from the topic table and the message types: ``docs/asyncapi.yaml``.

AsyncAPI describes one application; this one is a device. Its examples are the files of ``docs/examples``.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import yaml

from cloud.service.report_queue import AdmissionLimits
from scenarios.language.types import documentation, summary
from wire.codecs import Codec
from wire.geometry import Geometry, Score
from wire.messages import (
    MAX_JSON_BYTES,
    BudgetReport,
    CloudStatus,
    ErrorAnswer,
    ModelNotice,
    QualityReport,
    RolloutNotice,
    Status,
)
from wire.mqtt.connection import KEEP_ALIVE_S
from wire.topics import NAME, TABLE, MessageKind, Role, Route, subscription
from wire.update_part import DEFAULT_MAX_PAYLOAD, MAX_HEADER_BYTES, TENSOR_TYPES

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
BINDING = "0.2.0"
"""The version of AsyncAPI's MQTT bindings."""

Json = dict[str, Any]  # Any: JSON

PAYLOADS: dict[MessageKind, type[msgspec.Struct] | None] = {
    MessageKind.BUDGET: BudgetReport,
    MessageKind.PEE: None,
    MessageKind.QUALITY: QualityReport,
    MessageKind.STATUS: Status,
    MessageKind.MODEL: ModelNotice,
    MessageKind.BLOCKS: None,
    MessageKind.ERROR: ErrorAnswer,
    MessageKind.CLOUD: CloudStatus,
    MessageKind.ROLLOUT: RolloutNotice,
}
"""The type of each topic's JSON; None: an update part, which is binary."""

JSON_EXAMPLES: dict[MessageKind, tuple[str, ...]] = {
    MessageKind.BUDGET: tuple(
        f"report-{name}" for name in ("first", "growth", "shrink", "wants", "group", "shared", "capabilities")
    ),
    MessageKind.QUALITY: ("quality",),
    MessageKind.STATUS: ("status-online", "status-holds", "status-will"),
    MessageKind.MODEL: ("model",),
    MessageKind.ERROR: ("error-unknown_user", "error-rate"),
    MessageKind.CLOUD: ("cloud-online", "cloud-will"),
    MessageKind.ROLLOUT: ("rollout-running", "rollout-complete"),
}
"""The names of the example messages in ``docs/examples``."""

_TOPICS = {kind: TABLE[kind] for kind in PAYLOADS}
"""The topics of a device; orders to the cloud are an operator's."""
_LIMITS = AdmissionLimits()
_INTRODUCTION = f"""\
What travels between the devices of a fleet and the cloud that serves them personalized elastic
embeddings (PEEs).

This document describes **one application, a device**: what it *sends* the cloud receives, and what it
*receives* the cloud sends. So a device sends `budget`, `quality` and `status` and receives `pee`, `error`,
`model`, `blocks`, `cloud` and `rollout`; a cloud subscribes to `budget`, with `+` in the place of the device,
may read `quality` and `status` likewise, and publishes the others.

JSON messages are UTF-8 and at most {MAX_JSON_BYTES} bytes. They are open: a receiver ignores a field that
is not listed, so that the other end may be newer. Only `geometry` is closed.
Update parts are safetensors files, by default at most {DEFAULT_MAX_PAYLOAD} bytes. What is refused is
counted by its reason and answered by an error. The order of things, the bytes of blocks and worked examples
are in `protocol.md` beside this file; `examples/` holds the payloads that are shown here and the binary ones.
"""
_CHANNELS: dict[MessageKind, tuple[str, str, str]] = {
    MessageKind.BUDGET: (
        "Budget report",
        "The device says how many bytes it may hold, and what it holds; the cloud answers on `pee`.",
        "At its start, when its budget changes, after a reconnection, when a part was refused, and when no "
        f"answer comes. A cloud takes in {_LIMITS.rate:g} a second and device in the long run, "
        f"{_LIMITS.burst} at once, and answers only the newest of a device's reports that wait.",
    ),
    MessageKind.PEE: (
        "Update part",
        "The cloud sends the blocks that a device lacks, in one or more parts; the device takes them in.",
        "A part whose `seq` is not that of the device's last report is ignored; one that is damaged or does "
        "not follow on what is held is refused, and the device reports again.",
    ),
    MessageKind.QUALITY: (
        "Quality report",
        "The device says how well it recommends.",
        "Whenever it likes, or never.",
    ),
    MessageKind.STATUS: (
        "Status",
        "The device says that it is there, or about to leave; the broker says so for it if it is lost.",
        "Also the session's last will.",
    ),
    MessageKind.MODEL: (
        "Model notice",
        "The cloud announces the model version that it serves; the device learns how blocks are cut.",
        "A device that has not read it can decode no blocks. An empty payload clears it: ignore that.",
    ),
    MessageKind.BLOCKS: (
        "Layer",
        "With shared delivery: the cloud leaves each layer at the broker; a device takes what it lacks.",
        "An update part whose `seq` is 0. Only from a cloud with `--retain-blocks`.",
    ),
    MessageKind.ERROR: (
        "Error answer",
        "The cloud says why it does not answer a report, or not now; the device waits, or changes something.",
        "At most one a second and device. A device that cannot read it waits as for an answer that is lost.",
    ),
    MessageKind.CLOUD: (
        "Cloud status",
        "A service of the cloud says that it is there, and what it offers; or the broker that it is lost.",
        "Also the last will of that service. A cloud of protocol 1.0 has none.",
    ),
    MessageKind.ROLLOUT: (
        "Rollout notice",
        "The cloud says which model version is offered to which groups of devices.",
        "A device that does not know it follows `model`. An empty payload clears it: ignore that.",
    ),
}
_PARAMETERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "fleet": (f"The fleet, {NAME.pattern}.", ("lab",)),
    "device": (f"The device, {NAME.pattern}: also its user name at the broker.", ("phone-1",)),
    "model": ("The model version.", ("86933656a3633a9a",)),
    "group": ("The user group, from 0.", ("0",)),
    "layer": ("The layer, from 1.", ("1",)),
    "replica": ("A service of the cloud; `main` where there is one only.", ("main",)),
}
_FIELDS = {
    "crc32": "checksum, eight hexadecimal digits, at a fixed place: protocol.md",
    "seq": "the report that this answers, at a fixed place; 0 in a layer's part",
    "signature": "of a cloud that signs, at a fixed place: protocol.md, under Signatures",
    "model": "model version",
    "group": "user group",
    "first": "place in the ranking, from 0, of the part's first block",
    "target": "how many blocks the PEE for the reported budget has",
    "part": "this part's number, from 1",
    "parts": "how many parts the answer has",
}
_TENSORS = {
    "user_vector": ("d", "in an introduction, where the report named the user: the user's vector"),
    "layer_blocks": ("L", "in an introduction: how many blocks the first l layers hold, l = 1 .. L"),
    "layer_bytes": ("L", "in an introduction: how many bytes are stored for them"),
    "scales": ("B", "where the codec is int8 or int4: the factor of each block"),
    "ids": ("B", "block ids, in ranking order"),
    "sizes": ("B", "where the codec is planes or coded: bytes of each block in `data`"),
    "data": ("bytes", "the blocks' numbers, end to end, in the same order"),
    "delta": ("bytes", "in a delta: turns the blocks of another version into those of this one"),
}
_SIGNATURE = {
    "description": "Of a cloud that signs, the last field: protocol.md, under Signatures.",
    "type": "string",
    "pattern": "^[0-9a-f]{128}$",
}


def text() -> str:
    """Return the content of ``asyncapi.yaml``."""
    head = "# Generated by `make docs` from wire/topics.py and wire/messages.py; do not edit.\n"
    return head + yaml.dump(document(), Dumper=_SpecDumper, sort_keys=False, width=120, allow_unicode=True)


def document() -> Json:
    """Return the AsyncAPI document."""
    return {
        "asyncapi": "3.0.0",
        "id": "urn:peelfleet:protocol:1",
        "info": {
            "title": "Peelfleet device",
            "version": "1.0.0",
            "description": _INTRODUCTION,
            "license": {"name": "MIT"},
            "tags": [{"name": "device", "description": "The application that is described."}],
        },
        "defaultContentType": "application/json",
        "servers": {"mqtt": _server(secure=False), "mqtts": _server(secure=True)},
        "channels": {kind.value: _channel(kind, route) for kind, route in _TOPICS.items()},
        "operations": dict(_operation(kind, route) for kind, route in _TOPICS.items()),
        "components": {
            "messages": {_message_name(kind): _message(kind) for kind in _TOPICS},
            "schemas": {**_schemas(), "UpdatePart": _update_part()},
            "parameters": {
                name: {"description": words, "examples": list(such_as)}
                for name, (words, such_as) in _PARAMETERS.items()
            },
            "securitySchemes": {
                "userPassword": {
                    "type": "userPassword",
                    "description": "A user name, which is the device's id, and a password.",
                },
                "certificate": {
                    "type": "X509",
                    "description": "A certificate whose common name is the device's id.",
                },
            },
        },
    }


def _server(*, secure: bool) -> Json:
    known = ["userPassword", *(["certificate"] if secure else [])]
    return {
        "host": "{host}:{port}",
        "protocol": "mqtts" if secure else "mqtt",
        "protocolVersion": "3.1.1",
        "description": f"A broker, {'over TLS 1.2 or newer' if secure else 'in the clear: on this machine'}.",
        "variables": {
            "host": {"default": "localhost", "description": "The broker's name or address."},
            "port": {"default": "8883" if secure else "1883", "description": "Its port."},
        },
        "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in known],
        "bindings": {
            "mqtt": {
                "clientId": "the device's id",
                "cleanSession": False,
                "lastWill": {
                    "topic": _address(MessageKind.STATUS),
                    "qos": TABLE[MessageKind.STATUS].qos,
                    "message": (EXAMPLES / "status-will.json").read_text(encoding="utf-8"),
                    "retain": TABLE[MessageKind.STATUS].retained,
                },
                "keepAlive": KEEP_ALIVE_S,
                "bindingVersion": BINDING,
            }
        },
    }


def _channel(kind: MessageKind, route: Route) -> Json:
    title, words, _ = _CHANNELS[kind]
    names = ["fleet", *(["device"] if route.per_device else []), *(_LAYER if route.per_layer else [])]
    names += ["replica"] if route.per_replica else []
    return {
        "address": _address(kind),
        "title": title,
        "description": words,
        "messages": {_message_name(kind): {"$ref": f"#/components/messages/{_message_name(kind)}"}},
        "parameters": {name: {"$ref": f"#/components/parameters/{name}"} for name in names},
    }


_LAYER = ("model", "group", "layer")


def _address(kind: MessageKind) -> str:
    levels = "/".join(f"{{{name}}}" for name in _LAYER)
    return subscription(kind, "{fleet}", "{device}").replace("+/+/+", levels).replace("+", "{replica}")


def _operation(kind: MessageKind, route: Route) -> tuple[str, Json]:
    action = "send" if Role.DEVICE in route.writers else "receive"
    _, words, more = _CHANNELS[kind]
    operation: Json = {
        "action": action,
        "channel": {"$ref": f"#/channels/{kind.value}"},
        "summary": words,
        "description": f"{more} {'The cloud receives it.' if action == 'send' else 'The cloud sends it.'}",
        "messages": [{"$ref": f"#/channels/{kind.value}/messages/{_message_name(kind)}"}],
        "bindings": {"mqtt": {"qos": route.qos, "retain": route.retained, "bindingVersion": BINDING}},
    }
    if kind is MessageKind.BUDGET:
        answer = f"#/channels/{MessageKind.PEE.value}"
        operation["reply"] = {
            "channel": {"$ref": answer},
            "messages": [{"$ref": f"{answer}/messages/{_message_name(MessageKind.PEE)}"}],
        }
    return f"{action}{kind.value.capitalize()}", operation


def _message_name(kind: MessageKind) -> str:
    return _CHANNELS[kind][0].title().replace(" ", "")


def _message(kind: MessageKind) -> Json:
    title, words, _ = _CHANNELS[kind]
    payload = PAYLOADS[kind]
    message: Json = {
        "name": kind.value,
        "title": title,
        "summary": words,
        "contentType": "application/octet-stream" if payload is None else "application/json",
        "payload": {"$ref": f"#/components/schemas/{'UpdatePart' if payload is None else payload.__name__}"},
    }
    if payload is None:
        pattern = "layer-*.safetensors" if kind is MessageKind.BLOCKS else "answer-*.safetensors"
        return message | {"description": f"Binary: no JSON. Examples are the files `examples/{pattern}`."}
    return message | {
        "examples": [
            {
                "name": name,
                "summary": f"examples/{name}.json",
                "payload": json.loads((EXAMPLES / f"{name}.json").read_bytes()),
            }
            for name in JSON_EXAMPLES[kind]
        ]
    }


def _schemas() -> Json:
    """Return the JSON Schema of every type of message, with descriptions and units."""
    types: list[type[msgspec.Struct]] = [each for each in PAYLOADS.values() if each is not None]
    _, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    described: list[type[msgspec.Struct]] = [*types, Geometry]
    for cls in described:
        schema, words = schemas[cls.__name__], documentation(cls)
        schema["description"] = summary(cls)
        for name, field in schema["properties"].items():
            # Beside a reference nothing else is read.
            whole = {"allOf": [{"$ref": field.pop("$ref")}]} if "$ref" in field else {}
            schema["properties"][name] = {"description": words[name].replace("``", "`"), **whole, **field}
        if cls is not Geometry:
            schema["additionalProperties"] = True
    for signed in (ModelNotice, RolloutNotice, ErrorAnswer):
        schemas[signed.__name__]["properties"]["signature"] = _SIGNATURE
    schemas[Codec.__name__]["description"] = "How numbers are stored: protocol.md, under Blocks."
    schemas[Score.__name__]["description"] = "How a score is made: protocol.md, under Ranking."
    return {name: schemas[name] for name in sorted(schemas)}


def _update_part() -> Json:
    return {
        "type": "string",
        "format": "binary",
        "description": (
            "A safetensors file: the length of the header in 8 bytes, little-endian; the header, JSON of "
            f"at most {MAX_HEADER_BYTES} bytes; then the data of the tensors, little-endian, in the order "
            "below and without gaps. The header starts with the checksum and the report's number, at a fixed "
            "place; `protocol.md` has it byte for byte. A part without tensors confirms what is held."
        ),
        "x-safetensors": {
            "metadata": _FIELDS,
            "tensors": {
                name: {"dtype": dtype, "shape": [_TENSORS[name][0]], "description": _TENSORS[name][1]}
                for name, dtype in TENSOR_TYPES.items()
            },
        },
    }


class _SpecDumper(yaml.SafeDumper):
    """A dumper that writes multi-line texts as blocks, and no anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_SpecDumper.add_representer(str, _represent_text)
