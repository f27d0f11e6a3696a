"""The limits of the kernel: what it cannot simulate, and why. Needs no compiler."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from devices.timeline.faults import (
    BandwidthFault,
    BrokerOutage,
    CloudOutage,
    CloudSlowdown,
    CorruptionFault,
    DuplicationFault,
    Fault,
    LatencyFault,
    LinkFault,
    LossFault,
    ReorderingFault,
)

MOST_LINK_FAULTS = 64
"""A link has a bit for each fault."""

LATENCY, BANDWIDTH, LOSS, DUPLICATION, REORDERING, CORRUPTION = range(6)
"""The kinds of faults of links; from `LOSS` on each draws one number for a message."""

LINK_FAULTS: Mapping[type[Fault], tuple[int, Callable[[Any], tuple[int, int, float]]]] = {
    LatencyFault: (LATENCY, lambda fault: (int(fault.delay), int(fault.jitter), 0.0)),
    BandwidthFault: (BANDWIDTH, lambda fault: (int(fault.rate), 0, 0.0)),
    LossFault: (LOSS, lambda fault: (0, 0, float(fault.share))),
    DuplicationFault: (DUPLICATION, lambda fault: (0, 0, float(fault.share))),
    ReorderingFault: (REORDERING, lambda fault: (fault.holds_back_ns, 0, float(fault.share))),
    CorruptionFault: (CORRUPTION, lambda fault: (0, 0, float(fault.share))),
}
"""The faults of links that the kernel knows, and their numbers; a fault that somebody adds runs in SimPy."""
_OTHERS = (BrokerOutage, CloudOutage, CloudSlowdown)


def unsupported_faults(faults: Iterable[Fault]) -> str | None:
    """Return the reason for which the kernel cannot simulate *faults*; None if it can."""
    listed = list(faults)
    for number, fault in enumerate(listed):
        if type(fault) not in LINK_FAULTS and type(fault) not in _OTHERS:
            return f"faults[{number}] is of type {fault.__struct_config__.tag}, which it does not know"
    count = sum(isinstance(fault, LinkFault) for fault in listed)
    if count > MOST_LINK_FAULTS:
        return f"{count} faults of links are more than {MOST_LINK_FAULTS}"
    return None
