"""``peelfleet broker clean``: retained messages that nobody owns any more, listed and cleared."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Annotated

import typer

from broker_config.leftovers import Leftover, find_leftovers
from emulator.cli.service_options import BrokerUrl, FleetName
from wire.errors import RunError
from wire.mqtt.client import MqttError, describe
from wire.mqtt.retained import clear_retained, read_retained
from wire.text import printable
from wire.topics import MessageKind, Role

LOGIN = {
    MessageKind.STATUS: "that of the fleet",
    MessageKind.MODEL: "that of the cloud",
    MessageKind.BLOCKS: "that of the cloud",
    MessageKind.CLOUD: "that of the cloud",
    MessageKind.ROLLOUT: "that of the cloud",
    MessageKind.ORDER: "that of the cloud",
}
"""The login that may clear a kind of message."""


def clean(
    broker: BrokerUrl,
    fleet: FleetName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Clear without a question.")] = False,
) -> None:
    """List the retained messages that no living cloud or device of a fleet owns, and clear them."""
    connection = broker.connection(Role.CLOUD, f"clean:{fleet}")
    try:
        found = find_leftovers(asyncio.run(read_retained(connection, fleet)))
        for line in described(found):
            typer.echo(line)
        if not found or not (yes or typer.confirm(f"Clear these {len(found)} messages?")):
            return
        stay = asyncio.run(clear_retained(connection, fleet, [each.topic for each in found]))
    except MqttError as error:
        raise RunError(f"broker {broker.host}:{broker.port}: {describe(error)}") from None
    typer.echo(f"cleared {len(found) - len(stay)} messages")
    if left := [each for each in found if each.topic in stay]:
        logins = " and ".join(sorted({LOGIN[each.kind] for each in left}))
        raise RunError(
            f"{len(left)} messages stay, the first on {left[0].topic}: take another login, {logins}"
        )


def described(leftovers: Iterable[Leftover]) -> list[str]:
    """Return a line for each leftover; for the layers of a model one together."""
    layers = Counter(each.reason for each in leftovers if each.kind is MessageKind.BLOCKS)
    lines = [
        f"{each.topic}  {printable(each.reason)}" for each in leftovers if each.kind is not MessageKind.BLOCKS
    ]
    lines += [f"{count} retained layers  {printable(reason)}" for reason, count in layers.items()]
    return lines or ["nothing is left over"]
