"""The registry of importers, by the kind that the command line takes."""

from collections.abc import Mapping
from typing import Final

from devices.traces.importers import alibaba, fedscale, flash, greenhub, meminfo, tables
from devices.traces.importers.importer import Importer
from wire.plugins.plugin import PluginKind
from wire.plugins.registry import PluginRegistry, WithPlugins

_OWN: Final[dict[str, Importer]] = {
    "fedscale": fedscale.IMPORTER,
    "flash": flash.IMPORTER,
    "greenhub": greenhub.IMPORTER,
    "alibaba": alibaba.IMPORTER,
    "columns": tables.IMPORTER,
    "meminfo": meminfo.IMPORTER,
    "dumpsys": meminfo.IMPORTER,
}


def _check_plugin(name: str, found: object) -> Importer:
    if not isinstance(found, Importer):
        raise ValueError("must be a devices.traces.importers.importer.Importer")
    return found


IMPORTER_PLUGINS: Final = PluginRegistry(PluginKind.IMPORTER, _OWN, _check_plugin)
"""The importers of plug-ins."""

IMPORTERS: Final[Mapping[str, Importer]] = WithPlugins(_OWN, IMPORTER_PLUGINS.find)
"""The registry: importers by the kind that the command line takes."""
