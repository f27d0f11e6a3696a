"""docs/asyncapi.yaml: fresh, complete, and its examples are messages. `make check-asyncapi` validates it."""

import json

import msgspec
import yaml

from scenarios.reference import asyncapi, scenario_page
from scenarios.reference.asyncapi import PAYLOADS
from tests.protocol_examples import examples
from wire.messages import encode
from wire.topics import TABLE, Role, subscription
from wire.update_part import decode_part

DOCUMENT = yaml.safe_load(scenario_page.ASYNCAPI_FILE.read_text())


def test_the_file_is_what_the_code_writes_today() -> None:
    assert scenario_page.ASYNCAPI_FILE.read_text() == asyncapi.text(), "run `make docs`"


def test_it_has_each_row_of_the_topic_table_as_a_device_sees_it() -> None:
    found = {}
    for operation in DOCUMENT["operations"].values():
        kind = operation["channel"]["$ref"].removeprefix("#/channels/")
        channel = DOCUMENT["channels"][kind]
        named = {f"{{{name}}}": "+" for name in channel["parameters"]}
        levels = [named.get(level, level) for level in channel["address"].split("/")]
        mqtt = operation["bindings"]["mqtt"]
        found[kind] = ("/".join(levels), operation["action"], mqtt["qos"], mqtt["retain"])
    assert found == {
        kind.value: (
            subscription(kind),
            "send" if Role.DEVICE in route.writers else "receive",
            route.qos,
            route.retained,
        )
        for kind, route in TABLE.items()
        if Role.DEVICE in route.writers + route.readers
    }


def test_each_example_is_a_message_and_a_file() -> None:
    files = examples()
    shown = []
    for kind, payload in PAYLOADS.items():
        if payload is None:
            continue
        (reference_to,) = DOCUMENT["channels"][kind.value]["messages"].values()
        message = DOCUMENT["components"]["messages"][reference_to["$ref"].rsplit("/", 1)[1]]
        for example in message["examples"]:
            text = json.dumps(example["payload"]).encode()
            assert encode(msgspec.json.decode(text, type=payload)) == files[f"{example['name']}.json"]
            shown.append(f"{example['name']}.json")
    assert sorted(shown) == sorted(name for name in files if name.endswith(".json") and "/" not in name)


def test_the_container_is_described_as_the_parts_are() -> None:
    described = DOCUMENT["components"]["schemas"]["UpdatePart"]["x-safetensors"]
    parts = {
        name: each
        for name, each in examples().items()
        if name.endswith("-1.safetensors") and "/refused" not in name
    }
    for file, part in parts.items():
        header = json.loads(part[8 : decode_part(part).start])
        fields = [name for name in described["metadata"] if name != "signature" or file.startswith("signed/")]
        assert list(header.pop("__metadata__")) == fields
        for name, tensor in header.items():
            assert tensor["dtype"] == described["tensors"][name]["dtype"]


def test_every_field_says_what_it_means() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    fields = [
        (name, field)
        for name, schema in schemas.items()
        for field, words in schema.get("properties", {}).items()
        if len(words.get("description", "")) < 10
    ]
    assert fields == []
