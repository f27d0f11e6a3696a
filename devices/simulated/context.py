"""What all devices of one simulation share."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import simpy

from devices.event_log import FleetLog
from devices.recommender.quality import UserQuality
from devices.simulated.exchange import Capacity, Transport
from devices.simulated.link import Network
from devices.timeline.faults import BrokerFault, FaultWindow


@dataclass(frozen=True)
class Setting:
    """What all devices of one simulation share."""

    env: simpy.Environment
    transport: Transport
    log: FleetLog
    capacity: Capacity
    """How long the cloud takes."""
    relay: Capacity
    """How long the broker takes with what it answers by itself: retained layers."""
    fleet: str
    """The fleet's name in topics."""
    stop_ns: int
    """Memory stops moving then; what is under way still arrives."""
    retry_ns: int
    """How long a device waits for an answer before it reports again."""
    full_bytes: Callable[[str, int, int, int], int]
    """What a push of the whole PEE costs: (model, user, wanted_bytes, seq) -> payload bytes."""
    qualities: Mapping[str, Mapping[int, UserQuality]]
    """Each user's quality by layer, by model version; the version that is served to everybody first."""
    networks: Mapping[str, Network] = field(default_factory=dict)
    """Networks that devices may change to."""
    outages: Sequence[FaultWindow[BrokerFault]] = ()
    """When the broker is down."""
    always_full: bool = False
    """Whether every update is the whole PEE."""
    on_applied: Callable[[int, str], None] | None = None
    """Called with (device number, model version) when a device holds the PEE it asked for."""
    last_retry_ns: float = math.inf
    """When devices cease to ask again for answers that do not come: what nobody answers would never end."""
    supersede: bool = True
    """Whether a newer answer takes back what is left to send of an older one."""

    def first_quality(self, user: int) -> UserQuality:
        """Return a user's quality by layer in the model version that is served to everybody."""
        return next(iter(self.qualities.values()))[user]
