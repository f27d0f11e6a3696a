"""A test over a broker: messages of the scripted cloud and of the device, and commands of the owner."""

import asyncio
import contextlib
import logging
import shlex
import time
from dataclasses import dataclass
from typing import Final

from cloud.conformance.broker_proxy import BrokerProxy
from cloud.conformance.conversation import (
    CUT,
    HEAL,
    KILL,
    RESTART,
    SET_BUDGET,
    ConformanceSettings,
    ConformanceTest,
    DeviceConversation,
    Order,
    TrialSignatures,
)
from cloud.conformance.session_cases import CASES
from cloud.conformance.verdicts import ConformanceVerdicts
from wire.errors import InputError, RunError
from wire.messages import CloudStatus, ModelNotice, decode
from wire.mqtt.client import Client, Message, MqttError, describe, new_client, publish, subscribe
from wire.mqtt.connection import Connection
from wire.mqtt.retained import read_retained
from wire.signatures import Sign
from wire.topics import TABLE, MessageKind, cloud_topic, device_topic, fleet_topic, parse
from wire.units import NS_PER_S

LOG: Final = logging.getLogger("peelfleet.conformance")
REPLICA: Final = "conformance"
PREFIX: Final = "conformance-"
COMMAND_S: Final = 60.0
"""A command of the device's owner ends within this time."""


@dataclass(frozen=True)
class DeviceUnderTest:
    """The device, and the commands of its owner; ``{bytes}`` in them is the budget."""

    fleet: str
    name: str
    budget_command: str = ""
    """A command that sets its budget; empty: it cannot be set."""
    restart_command: str = ""
    """A command that starts it again with that budget; empty: it cannot be started again."""
    kill_command: str = ""
    """A command that kills it, so that it cannot say goodbye; empty: it cannot be killed."""
    proxy_port: int | None = None
    """The port by which it connects to its broker; None: it connects without a proxy."""

    def topic(self, kind: MessageKind) -> str:
        """Return the topic of a message between it and the cloud."""
        if kind is MessageKind.CLOUD:
            return cloud_topic(self.fleet, REPLICA)
        per_device = TABLE[kind].per_device
        return device_topic(kind, self.fleet, self.name) if per_device else fleet_topic(kind, self.fleet)

    def check_commands(self) -> None:
        """Raise InputError if a command has no place for the budget."""
        for option, command in (
            ("--budget-command", self.budget_command),
            ("--restart-command", self.restart_command),
        ):
            if command and "{bytes}" not in command:
                raise InputError(f"{option}(={command!r}) must have {{bytes}} where the budget belongs")


async def judge_device(
    connection: Connection,
    device: DeviceUnderTest,
    settings: ConformanceSettings,
    signing: tuple[Sign, Sign] | None = None,
) -> ConformanceVerdicts:
    """Play all cases against a device, and return the verdicts.

    Args:
        connection: the broker, and the login of a cloud.
        device: the device.
        settings: times and abilities.
        signing: sign with the key that the device knows, and with another one; None: nothing is signed.

    Raises:
        InputError: another cloud serves the fleet, or the device's budget does not suit a test.
        RunError: the broker or a command fails.
    """
    signatures = None if signing is None else TrialSignatures(*signing, device.topic)
    talk = DeviceConversation(settings, f"{PREFIX}{time.time_ns() // 1_000_000}", signatures)
    try:
        _check_free(await read_retained(connection, device.fleet), device.fleet)
        arrived = asyncio.Event()

        def take(message: Message) -> None:
            if isinstance(message.payload, bytes):
                talk.on_message(parse(message.topic.value).kind, message.payload, time.monotonic_ns() - start)
                arrived.set()

        start = time.monotonic_ns()

        def take_attempt() -> None:
            talk.on_attempt(time.monotonic_ns() - start)
            arrived.set()

        proxy = BrokerProxy(connection.host, connection.port, take_attempt)
        way = contextlib.nullcontext() if device.proxy_port is None else proxy.listening(device.proxy_port)
        async with way, new_client(connection, on_message=take) as client:
            for kind in (MessageKind.STATUS, MessageKind.BUDGET):
                await subscribe(client, device.topic(kind), 1)
            try:
                await _play(client, device, talk, proxy, arrived, start)
            finally:
                for kind in (MessageKind.MODEL, MessageKind.CLOUD):
                    await publish(client, kind, device.topic(kind), b"")
    except MqttError as error:
        raise RunError(f"broker {connection.host}:{connection.port}: {describe(error)}") from None
    return talk.verdicts


async def _play(
    client: Client,
    device: DeviceUnderTest,
    talk: DeviceConversation,
    proxy: BrokerProxy,
    arrived: asyncio.Event,
    start_ns: int,
) -> None:
    test = ConformanceTest(talk, CASES)
    while test.deadline_ns is not None:
        arrived.clear()
        for order in test.advance(time.monotonic_ns() - start_ns):
            await _carry_out(client, device, proxy, order)
        if test.deadline_ns is None or arrived.is_set():
            continue
        rest_s = (test.deadline_ns - (time.monotonic_ns() - start_ns)) / NS_PER_S
        try:
            await asyncio.wait_for(arrived.wait(), max(rest_s, 0.0))
        except TimeoutError:
            continue


async def _carry_out(client: Client, device: DeviceUnderTest, proxy: BrokerProxy, order: Order) -> None:
    if order.kind == SET_BUDGET:
        await _run_command(device.budget_command, order.payload.decode())
    elif order.kind == RESTART:
        await _run_command(device.restart_command, order.payload.decode())
    elif order.kind == KILL:
        await _run_command(device.kill_command, "")
    elif order.kind == CUT:
        proxy.cut()
    elif order.kind == HEAL:
        proxy.heal()
    else:
        kind = MessageKind(order.kind)
        await publish(client, kind, device.topic(kind), order.payload)


async def _run_command(command: str, budget_bytes: str) -> None:
    """Run a command of the device's owner to its end; what it leaves in the background goes on."""
    words = [word.replace("{bytes}", budget_bytes) for word in shlex.split(command)]
    LOG.info("run: %s", shlex.join(words))
    try:
        process = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.DEVNULL)
        status = await asyncio.wait_for(process.wait(), COMMAND_S)
    except TimeoutError:
        process.kill()
        raise RunError(f"{command!r} must end within {COMMAND_S:g} s") from None
    except OSError as error:
        raise InputError(f"{command!r}: {error.strerror}") from None
    if status:
        raise RunError(f"{command!r} has ended with exit status {status}")


def _check_free(retained: dict[str, bytes], fleet: str) -> None:
    """Raise InputError if a cloud that is not ours serves the fleet."""
    for topic, payload in retained.items():
        address = parse(topic)
        is_other = (
            address.kind is MessageKind.MODEL and not decode(payload, ModelNotice).version.startswith(PREFIX)
        ) or (
            address.kind is MessageKind.CLOUD
            and address.replica != REPLICA
            and decode(payload, CloudStatus).online
        )
        if is_other:
            raise InputError(
                f"fleet {fleet!r} has a cloud ({topic} is retained): test the device in a fleet of its own"
            )
