"""``peelfleet rollout rollback``."""

from cloud.service.rollout_orders import roll_back
from emulator.cli.rollout.orders import steer
from emulator.cli.service_options import BrokerUrl, FleetName


def rollback(broker: BrokerUrl, fleet: FleetName) -> None:
    """Give all devices the version that they had before the rollout."""
    steer(broker, fleet, lambda view: roll_back(view.rollout))
