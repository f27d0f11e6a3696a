"""The registry of one kind: names that mean two things, and objects that break a rule, are one line."""
# ruff: noqa: E501 - a table of cases: the object, and the exact message beside it

import pickle

import msgspec
import pytest

from cloud.blocks.selection import POLICY_PLUGINS
from cloud.data.sources import LOADER_PLUGINS
from cloud.training.config import BACKBONE_PLUGINS, BackbonePlugin
from devices.memory import MEMORY_PLUGINS
from devices.timeline.actions import ACTION_PLUGINS, ACTION_TYPES
from devices.timeline.faults import FAULT_PLUGINS, FAULT_TYPES
from devices.traces.importers.registry import IMPORTER_PLUGINS, IMPORTERS
from scenarios.catalogue.metrics import METRIC_PLUGINS, METRICS, Metric, MetricPlugin, find_metric
from tests import plugin_objects
from tests.plugin_objects import ALL, FALLS, Fog, Halving, Steps
from wire.codecs import CODEC_PLUGINS, Codec
from wire.errors import InputError
from wire.plugins.installed import use_plugins
from wire.plugins.registry import PluginRegistry

HERE = "tests.wire.plugins.test_registry"


class Thawed(msgspec.Struct, tag_field="type", tag="thawed"):
    """Settings that can change."""


class Silent(msgspec.Struct, frozen=True, tag_field="type", tag="silent"):
    """A memory process without changes."""


class Idle(BackbonePlugin, frozen=True, tag_field="type", tag="idle"):
    """A backbone that learns nothing."""


class Odd(plugin_objects.BigEndian):
    """A codec with a scale of a size that does not exist."""

    scale_bytes = 2


BAD_TABLE = MetricPlugin(
    Metric("bad_table", FALLS.metric.kind, FALLS.metric.unit, "weather", "none"), FALLS.formula
)


def test_every_registry_finds_its_plugin() -> None:
    with use_plugins(ALL):
        assert (FAULT_TYPES["fog"], ACTION_TYPES["halving"]) == (Fog, Halving)
        assert (METRICS["budget_falls"], find_metric("budget_falls")) == (FALLS.metric, FALLS.metric)
        assert IMPORTERS["number"] is plugin_objects.IMPORTER
        assert MEMORY_PLUGINS.find("steps") is Steps
        assert [registry.names() for registry in (POLICY_PLUGINS, LOADER_PLUGINS, BACKBONE_PLUGINS)] == [
            ["cheapest"], ["twins"], ["drawn"],
        ]  # fmt: skip
    assert MEMORY_PLUGINS.find("steps") is None
    for types in (FAULT_TYPES, ACTION_TYPES, METRICS, IMPORTERS):
        with pytest.raises(KeyError):
            types["fog"]


def test_a_codec_of_a_plugin_is_a_codec_while_it_is_there() -> None:
    with use_plugins(ALL):
        codec = msgspec.json.decode(b'"big_endian"', type=Codec)
        assert (codec, hash(codec)) == (msgspec.convert("big_endian", Codec), hash(codec))
        assert pickle.loads(pickle.dumps(codec)) == codec
        assert msgspec.json.encode(codec) == b'"big_endian"'
        assert (codec.overhead, codec.embedded) == (2, False)
    assert "big_endian" not in list(Codec)
    with pytest.raises(msgspec.ValidationError, match="Invalid enum value 'big_endian'"):
        msgspec.convert("big_endian", Codec)
    with pytest.raises(msgspec.ValidationError, match="Invalid enum value 'small_endian'"):
        msgspec.convert("small_endian", Codec)


@pytest.mark.parametrize(
    ("registry", "name", "value", "line"),
    [
        (MEMORY_PLUGINS, "sawtooth", "tests.plugin_objects:Steps",
         "memory process 'sawtooth' of tests {}: peelfleet has a memory process of that name itself"),
        (MEMORY_PLUGINS, "ladder", "tests.plugin_objects:Steps",
         "memory process 'ladder' of tests {}: Steps must have tag_field='type' and tag='ladder'"),
        (MEMORY_PLUGINS, "thawed", f"{HERE}:Thawed", "memory process 'thawed' of tests {}: Thawed must be frozen"),
        (MEMORY_PLUGINS, "silent", f"{HERE}:Silent",
         "memory process 'silent' of tests {}: Silent must have the method changes"),
        (MEMORY_PLUGINS, "cheapest", "tests.plugin_objects:order_cheapest",
         "memory process 'cheapest' of tests {}: must be a class derived from msgspec.Struct"),
        (FAULT_PLUGINS, "steps", "tests.plugin_objects:Steps",
         "fault 'steps' of tests {}: must be derived from devices.timeline.faults.fault.Fault"),
        (ACTION_PLUGINS, "fog", "tests.plugin_objects:Fog",
         "action 'fog' of tests {}: must be derived from devices.timeline.actions.action.Action"),
        (LOADER_PLUGINS, "steps", "tests.plugin_objects:Steps",
         "reader of data 'steps' of tests {}: Steps must have the method read"),
        (BACKBONE_PLUGINS, "idle", f"{HERE}:Idle", "backbone 'idle' of tests {}: Idle must have the method learn"),
        (POLICY_PLUGINS, "number", "tests.plugin_objects:ALL",
         "selection policy 'number' of tests {}: must be a function of the candidates and a generator"),
        (CODEC_PLUGINS, "steps", "tests.plugin_objects:Steps", "codec 'steps' of tests {}: must be a class derived "
         "from wire.codecs.block_coder.BlockCoder, or one coder"),
        (CODEC_PLUGINS, "odd", f"{HERE}:Odd", "codec 'odd' of tests {}: scale_bytes(=2) must be 0 or 4"),
        (METRIC_PLUGINS, "falls", "tests.plugin_objects:FALLS",
         "metric 'falls' of tests {}: its metric is called 'budget_falls'; both names must be the same"),
        (METRIC_PLUGINS, "bad_table", f"{HERE}:BAD_TABLE", "metric 'bad_table' of tests {}: table(='weather') must "
         "be one of budget, update, quality, connection, fault, rollout, interaction"),
        (IMPORTER_PLUGINS, "steps", "tests.plugin_objects:Steps", "importer of traces 'steps' of tests {}: must be "
         "a devices.traces.importers.importer.Importer"),
    ],
)  # fmt: skip
def test_an_object_that_breaks_a_rule_is_one_line(
    registry: PluginRegistry[object], name: str, value: str, line: str
) -> None:
    with use_plugins({registry.kind: {name: value}}), pytest.raises(InputError) as refused:
        registry.find(name)
    assert str(refused.value) == line.format(_version_of_tests())


def test_two_packages_with_one_name_are_refused() -> None:
    with (
        use_plugins({"policies": {"mine": "msgspec:convert"}}),
        use_plugins({"policies": {"mine": "simpy:rt"}}),
    ):
        with pytest.raises(
            InputError, match=r"^selection policy 'mine' of msgspec \S+: simpy \S+ has one of that"
        ):
            POLICY_PLUGINS.find("mine")
        assert POLICY_PLUGINS.names() == []


def _version_of_tests() -> str:
    with use_plugins({"memory": {"steps": Steps}}):
        plugin = MEMORY_PLUGINS.plugin("steps")
    assert plugin is not None
    return plugin.version
