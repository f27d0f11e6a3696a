"""The places of a scenario where plug-ins may stand, and the plug-ins that a scenario uses."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
from msgspec import inspect as types

from cloud.blocks.selection import POLICY_PLUGINS, Selection
from cloud.data.sources import LOADER_PLUGINS, Data
from cloud.training.config import BACKBONE_PLUGINS, BackboneName, BackbonePlugin, Training
from devices.memory import MEMORY_PLUGINS, Memory
from devices.timeline.actions import ACTION_PLUGINS, Actions
from devices.timeline.faults import FAULT_PLUGINS, Faults
from scenarios.catalogue.metrics import METRIC_PLUGINS
from scenarios.language.schema import Model, ScenarioFields
from scenarios.language.thresholds import plugin_metrics
from scenarios.language.types import QUANTITIES, items_of, kind_of, quantity_of, sections
from wire.codecs import CODEC_PLUGINS, Codec
from wire.errors import InputError
from wire.plugins.plugin import PluginUse
from wire.plugins.registry import PluginRegistry

_REGISTRIES: Final[Mapping[Any, PluginRegistry[Any]]] = {  # Any: type hints, and objects of all kinds
    Memory: MEMORY_PLUGINS,
    Faults: FAULT_PLUGINS,
    Actions: ACTION_PLUGINS,
    Data: LOADER_PLUGINS,
    BackboneName | BackbonePlugin: BACKBONE_PLUGINS,
    Codec: CODEC_PLUGINS,
    Selection: POLICY_PLUGINS,
}


def registry_of(hint: Any) -> PluginRegistry[Any] | None:  # Any: a type hint is no type
    """Return the plug-ins that a value of the type *hint* may name; None: it may name none."""
    return _REGISTRIES.get(hint) if hint.__hash__ is not None else None


def plugin_struct(registry: PluginRegistry[Any], name: str) -> types.StructType | None:
    """Return the settings of the plug-in called *name*; None if there is none, or if it has no settings.

    Raises:
        InputError: the name means two things, or the plug-in cannot be used.
    """
    found = registry.find(name)
    if not isinstance(found, type) or not issubclass(found, msgspec.Struct):
        return None
    try:
        kinds = [items_of(field.type) for struct, _ in sections(found) for field in struct.fields]
        wrong = next(
            (cls for cls in map(quantity_of, kinds) if cls is not None and cls not in QUANTITIES), None
        )
    except (TypeError, NameError, NotImplementedError) as error:
        raise InputError(f"{registry.plugin(name)}: its settings cannot be read: {error}") from None
    if wrong is not None:
        raise InputError(f"{registry.plugin(name)}: a scenario cannot have a value of type {wrong.__name__}")
    kind = kind_of(found)
    assert isinstance(kind, types.StructType)
    return kind


def plugins_of(scenario: ScenarioFields) -> tuple[PluginUse, ...]:
    """Return the plug-ins that *scenario* uses."""
    metrics = plugin_metrics(scenario.metrics, scenario.thresholds)
    uses = [
        *_settings_used(LOADER_PLUGINS, scenario.data),
        *model_plugins(scenario.model),
        *(use for group in scenario.fleet for use in _settings_used(MEMORY_PLUGINS, group.memory)),
        *(use for action in scenario.actions for use in _settings_used(ACTION_PLUGINS, action)),
        *(use for fault in scenario.faults for use in _settings_used(FAULT_PLUGINS, fault)),
        *(use for name in metrics for use in _used(METRIC_PLUGINS, name)),
    ]
    return tuple(dict.fromkeys(uses))


def model_plugins(model: Model) -> tuple[PluginUse, ...]:
    """Return the plug-ins that decide the blocks of *model*."""
    return (
        *training_plugins(model.training),
        *_used(CODEC_PLUGINS, model.codec),
        *_used(POLICY_PLUGINS, model.selection),
    )


def training_plugins(training: Training) -> tuple[PluginUse, ...]:
    """Return the plug-ins that decide what is trained."""
    if isinstance(training.backbone, str):
        return ()
    return tuple(_settings_used(BACKBONE_PLUGINS, training.backbone))


def codec_plugins(codec: Codec) -> tuple[PluginUse, ...]:
    """Return the plug-in that has *codec*, if it is one of a plug-in."""
    return tuple(_used(CODEC_PLUGINS, codec))


def _settings_used(registry: PluginRegistry[Any], settings: msgspec.Struct) -> Iterator[PluginUse]:
    return _used(registry, str(settings.__struct_config__.tag))


def _used(registry: PluginRegistry[Any], name: str) -> Iterator[PluginUse]:
    plugin = None if registry.is_own(name) else registry.plugin(name)
    if plugin is not None:
        yield plugin.use()
