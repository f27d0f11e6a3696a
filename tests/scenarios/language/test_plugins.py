"""Plug-ins in a scenario: their settings are read and checked as ours are."""
# ruff: noqa: E501 - a table of cases: the YAML, and the exact message beside it

import json
from collections.abc import Iterator

import pytest

from scenarios.language.load import dump, parse
from scenarios.language.plugin_types import model_plugins, plugins_of, training_plugins
from scenarios.reference.json_schema import json_schema
from scenarios.reference.plugin_list import REGISTRIES, list_installed
from tests.plugin_objects import ALL, Drawn, Fog, Halving, Steps, Twins
from tests.scenarios.refusals import SMALL
from wire.errors import InputError
from wire.plugins.installed import use_plugins
from wire.plugins.plugin import PluginKind
from wire.units import parse_bytes, parse_duration

PLUGGED = """\
version: 1
name: plugged
stop_time: 1 h
data: {type: twins, users: 80}
model:
  codec: big_endian
  selection: cheapest
  training: {backbone: {type: drawn, scale: 2}}
fleet:
  - name: phone
    count: 3
    memory: {type: steps, high: 8 MiB, every: 1 min}
actions: [{type: halving, at: 30 min}]
faults: [{type: fog, at: 10 min, duration: 5 min, delay: 2 s, stream: uplink}]
metrics: [budget_falls]
"""


@pytest.fixture(autouse=True)
def _plugins() -> Iterator[None]:
    with use_plugins(ALL):
        yield


def test_settings_of_plugins_are_typed_and_read_back() -> None:
    scenario = parse(PLUGGED)
    steps = Steps(high=parse_bytes("8 MiB"), every=parse_duration("1 min"))
    settings: tuple[object, object] = (scenario.data, scenario.fleet[0].memory)
    assert settings == (Twins(users=80), steps)
    assert scenario.model.training.backbone == Drawn(scale=2.0)
    assert (scenario.model.codec, scenario.model.selection) == ("big_endian", "cheapest")
    assert isinstance(scenario.faults[0], Fog)
    assert isinstance(scenario.actions[0], Halving)
    assert parse(dump(scenario)) == scenario
    assert (
        parse(PLUGGED, overrides=["fleet[0].memory.high=9 MiB"]).fleet[0].memory != scenario.fleet[0].memory
    )


def test_a_backbone_may_be_named_without_settings() -> None:
    assert parse(SMALL + "model: {training: {backbone: drawn}}\n").model.training.backbone == Drawn()


def test_a_scenario_says_which_plugins_it_uses() -> None:
    scenario = parse(PLUGGED)
    names = [(use.kind, use.name) for use in plugins_of(scenario)]
    assert names == [
        ("loaders", "twins"), ("backbones", "drawn"), ("codecs", "big_endian"), ("policies", "cheapest"),
        ("memory", "steps"), ("actions", "halving"), ("faults", "fog"), ("metrics", "budget_falls"),
    ]  # fmt: skip
    assert [use.name for use in model_plugins(scenario.model)] == ["drawn", "big_endian", "cheapest"]
    assert [use.name for use in training_plugins(scenario.model.training)] == ["drawn"]
    ruled = parse(SMALL + "thresholds: {'budget_falls{group=phone}': [rate<1]}\n")
    assert [use.name for use in plugins_of(ruled)] == ["budget_falls"]
    assert plugins_of(parse(SMALL)) == ()
    assert "metrics" not in dump(parse(SMALL))


PROBLEMS = [
    ("data: {type: twin}", "x.yaml:7: data.type (='twin') must be one of synthetic, lightgcn, recbole, movielens, table, twins; did you mean 'twins'?"),
    ("data: {type: twins, users: many}", "x.yaml:7: data.users (='many') must be a whole number"),
    ("model: {codec: big}", "x.yaml:7: model.codec (='big') must be one of fp32, fp16, int8, int4, planes, coded, big_endian"),
    ("model: {training: {backbone: draw}}", "x.yaml:7: model.training.backbone (='draw') must be one of auto, cosine, file, ials, lightgcn, mf, drawn; did you mean 'drawn'?"),
    ("model: {training: {backbone: {type: mf}}}", "x.yaml:7: model.training.backbone.type (='mf') must be the name of a plug-in: one of drawn"),
    ("model: {training: {backbone: {scale: 2}}}", "x.yaml:7: model.training.backbone: missing key 'type': the name of a plug-in"),
    ("model: {training: {backbone: {type: drawn, size: 2}}}", "x.yaml:7: model.training.backbone: unknown key 'size'; known keys: scale"),
    ("metrics: [budget_fall]", "x.yaml:7: metrics[0] (='budget_fall') must be one of budget_falls; did you mean 'budget_falls'?"),
    ("metrics: [update_bytes]", "x.yaml:7: metrics[0] (='update_bytes') must be a metric of a plug-in: every run has those of metrics.md"),
    ("metrics: [seed]", "x.yaml:7: metrics[0] (='seed') must be a metric of a plug-in: every run has those of metrics.md"),
    ("faults: [{type: fog, at: 1 min, duration: 1 min}]", "x.yaml:7: faults[0]: missing key 'delay'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), PROBLEMS)
def test_wrong_settings_of_plugins_are_one_line(text: str, line: str) -> None:
    with pytest.raises(InputError) as refused:
        parse(SMALL + text, "x.yaml")
    assert str(refused.value) == line


def test_rules_of_a_plugin_are_shown_at_its_keys() -> None:
    wrong = PLUGGED.replace("high: 8 MiB", "high: 8 KiB")
    with pytest.raises(InputError) as refused:
        parse(wrong, "x.yaml")
    assert str(refused.value) == "x.yaml:12: fleet[0].memory.low (=65536 B) must not exceed high (=8192 B)"
    with pytest.raises(InputError) as refused:
        parse(PLUGGED.replace("high: 8 MiB", "high: 80 GiB"), "x.yaml")
    assert "fleet[0].memory.high" in str(refused.value)


def test_the_schema_with_plugins_knows_their_settings() -> None:
    schema = json_schema(plugins=True)
    steps = schema["$defs"]["memory.steps.Steps"]
    assert (steps["required"], steps["properties"]["low"]["default"]) == (["type", "high"], "64 KiB")
    assert steps["properties"]["every"]["description"] == "The time between jumps."
    assert {"$ref": "#/$defs/memory.steps.Steps"} in schema["$defs"]["FleetGroup"]["properties"]["memory"][
        "anyOf"
    ]
    assert {"const": "big_endian"} in schema["$defs"]["Model"]["properties"]["codec"]["anyOf"]
    assert "memory.steps.Steps" not in json.dumps(json_schema())


def test_the_list_of_plugins_says_what_works() -> None:
    with use_plugins({"memory": {"sawtooth": Steps}, "faults": {"rain": "tests.plugin_objects:Rain"}}):
        listed = {(each.kind, each.name): each.problem for each in list_installed()}
    assert [registry.kind for registry in REGISTRIES] == list(PluginKind)
    broken = {
        ("memory process", "sawtooth"): "peelfleet has a memory process of that name itself",
        (
            "fault",
            "rain",
        ): "cannot be imported: AttributeError: module 'tests.plugin_objects' has no attribute 'Rain'",
    }
    works = {(PluginKind(kind).noun, name): None for kind, items in ALL.items() for name in items}
    assert listed == works | broken
