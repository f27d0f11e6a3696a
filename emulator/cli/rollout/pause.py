"""``peelfleet rollout pause``."""

from cloud.service.rollout_orders import pause_rollout
from emulator.cli.rollout.orders import steer
from emulator.cli.service_options import BrokerUrl, FleetName


def pause(broker: BrokerUrl, fleet: FleetName) -> None:
    """Start no further group; devices that were offered the version keep it."""
    steer(broker, fleet, lambda view: pause_rollout(view.rollout))
