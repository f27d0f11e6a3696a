"""``peelfleet rollout resume``."""

import time

from cloud.service.rollout_orders import resume_rollout
from emulator.cli.rollout.orders import steer
from emulator.cli.service_options import BrokerUrl, FleetName


def resume(broker: BrokerUrl, fleet: FleetName) -> None:
    """Go on with a rollout that was paused, or that has stopped."""
    steer(broker, fleet, lambda view: resume_rollout(view.rollout, int(time.time() * 1000)))
