"""Orders to a rollout, given through the broker: what the fleet has is read, the order is left there.

An order is retained, so that a service of the cloud that is away finds it when it is back.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import typer

from broker_config.endpoint import Endpoint
from wire.errors import InputError, RemoteProtocolError, RunError
from wire.event_loops import run_event_loop
from wire.messages import CloudStatus, ModelNotice, RolloutNotice, Status, decode, encode
from wire.mqtt.client import Message, MqttError, describe, new_client, publish, subscribe
from wire.mqtt.connection import Connection
from wire.mqtt.retained import read_retained
from wire.rollout import join_rollouts
from wire.text import printable
from wire.topics import MessageKind, Role, fleet_topic, parse

TAKEN_UP_S: Final = 10.0
"""Longest time for a service of the cloud to take an order up."""
STEERED: Final = (MessageKind.MODEL, MessageKind.CLOUD, MessageKind.ROLLOUT, MessageKind.ORDER)

Result = TypeVar("Result")


@dataclass
class FleetView:
    """A fleet and its rollout, as far as a broker keeps them."""

    rollout: RolloutNotice | None = None
    """The last one, with the last order to it."""
    announced: str = ""
    """The version of the model notice."""
    clouds: dict[str, CloudStatus] = field(default_factory=dict)
    """The services that say that they are there, by name."""
    devices: dict[str, Status] = field(default_factory=dict)

    @classmethod
    def of(cls, retained: Mapping[str, bytes]) -> "FleetView":
        """Return the fleet as the retained messages describe it; one that is not readable says nothing.

        Args:
            retained: payloads by topic.
        """
        view = cls()
        for topic, payload in retained.items():
            try:
                view._read(topic, payload)
            except RemoteProtocolError:
                continue
        return view

    def _read(self, topic: str, payload: bytes) -> None:
        address = parse(topic)
        match address.kind:
            case MessageKind.MODEL:
                self.announced = decode(payload, ModelNotice).version
            case MessageKind.CLOUD if (status := decode(payload, CloudStatus)).online:
                self.clouds[address.replica or ""] = status
            case MessageKind.STATUS:
                self.devices[address.device or ""] = decode(payload, Status)
            case MessageKind.ROLLOUT | MessageKind.ORDER:
                notice = decode(payload, RolloutNotice)
                self.rollout = notice if self.rollout is None else join_rollouts(self.rollout, notice)


def steer(broker: Endpoint, fleet: str, new_order: Callable[[FleetView], RolloutNotice]) -> None:
    """Give an order, wait for a service of the cloud to take it up, and say what became of it.

    Args:
        broker: the broker, with the cloud's login.
        fleet: the fleet's name in topics.
        new_order: returns the order, or refuses it, by what the fleet has.

    Raises:
        InputError: the order is refused.
        RunError: no service has taken it up in time.
    """
    connection = broker.connection(Role.CLOUD, f"rollout:{fleet}")
    view = FleetView.of(on_broker(broker, read_retained(connection, fleet, STEERED)))
    order = new_order(view)
    taken_up = on_broker(broker, _give(connection, fleet, order))
    if taken_up is None:
        raise RunError(
            f"the order waits at the broker: no service of the cloud of fleet {fleet} has taken it up "
            f"within {TAKEN_UP_S:g} s. Is one there, and may this login write "
            f"{fleet_topic(MessageKind.ORDER, fleet)}?"
        )
    typer.echo(rollout_line(taken_up))


def on_broker(broker: Endpoint, work: Coroutine[Any, Any, Result]) -> Result:  # Any: as in `Coroutine`
    """Return the result of something done at the broker; an error of the connection is one line.

    Raises:
        RunError: the broker is away, or refuses the login.
    """
    try:
        return run_event_loop(work)
    except MqttError as error:
        raise RunError(f"broker {broker.host}:{broker.port}: {describe(error)}") from None


async def _give(connection: Connection, fleet: str, order: RolloutNotice) -> RolloutNotice | None:
    """Leave an order at the broker; return the notice of the cloud that has taken it up, None if none has."""
    heard: asyncio.Future[RolloutNotice] = asyncio.get_running_loop().create_future()

    def take(message: Message) -> None:
        try:
            notice = decode(message.payload, RolloutNotice)
        except RemoteProtocolError:
            return
        if (notice.rollout, notice.order) >= (order.rollout, order.order) and not heard.done():
            heard.set_result(notice)

    async with new_client(connection, on_message=take) as client:
        await subscribe(client, fleet_topic(MessageKind.ROLLOUT, fleet), 1)
        await publish(client, MessageKind.ORDER, fleet_topic(MessageKind.ORDER, fleet), encode(order))
        try:
            async with asyncio.timeout(TAKEN_UP_S):
                return await heard
        except TimeoutError:
            return None


def check_served(view: FleetView, fleet: str, version: str) -> None:
    """Check that each service of the cloud serves *version*.

    Raises:
        InputError: one does not, or there is none.
    """
    if not view.clouds:
        raise InputError(f"no service of the cloud of fleet {fleet} says that it is there")
    for name, status in sorted(view.clouds.items()):
        if version not in status.models:
            served = ", ".join(status.models)
            raise InputError(f"version(={version}) must be served by each service: {name} serves {served}")


def rollout_line(notice: RolloutNotice) -> str:
    """Return the state of a rollout in a line."""
    state = notice.state.value.replace("_", " ")
    reason = f": {printable(notice.reason)}" if notice.reason else ""
    groups = f"{notice.started} of {notice.groups} groups started"
    return f"rollout of model {notice.version}: {state}, {groups}{reason}"
