"""The context of a simulation, which its devices share."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from devices.event_log import FleetLog
from devices.recommender.quality import UserQuality
from devices.simulated.clock import Clock
from devices.simulated.exchange import CloudModel, DeviceConnections, Publisher, Transport
from devices.simulated.link import Network
from devices.simulated.visit_process import VisitContext
from devices.timeline.faults import BrokerFault, FaultWindow


@dataclass(frozen=True)
class SimulationContext:
    """The things that all devices of one simulation share."""

    clock: Clock
    transport: Transport
    log: FleetLog
    cloud: CloudModel
    """The time that the cloud takes."""
    relay: CloudModel
    """The time that the broker takes to send layers that it retains."""
    fleet: str
    """The fleet's name in topics."""
    stop_ns: int
    """Memory stops moving then; messages under way still arrive."""
    retry_ns: int
    """The time that a device waits for an answer before it reports again."""
    full_bytes: Callable[[str, int, int, int], int]
    """Returns the payload bytes of a push of the whole PEE: (model, user, requested_bytes, seq) -> bytes."""
    first_bytes: Callable[[str, int, int, int], int]
    """Returns those of a push to a device that holds nothing, likewise."""
    qualities: Mapping[str, Mapping[int, UserQuality]]
    """Each user's quality by layer, by model version; the version that is served to everybody first."""
    publisher: Publisher | None = None
    """Publishes messages that are not answered; None: nobody can hear them."""
    connections: DeviceConnections | None = None
    """The connections of devices, where each has its own."""
    networks: Mapping[str, Network] = field(default_factory=dict)
    """Networks that devices may change to."""
    outages: Sequence[FaultWindow[BrokerFault]] = ()
    """Spans in which the broker is down."""
    always_full: bool = False
    """Send the whole PEE with every update."""
    on_applied: Callable[[int, str], None] | None = None
    """Called with (device number, model version) when a device holds the PEE that it asked for."""
    visits: VisitContext | None = None
    """The visits of users; None: nobody meets items in the run."""
    last_retry_ns: float = math.inf
    """No report is repeated for a missing answer from then on: an answer that never comes would never end."""
    supersede: bool = True
    """Let a newer answer cancel the parts of an older one that are still to be sent."""

    def first_quality(self, user: int) -> UserQuality:
        """Return a user's quality by layer in the model version that is served to everybody."""
        return next(iter(self.qualities.values()))[user]
