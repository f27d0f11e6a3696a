"""Faults: failures that a scenario plans, each for a span of time and for some devices.

`fault.py` is the contract. A new fault is a class in a file of its own and a member of the union `Faults`, or
it comes from a plug-in.
"""

from collections.abc import Mapping
from typing import Final, cast, get_args

from devices.timeline.faults.fault import BrokerFault, CloudFault, Fault, FaultWindow, LinkFault, Stream
from devices.timeline.faults.impairment import NO_FAULT, NO_IMPAIRMENT, Impairment
from devices.timeline.faults.links import (
    BandwidthFault,
    CorruptionFault,
    DuplicationFault,
    LatencyFault,
    LossFault,
    ReorderingFault,
)
from devices.timeline.faults.outages import BrokerOutage, CloudOutage, CloudSlowdown, service_interval
from wire.plugins.plugin import PluginKind
from wire.plugins.registry import PluginRegistry, WithPlugins, check_settings

Faults = (
    LatencyFault
    | BandwidthFault
    | LossFault
    | DuplicationFault
    | ReorderingFault
    | CorruptionFault
    | BrokerOutage
    | CloudOutage
    | CloudSlowdown
)
"""The registry: the faults that a scenario may have, beside those of `FAULT_PLUGINS`."""

_OWN: Final[dict[str, type[Fault]]] = {str(fault.__struct_config__.tag): fault for fault in get_args(Faults)}


def _check_plugin(name: str, found: object) -> type[Fault]:
    checked = check_settings(name, found, (), base=Fault)
    if not issubclass(checked, LinkFault | BrokerFault | CloudFault):
        raise ValueError(f"{checked.__name__} must be derived from LinkFault, BrokerFault or CloudFault")
    return cast("type[Fault]", checked)


FAULT_PLUGINS: Final = PluginRegistry(PluginKind.FAULT, _OWN, _check_plugin)
"""The faults of plug-ins."""

FAULT_TYPES: Final[Mapping[str, type[Fault]]] = WithPlugins(_OWN, FAULT_PLUGINS.find)
"""The class of each fault by its `type` in a scenario."""

__all__ = [
    "FAULT_PLUGINS",
    "FAULT_TYPES",
    "NO_FAULT",
    "NO_IMPAIRMENT",
    "BandwidthFault",
    "BrokerFault",
    "BrokerOutage",
    "CloudFault",
    "CloudOutage",
    "CloudSlowdown",
    "CorruptionFault",
    "DuplicationFault",
    "Fault",
    "FaultWindow",
    "Faults",
    "Impairment",
    "LatencyFault",
    "LinkFault",
    "LossFault",
    "ReorderingFault",
    "Stream",
    "service_interval",
]
