"""Trials of a broker: each feature that clients of peelfleet may need is used once, and what happens is told.

The trials of a broker run side by side on one process, each with a fleet and devices of its own. The last one
kills the broker.
"""

import asyncio
import os
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from broker_config.endpoint import Credentials, Endpoint, check_reachable
from broker_config.launch import RunningBroker
from wire.errors import InputError
from wire.mqtt.client import Client, MqttError, new_client, or_disconnected
from wire.mqtt.connection import Connection
from wire.topics import MessageKind, Role, device_topic, fleet_topic, subscription
from wire.units import format_bytes
from wire.update_part import MAX_PART_BYTES

YES, NO = "yes", "no"
PATIENCE_S, QUIET_S = 20.0, 3.0
"""Seconds within which what is sent arrives; and after which what has not come will not."""
SAVED_AFTER_S = 5.0
"""Seconds before the broker is killed: all brokers have saved by then what they save at intervals."""
SIZES = (2**17, 2**20, 2**23, MAX_PART_BYTES)
_LARGE_S = 15.0
_DEVICES = [*(f"d{number}" for number in range(12)), "with.dots"]


@dataclass(frozen=True)
class BrokerOnTrial:
    """A broker with the logins of its roles and devices."""

    running: RunningBroker
    passwords: Mapping[str, str]

    @property
    def endpoint(self) -> Endpoint:
        """The address and the logins of the roles."""
        return self.running.endpoint

    def device(self, name: str, client_id: str = "") -> Connection:
        """Return the connection of a device; its client id is its name if none is given."""
        endpoint = self.endpoint
        return Connection(endpoint.host, endpoint.port, client_id or name, name, self.passwords[name])

    def role(self, role: Role) -> Connection:
        """Return a connection with the login of a role."""
        return self.endpoint.connection(role, f"trial-{secrets.token_hex(4)}")


def trial_devices() -> dict[str, str]:
    """Return the devices that the trials need, with passwords."""
    return {name: secrets.token_urlsafe(12) for name in _DEVICES}


async def received(client: Client, count: int, quiet_s: float = 0.0) -> list[tuple[str, bytes]]:
    """Return the next messages: until *count* have come, or all of *quiet_s* if it is given."""
    messages: list[tuple[str, bytes]] = []

    async def receive() -> None:
        async for message in client.messages:
            messages.append((message.topic.value, bytes(message.payload)))
            if len(messages) == count and not quiet_s:
                return

    try:
        async with asyncio.timeout(quiet_s or PATIENCE_S):
            await receive()
    except TimeoutError:
        pass
    return messages


def connect_and_stay_silent(
    connection: Connection, will: str, keep_alive_s: int = 60, client_id: str = ""
) -> socket.socket:
    """Connect with a last will and say nothing more, not even that the connection lives."""

    def text(value: str) -> bytes:
        raw = value.encode()
        return len(raw).to_bytes(2, "big") + raw

    assert connection.user is not None
    assert connection.password is not None
    variable = text("MQTT") + bytes([4, 0b1100_1110]) + keep_alive_s.to_bytes(2, "big")
    payload = text(client_id or connection.client_id) + text(will) + text("gone")
    body = variable + payload + text(connection.user) + text(connection.password)
    length = bytes([len(body)]) if len(body) < 128 else bytes([len(body) % 128 | 128, len(body) // 128])
    opened = socket.create_connection((connection.host, connection.port), timeout=PATIENCE_S)
    opened.sendall(b"\x10" + length + body)
    opened.recv(4)
    return opened


def _topic(kind: MessageKind, fleet: str, device: str) -> str:
    return device_topic(kind, fleet, device)


async def order(broker: BrokerOnTrial) -> str:
    """QoS 1: each message arrives once, in the order of the sender."""
    fleet, count = "order", 100
    async with new_client(broker.role(Role.CLOUD)) as cloud, new_client(broker.role(Role.FLEET)) as sender:
        await cloud.subscribe(subscription(MessageKind.BUDGET, fleet), qos=1)
        topic = _topic(MessageKind.BUDGET, fleet, "d0")
        await asyncio.gather(*(sender.publish(topic, str(n), qos=1) for n in range(count)))
        payloads = [payload for _, payload in await received(cloud, count)]
    return YES if payloads == [str(n).encode() for n in range(count)] else NO


async def retained(broker: BrokerOnTrial) -> str:
    """Retained messages: who subscribes to the topic later gets the last one."""
    fleet = "retained"
    async with new_client(broker.role(Role.CLOUD)) as cloud:
        for version in ("v1", "v2"):
            await cloud.publish(fleet_topic(MessageKind.MODEL, fleet), version, qos=1, retain=True)
    async with new_client(broker.device("d1")) as late:
        await late.subscribe(fleet_topic(MessageKind.MODEL, fleet), qos=1)
        return YES if [payload for _, payload in await received(late, 1)] == [b"v2"] else NO


async def retained_by_wildcard(broker: BrokerOnTrial) -> str:
    """Retained messages reach a later subscription with wildcards, too."""
    fleet = "wildcard"
    async with new_client(broker.device("d2")) as device:
        await device.publish(_topic(MessageKind.STATUS, fleet, "d2"), b"here", qos=1, retain=True)
    async with new_client(broker.role(Role.CLOUD)) as cloud:
        await cloud.subscribe(subscription(MessageKind.STATUS, fleet), qos=1)
        return YES if await received(cloud, 1) else NO


async def shared(broker: BrokerOnTrial) -> str:
    """Shared subscriptions: each message goes to one of several clouds."""
    fleet, count = "shared", 20
    topic_filter = f"$share/clouds/{subscription(MessageKind.BUDGET, fleet)}"
    try:
        async with (
            new_client(broker.role(Role.FLEET)) as sender,
            new_client(broker.role(Role.CLOUD)) as one,
            new_client(broker.role(Role.CLOUD)) as other,
        ):
            for replica in (one, other):
                await replica.subscribe(topic_filter, qos=1)
            for n in range(count):
                await sender.publish(_topic(MessageKind.BUDGET, fleet, "d0"), str(n), qos=1)
            halves = await asyncio.gather(*(received(each, 0, QUIET_S) for each in (one, other)))
    except MqttError:
        return NO
    return YES if all(halves) and sum(map(len, halves)) == count else NO


async def session(broker: BrokerOnTrial) -> str:
    """Persistent sessions: messages of QoS 1 wait, in order, for a client that is away."""
    fleet, count = "session", 20
    topic, away = _topic(MessageKind.PEE, fleet, "d3"), replace(broker.device("d3"), persistent=True)
    async with new_client(away) as device:
        await device.subscribe(topic, qos=1)
    async with new_client(broker.role(Role.CLOUD)) as cloud:
        for n in range(count):
            await cloud.publish(topic, str(n), qos=1)
    async with new_client(away) as device:
        payloads = [payload for _, payload in await received(device, count)]
    return YES if payloads == [str(n).encode() for n in range(count)] else NO


async def _will_of(
    broker: BrokerOnTrial, fleet: str, name: str, lose: Callable[[Connection, str], list[socket.socket]]
) -> str:
    topic = _topic(MessageKind.STATUS, fleet, name)
    async with new_client(broker.role(Role.CLOUD)) as cloud:
        await cloud.subscribe(subscription(MessageKind.STATUS, fleet), qos=1)
        sockets = await asyncio.to_thread(lose, broker.device(name), topic)
        wills = await received(cloud, 1)
        for each in sockets:
            each.close()
    return YES if wills == [(topic, b"gone")] else NO


async def will_of_the_lost(broker: BrokerOnTrial) -> str:
    """Last will: sent when the connection of a client breaks."""

    def lose(connection: Connection, topic: str) -> list[socket.socket]:
        connect_and_stay_silent(connection, topic).close()
        return []

    return await _will_of(broker, "lost", "d4", lose)


async def will_of_the_silent(broker: BrokerOnTrial) -> str:
    """Last will: sent when a client says nothing for one and a half times its keep-alive."""
    return await _will_of(
        broker, "silent", "d5", lambda login, topic: [connect_and_stay_silent(login, topic, keep_alive_s=1)]
    )


async def will_at_takeover(broker: BrokerOnTrial) -> str:
    """Last will: sent when another connection with the same client id ends the first."""
    return await _will_of(
        broker, "takeover", "d6", lambda login, topic: [connect_and_stay_silent(login, topic) for _ in "12"]
    )


async def will_elsewhere(broker: BrokerOnTrial) -> str:
    """Last will on a topic that the client may not write."""
    fleet = "elsewhere"
    async with new_client(broker.role(Role.OBSERVER)) as observer:
        await observer.subscribe(subscription(MessageKind.STATUS, fleet), qos=1)
        login, topic = broker.device("d7"), _topic(MessageKind.STATUS, fleet, "d0")
        (await asyncio.to_thread(connect_and_stay_silent, login, topic)).close()
        return "sent" if await received(observer, 0, QUIET_S) else "not sent"


async def logins(broker: BrokerOnTrial) -> str:
    """A wrong password, and a client without a user name."""
    wrong = {Role.CLOUD: Credentials("_cloud", "guess")}
    for credentials in (wrong, {}):
        try:
            await asyncio.to_thread(check_reachable, replace(broker.endpoint, credentials=credentials), 5.0)
        except InputError:
            continue
        return "let in"
    return "refused"


async def forbidden_publish(broker: BrokerOnTrial) -> str:
    """A publish to another device's topic."""
    fleet = "write"
    async with new_client(broker.role(Role.OBSERVER)) as observer:
        await observer.subscribe(subscription(MessageKind.BUDGET, fleet), qos=1)
        told = "confirmed"
        try:
            async with new_client(broker.device("d8")) as device, asyncio.timeout(PATIENCE_S):
                publishing = device.publish(_topic(MessageKind.BUDGET, fleet, "d0"), b"x", qos=1)
                await or_disconnected(device, publishing)
        except MqttError:
            told = "connection ended"
        except TimeoutError:
            told = "not confirmed"
        passed_on = await received(observer, 0, QUIET_S)
    return f"{told}, {'PASSED ON' if passed_on else 'not passed on'}"


async def _answer_to(broker: BrokerOnTrial, name: str, topic_filter: str, sent: str) -> str:
    """Return the outcome of a device's subscription to topics that it may not read, or not all of them."""
    try:
        async with (
            new_client(broker.device(name)) as device,
            new_client(broker.role(Role.CLOUD)) as cloud,
        ):
            granted = await device.subscribe(topic_filter, qos=1)
            codes = [code if isinstance(code, int) else code.value for code in granted]
            if codes[0] >= 128:
                return "refused"
            await cloud.publish(sent, b"secret", qos=1)
            passed_on = (sent, b"secret") in await received(device, 0, QUIET_S)
            return "granted, DELIVERED" if passed_on else "granted, not delivered"
    except MqttError:
        return "connection ended"


async def forbidden_subscription(broker: BrokerOnTrial) -> str:
    """A subscription to another device's topic."""
    topic = _topic(MessageKind.PEE, "read", "d0")
    return await _answer_to(broker, "d9", topic, topic)


async def wide_subscription(broker: BrokerOnTrial) -> str:
    """A subscription to ``#``, and what the device may not read."""
    return await _answer_to(broker, "d10", "#", _topic(MessageKind.PEE, "read-all", "d0"))


async def stolen_session(broker: BrokerOnTrial) -> str:
    """Messages that wait for a device, when another device connects with its client id."""
    fleet, own = "stolen", replace(broker.device("d11"), persistent=True)
    topic = _topic(MessageKind.PEE, fleet, "d11")
    async with new_client(own) as device:
        await device.subscribe(topic, qos=1)
    async with new_client(broker.role(Role.CLOUD)) as cloud:
        await cloud.publish(topic, b"secret", qos=1)
    try:
        async with new_client(replace(broker.device("d0", "d11"), persistent=True)) as thief:
            return "DELIVERED to it" if await received(thief, 0, QUIET_S) else "not delivered to it"
    except MqttError:
        return "its connection ended"


async def client_ids(broker: BrokerOnTrial) -> str:
    """A connection, when another device connects with the same client id."""
    client_id = f"id-{secrets.token_hex(4)}"
    held = await asyncio.to_thread(
        connect_and_stay_silent, broker.device("d0", client_id), _topic(MessageKind.STATUS, "ids", "d0")
    )
    held.settimeout(QUIET_S)
    other = broker.device("d1", client_id)
    taken = await asyncio.to_thread(connect_and_stay_silent, other, _topic(MessageKind.STATUS, "ids", "d1"))
    try:
        ended = not await asyncio.to_thread(held.recv, 16)
    except TimeoutError:
        ended = False
    except OSError:
        ended = True
    held.close()
    taken.close()
    return "ended" if ended else "stays"


async def dots(broker: BrokerOnTrial) -> str:
    """Names of devices and fleets with a dot."""
    name, fleet = "with.dots", "a.fleet"
    topic = _topic(MessageKind.BUDGET, fleet, name)
    try:
        async with (
            new_client(broker.role(Role.CLOUD)) as cloud,
            new_client(broker.device(name, "dotted")) as device,
        ):
            await cloud.subscribe(subscription(MessageKind.BUDGET), qos=1)
            await device.publish(topic, b"dotted", qos=1)
            arrived = await received(cloud, 0, QUIET_S)
    except MqttError:
        return NO
    return YES if (topic, b"dotted") in arrived else NO


async def largest(broker: BrokerOnTrial) -> str:
    """The largest message of 128 KiB, 1, 8 and 64 MiB that arrives."""
    fleet, arrived = "largest", 0
    for size in SIZES:
        try:
            async with (
                new_client(broker.role(Role.CLOUD)) as cloud,
                new_client(broker.role(Role.FLEET)) as all_devices,
            ):
                await all_devices.subscribe(subscription(MessageKind.PEE, fleet), qos=1)
                sending = cloud.publish(
                    _topic(MessageKind.PEE, fleet, "d0"), bytes(size), qos=1, timeout=_LARGE_S
                )
                await or_disconnected(cloud, sending)
                async with asyncio.timeout(_LARGE_S):
                    message = await anext(aiter(all_devices.messages))
        except (MqttError, TimeoutError):
            break
        arrived = len(bytes(message.payload))
    return format_bytes(arrived)


async def dropped(broker: BrokerOnTrial) -> str:
    """A count of dropped messages that the observer can read."""
    try:
        async with new_client(broker.role(Role.OBSERVER)) as observer:
            await observer.subscribe("$SYS/broker/publish/messages/dropped", qos=0)
            return YES if await received(observer, 1) else NO
    except MqttError:
        return NO


TRIALS: Mapping[str, Callable[[BrokerOnTrial], Awaitable[str]]] = {
    "messages of QoS 1 arrive once and in order": order,
    "retained messages": retained,
    "retained messages for a filter with wildcards": retained_by_wildcard,
    "persistent sessions": session,
    "shared subscriptions, for several clouds": shared,
    "last will when a connection breaks": will_of_the_lost,
    "last will when a client falls silent": will_of_the_silent,
    "last will when its client id is taken over": will_at_takeover,
    "last will on a topic that the client may not write": will_elsewhere,
    "wrong password, or no user name": logins,
    "publish to the topic of another device": forbidden_publish,
    "subscription to the topic of another device": forbidden_subscription,
    "subscription of a device to `#`, a message for another device": wide_subscription,
    "what waits for a device, if another device takes its client id": stolen_session,
    "connection of a device, if another device takes its client id": client_ids,
    "names with a dot": dots,
    "largest message, of 128 KiB, 1, 8 and 64 MiB": largest,
    "count of dropped messages": dropped,
}
"""Each trial by its heading in the table of docs/brokers.md."""
CRASH = "retained and waiting messages after a crash (SIGKILL)"


async def run_trials(broker: BrokerOnTrial) -> dict[str, str]:
    """Run all trials; return what was found, by heading."""
    results = await asyncio.gather(*(trial(broker) for trial in TRIALS.values()))
    return {**dict(zip(TRIALS, results, strict=True)), CRASH: await crash(broker)}


async def crash(broker: BrokerOnTrial) -> str:
    """Kill the broker after it has saved its state, and look at what is there when it is back."""
    fleet, away = "crash", replace(broker.device("d3", "crash.d3"), persistent=True)
    topic, notice = _topic(MessageKind.PEE, fleet, "d3"), fleet_topic(MessageKind.MODEL, fleet)
    async with new_client(away) as device:
        await device.subscribe(topic, qos=1)
    async with new_client(broker.role(Role.CLOUD)) as cloud:
        await cloud.publish(notice, b"v1", qos=1, retain=True)
        await cloud.publish(topic, b"waits", qos=1)
    await asyncio.sleep(SAVED_AFTER_S)
    os.kill(server_pid(broker.running), signal.SIGKILL)
    while broker.running.exit_report() is None:
        await asyncio.sleep(0.05)
    await asyncio.to_thread(broker.running.restart)
    async with new_client(away) as device:
        waiting = await received(device, 1)
        await device.subscribe(notice, qos=1)
        kept = await received(device, 1)
    words = [word for word, there in (("retained", kept), ("waiting", waiting)) if there]
    return " and ".join(words) or "none"


def server_pid(broker: RunningBroker) -> int:
    """Return the process that serves: the first child of a guard, else the process itself."""
    pid = broker.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    return int(children[0]) if children else pid
