"""A connection of its own for each device: an MQTT session with keep-alive, last will and reconnection.

As `devices.mqtt.gateway`, it carries bytes and decides nothing. A device that is to be connected has a task
that keeps its session up until the device leaves; what connects and what breaks is told to whoever runs the
devices. A publish that a broken connection swallowed is not repeated here: the device asks again.
"""

import asyncio
import logging
import resource
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiomqtt
import msgspec
import numpy as np
from aiomqtt.exceptions import MqttConnectError

from devices.mqtt.answer_assembly import Arrivals
from devices.mqtt.settings import Realtime
from devices.simulated.exchange import Exchange
from wire.errors import InputError, RemoteProtocolError
from wire.messages import Status, encode
from wire.mqtt.connection import (
    NOT_ACCEPTED,
    PUBLISHES_AT_ONCE,
    Connection,
    fail_fast,
    refuses,
    unless_broken,
    weakens,
)
from wire.mqtt.reconnection import BRIEF_CONNECTIONS, Reconnections, plain_words
from wire.no_answer import count_text
from wire.topics import (
    TABLE,
    LayerName,
    MessageKind,
    TopicAddress,
    device_topic,
    fleet_topic,
    layer_topic,
    parse,
)
from wire.units import NS_PER_S

LOG = logging.getLogger("peelfleet.sessions")

FLUSH_S = 2.0
"""How long a device that leaves waits for what it has published to be confirmed."""
END_S = 30.0
"""How long all connections together may take to end."""
NOT_WELCOME = (134, 135)
"""CONNACK: bad user name or password, not authorized; paho says it as MQTT 5 would."""
BRIEF_WAITS = 4
"""The wait of a device whose connections are brief grows no further than after so many: 4 s."""
SPARE_FILES = 128
"""Open files that a process needs beside its connections."""

Heard = Callable[[str], None]


@dataclass(eq=False)
class Session:
    """The connection of one device."""

    name: str
    after: "asyncio.Task[None] | None" = None
    """Ends the device's connection before this one: two of the same client id would throw each other out."""
    keeping: "asyncio.Task[None] | None" = None
    """Keeps it up."""
    client: aiomqtt.Client | None = None
    """While it is up."""
    connecting: bool = False
    """Whether aiomqtt is at it: cut short it would leave a socket behind."""
    leaving: bool = False
    publishing: set["asyncio.Task[None]"] = field(default_factory=set)

    def left(self) -> bool:
        """Tell whether the device leaves, or has left."""
        return self.leaving


class Sessions:
    """The connections of all devices of a process.

    Args:
        login: how a device connects.
        fleet: the fleet's name in topics.
        settings: keep-alive, connection rate.
        joined: told each device whose connection is there.
        broke: told each device whose connection has broken.
        answered: told each exchange whose answer is complete.
        rng: for the waits before reconnections.
    """

    def __init__(
        self,
        login: Callable[[str], Connection],
        fleet: str,
        settings: Realtime,
        *,
        joined: Heard,
        broke: Heard,
        answered: Callable[[Exchange], None],
        rng: np.random.Generator,
    ) -> None:
        self.listening = self.sessions = True
        self.counts: Counter[str] = Counter()
        """What became of connections and messages."""
        self.connect_ns: list[int] = []
        """How long each connection took, subscriptions included, since somebody has last emptied this."""
        self._login = login
        self._fleet = fleet
        self._gap_s = 1.0 / settings.connect_rate
        self._joined, self._broke = joined, broke
        self._arrivals = Arrivals(self.counts, answered)
        self._draw = rng.random
        self._sessions: dict[str, Session] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._next_s = 0.0
        self._failure: BaseException | None = None
        self.trouble = ""
        """Why a connection last broke, or did not come about."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """End every connection when the body has run."""
        try:
            yield
        finally:
            for name in list(self._sessions):
                self.disconnect(name)
            if self._ending:
                await asyncio.wait(self._ending.values(), timeout=END_S)

    def notes(self) -> list[str]:
        """Say what has come of the connections and of what was published, for whom no answer comes."""
        counts, suspicious = self.counts, self.counts["suspicious"]
        what = count_text(suspicious, "device loses its connection", "devices lose their connections")
        return [
            f"{count_text(counts['connections'], 'connection')} made, {counts['broken']:,} broken, "
            f"{counts['connects_failed']:,} attempts failed",
            f"{count_text(counts['parts'], 'part')} of updates came",
            f"{what} again and again: is a client id used twice?" if suspicious else "",
            "the broker grants QoS 0, not 1 (max_qos)" if counts["weak"] else "",
        ]

    def check(self) -> None:
        """Raise what no reconnection can mend, if there is anything."""
        if self._failure is not None:
            raise self._failure

    @property
    def up(self) -> int:
        """How many connections there are."""
        return sum(session.client is not None for session in self._sessions.values())

    @property
    def wanted(self) -> int:
        """How many connections there should be."""
        return len(self._sessions)

    def is_up(self, device: str) -> bool:
        """Tell whether the device has a connection at this moment."""
        session = self._sessions.get(device)
        return session is not None and session.client is not None

    def connect(self, device: str) -> None:
        """Begin to keep a connection of *device* up."""
        session = Session(device, self._ending.get(device))
        self._sessions[device] = session
        session.keeping = asyncio.create_task(self._keep(session))
        session.keeping.add_done_callback(self._kept)

    def disconnect(self, device: str) -> None:
        """End the device's connection, once what it has published is confirmed."""
        session = self._sessions.pop(device, None)
        if session is None:
            return
        session.leaving = True
        self._ending[device] = ending = asyncio.create_task(self._end(session))
        ending.add_done_callback(lambda _: self._ended(device, ending))

    def send_report(self, exchange: Exchange) -> None:
        """Publish a report and keep its exchange until the answer is complete."""
        self._arrivals.expect(exchange)
        topic = device_topic(MessageKind.BUDGET, self._fleet, exchange.device)
        self._put(exchange.device, topic, exchange.report, MessageKind.BUDGET)

    def give_up(self, exchange: Exchange) -> None:
        """Nobody waits for the answer any more."""
        self._arrivals.forget(exchange)

    def subscribe(self, exchange: Exchange) -> None:
        """Ask for the retained parts of the exchange's layers."""
        session = self._sessions.get(exchange.device)
        if session is None or session.client is None:
            self.counts["unsent"] += 1
            return
        self._arrivals.expect_layers(exchange)
        for layer in exchange.layers:
            self._do(session, self._ask(session.client, layer))

    def send_damaged(self, device: str, payload: bytes) -> None:
        """Publish a report that the cloud will refuse."""
        self._put(device, device_topic(MessageKind.BUDGET, self._fleet, device), payload, MessageKind.BUDGET)

    def publish(self, device: str, kind: MessageKind, message: msgspec.Struct) -> None:
        """Publish a message that is not answered."""
        self._put(device, device_topic(kind, self._fleet, device), encode(message), kind)

    async def say_goodbye(self, devices: Iterable[str], timeout_s: float) -> None:
        """Clear what the broker retains of *devices*, then end their connections."""
        for device in devices:
            if self.is_up(device):
                topic = device_topic(MessageKind.STATUS, self._fleet, device)
                self._put(device, topic, b"", MessageKind.STATUS)
            self.disconnect(device)
        if self._ending:
            await asyncio.wait(self._ending.values(), timeout=timeout_s)

    def _put(self, device: str, topic: str, payload: bytes, kind: MessageKind) -> None:
        session = self._sessions.get(device)
        if session is None or session.client is None:
            self.counts["unsent"] += 1
            return
        route = TABLE[kind]
        self._do(session, session.client.publish(topic, payload, qos=route.qos, retain=route.retained))

    def _do(self, session: Session, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(self._counted(work))
        session.publishing.add(task)
        task.add_done_callback(session.publishing.discard)

    async def _counted(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except aiomqtt.MqttError:
            self.counts["unsent"] += 1  # or sent and not confirmed; the device asks again

    async def _ask(self, client: aiomqtt.Client, layer: LayerName) -> None:
        topic = layer_topic(self._fleet, layer)
        await client.subscribe(topic, qos=TABLE[MessageKind.BLOCKS].qos)
        await client.unsubscribe(topic)

    async def _keep(self, session: Session) -> None:
        """Connect as often as it takes, until the device leaves."""
        if session.after is not None:
            await asyncio.wait([session.after])
        reconnections = Reconnections(most=BRIEF_WAITS)
        while not session.left():
            began_s = time.monotonic()
            up = await self._connected(session)
            if session.left():
                return
            for task in tuple(session.publishing):
                task.cancel()  # aiomqtt would let them wait for a confirmation that cannot come
            reconnections.ended(time.monotonic() - began_s if up else None)
            if up:
                self.counts["broken"] += 1
                self._broke(session.name)
            else:
                self.counts["connects_failed"] += 1
            if reconnections.brief == BRIEF_CONNECTIONS:
                self.counts["suspicious"] += 1
                LOG.warning("%s: the broker ends its connections soon after they are up", session.name)
            await asyncio.sleep(reconnections.wait_s(self._draw()))

    async def _connected(self, session: Session) -> bool:
        """Connect, and listen until the connection ends; return whether it ever stood."""
        await self._turn()
        began, up = time.monotonic(), False
        session.connecting = True
        client = aiomqtt.Client(**self._options(session))
        fail_fast(client, aiomqtt.MqttError(NOT_ACCEPTED))
        try:
            async with client:
                session.connecting = False
                await unless_broken(client, self._subscribe(client, session.name))
                self.connect_ns.append(int((time.monotonic() - began) * NS_PER_S))
                up = True
                if not session.left():
                    await self._listen(session, client)
        except aiomqtt.MqttError as error:
            self.trouble = plain_words(error)
            LOG.debug("%s: %s", session.name, error)
            if isinstance(error, MqttConnectError) and error.rc in NOT_WELCOME:
                self._failure = InputError(f"the broker refuses device {session.name}: {plain_words(error)}")
            if session.connecting:
                client._client.disconnect()  # aiomqtt leaves the socket open where no answer came
        except InputError as error:
            self._failure = error
        finally:
            session.client, session.connecting = None, False
        return up

    async def _turn(self) -> None:
        """Wait until the connection rate allows one more."""
        now = time.monotonic()
        self._next_s = max(now, self._next_s + self._gap_s)
        await asyncio.sleep(self._next_s - now)

    def _options(self, session: Session) -> dict[str, Any]:  # Any: as in `Connection`
        gone = encode(Status(online=False, reason="connection lost"))
        route = TABLE[MessageKind.STATUS]
        topic = device_topic(MessageKind.STATUS, self._fleet, session.name)
        will = aiomqtt.Will(topic, gone, qos=route.qos, retain=route.retained)
        return {**self._login(session.name).client_options(), "will": will}

    async def _subscribe(self, client: aiomqtt.Client, device: str) -> None:
        client.pending_calls_threshold = 2 * PUBLISHES_AT_ONCE
        for topic, kind in (
            (device_topic(MessageKind.PEE, self._fleet, device), MessageKind.PEE),
            (fleet_topic(MessageKind.MODEL, self._fleet), MessageKind.MODEL),
        ):
            granted = await client.subscribe(topic, qos=TABLE[kind].qos)
            if refuses(granted):
                raise InputError(f"the broker refuses device {device} to subscribe to {topic}")
            if weakens(granted, TABLE[kind].qos):
                self.counts["weak"] += 1

    async def _listen(self, session: Session, client: aiomqtt.Client) -> None:
        session.client = client
        self.counts["connections"] += 1
        self._joined(session.name)
        async for message in client.messages:
            try:
                self._receive(session.name, message)
            except RemoteProtocolError as error:
                self.counts["refused"] += 1
                LOG.warning("refused a message on %s: %s", message.topic, error)

    def _receive(self, device: str, message: aiomqtt.Message) -> None:
        match parse(message.topic.value):
            case TopicAddress(MessageKind.PEE, _, str(named)) if named == device:
                self._arrivals.part(device, message.payload)
            case TopicAddress(MessageKind.BLOCKS, layer=LayerName() as layer):
                self._arrivals.layer(device, layer, message.payload)

    def _kept(self, keeping: "asyncio.Task[None]") -> None:
        if not keeping.cancelled() and keeping.exception() is not None:
            self._failure = keeping.exception()

    def _ended(self, device: str, ending: "asyncio.Task[None]") -> None:
        if self._ending.get(device) is ending:
            del self._ending[device]

    async def _end(self, session: Session) -> None:
        if session.publishing:
            await asyncio.wait(session.publishing, timeout=FLUSH_S)
        for task in session.publishing:
            task.cancel()
        if session.keeping is not None:
            if not session.connecting:
                session.keeping.cancel()
            await asyncio.wait([session.keeping])
        if session.after is not None:
            await asyncio.wait([session.after])


def check_open_files(connections: int) -> None:
    """Raise this process's limit of open files as far as is needed and allowed.

    Raises:
        InputError: it is too low for so many connections.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise InputError(
            f"{connections} connections need {wanted} open files, and the limit is {hard}: raise it "
            "(ulimit -n), or use realtime.connections=pooled or a broker elsewhere and more shards"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
