"""The plug-ins that are installed, and why some do not work."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cloud.blocks.selection import POLICY_PLUGINS
from cloud.data.sources import LOADER_PLUGINS
from cloud.training.config import BACKBONE_PLUGINS
from devices.memory import MEMORY_PLUGINS
from devices.timeline.actions import ACTION_PLUGINS
from devices.timeline.faults import FAULT_PLUGINS
from devices.traces.importers.registry import IMPORTER_PLUGINS
from scenarios.catalogue.metrics import METRIC_PLUGINS
from scenarios.language.plugin_types import plugin_struct
from wire.codecs import CODEC_PLUGINS
from wire.errors import InputError
from wire.plugins.installed import list_plugins, unknown_groups
from wire.plugins.plugin import Plugin, PluginKind
from wire.plugins.registry import PluginRegistry

REGISTRIES: Final[Sequence[PluginRegistry[Any]]] = (  # Any: objects of all kinds
    MEMORY_PLUGINS,
    FAULT_PLUGINS,
    ACTION_PLUGINS,
    CODEC_PLUGINS,
    POLICY_PLUGINS,
    LOADER_PLUGINS,
    BACKBONE_PLUGINS,
    METRIC_PLUGINS,
    IMPORTER_PLUGINS,
)
"""The registries of all kinds, in the order of `docs/plug-ins.md`."""


@dataclass(frozen=True)
class ListedPlugin:
    """An installed plug-in."""

    kind: str
    name: str
    package: str
    version: str
    problem: str | None
    """Reason why it cannot be used; None if it can."""


def list_installed() -> Iterator[ListedPlugin]:
    """Yield every installed plug-in by kind and name; each is imported.

    Raises:
        InputError: the variable with plug-ins is damaged.
    """
    for registry in REGISTRIES:
        for plugin in list_plugins(registry.kind):
            problem = _problem_of(registry, plugin)
            yield ListedPlugin(plugin.kind.noun, plugin.name, plugin.package, plugin.version, problem)
    for group, package in unknown_groups():
        known = ", ".join(PluginKind)
        yield ListedPlugin(group, "*", package, "", f"there is no such group: the kinds are {known}")


def _problem_of(registry: PluginRegistry[Any], plugin: Plugin) -> str | None:
    """Return the reason why *plugin* cannot be used; None if it can."""
    try:
        registry.find(plugin.name)
        plugin_struct(registry, plugin.name)
    except InputError as error:
        return str(error).removeprefix(f"{plugin}: ")
    return None
