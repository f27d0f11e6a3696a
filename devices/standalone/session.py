"""The session of a real device: its subscriptions in the order of the protocol, and its last words."""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any, Final

from wire.mqtt.client import Client, MqttError, SubscriptionRefusedError, subscribe
from wire.topics import MessageKind, device_topic, fleet_topic, subscription

LOG: Final = logging.getLogger("peelfleet.agent")
GOODBYE_S: Final = 1.0
"""Time for the broker to confirm that we leave, and again to let us go."""


async def subscribe_device(client: Client, fleet: str, device: str) -> None:
    """Subscribe to all that *device* reads: what it can live without first.

    Raises:
        SubscriptionRefusedError: the broker refuses one that it cannot live without.
    """
    errors, clouds = device_topic(MessageKind.ERROR, fleet, device), subscription(MessageKind.CLOUD, fleet)
    for topic in (errors, clouds, fleet_topic(MessageKind.ROLLOUT, fleet)):
        try:
            await subscribe(client, topic, 1, device)
        except SubscriptionRefusedError:  # a broker whose rules were made for an older protocol
            LOG.info("the broker refuses %s: this device hears no errors, statuses or rollouts", topic)
    for topic in (device_topic(MessageKind.PEE, fleet, device), fleet_topic(MessageKind.MODEL, fleet)):
        if not await subscribe(client, topic, 1, device):
            LOG.warning("the broker grants QoS 0 on %s, not 1 (max_qos): answers may be lost", topic)


async def briefly(work: Coroutine[Any, Any, object]) -> None:  # Any: as in `Coroutine`
    """Do something that a broker may leave unanswered, for a moment only."""
    with contextlib.suppress(MqttError, TimeoutError):
        await asyncio.wait_for(work, GOODBYE_S)
