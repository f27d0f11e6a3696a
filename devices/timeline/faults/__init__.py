"""Faults: failures that a scenario plans, each for a span of time and for some devices.

`fault.py` is the contract. A new fault is a class in a file of its own and a member of the union `Faults`.
"""

from collections.abc import Mapping
from typing import Final, get_args

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
"""The registry: the faults that a scenario may have."""

FAULT_TYPES: Final[Mapping[str, type[Fault]]] = {
    str(fault.__struct_config__.tag): fault for fault in get_args(Faults)
}
"""The class of each fault by its `type` in a scenario."""

__all__ = [
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
