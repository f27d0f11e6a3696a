"""The registry of importers, by the kind that the command line takes."""

from collections.abc import Mapping
from typing import Final

from devices.traces.importers import alibaba, fedscale, flash, greenhub, meminfo, tables
from devices.traces.importers.importer import Importer

IMPORTERS: Final[Mapping[str, Importer]] = {
    "fedscale": fedscale.IMPORTER,
    "flash": flash.IMPORTER,
    "greenhub": greenhub.IMPORTER,
    "alibaba": alibaba.IMPORTER,
    "columns": tables.IMPORTER,
    "meminfo": meminfo.IMPORTER,
    "dumpsys": meminfo.IMPORTER,
}
