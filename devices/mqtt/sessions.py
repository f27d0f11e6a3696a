"""One connection per device: MQTT sessions with keep-alive, last will and reconnection.

Like `devices.mqtt.gateway`, it carries bytes and decides nothing. A task per connected device keeps its
session up until the device leaves; callbacks report connections and breaks. A publish that is lost with a
broken connection is not repeated here: the device reports again.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import msgspec
import numpy as np

from devices.mqtt.answer_assembly import AnswerAssembler
from devices.mqtt.settings import RealtimeSettings
from devices.simulated.exchange import Exchange
from wire.errors import InputError, RemoteProtocolError
from wire.messages import encode
from wire.mqtt.backoff import BRIEF_CONNECTIONS, Backoff
from wire.mqtt.client import (
    Client,
    Message,
    MqttError,
    SubscriptionRefusedError,
    device_will,
    new_client,
    publish,
    subscribe,
)
from wire.mqtt.connection import Connection
from wire.mqtt.reconnection import Ended, connections
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
"""Seconds that a device that leaves waits for the confirmation of its publishes."""
END_S = 30.0
"""Seconds in which all connections have to end."""
BRIEF_WAITS = 4
"""After this many brief connections in a row, the wait grows no further: 4 s."""
SPARE_FILES = 128
"""Open files of a process beside its connections."""

OnDevice = Callable[[str], None]


@dataclass(eq=False)
class Session:
    """The connection of one device."""

    name: str
    previous: "asyncio.Task[None] | None" = None
    """Ends the device's previous connection: the broker allows one per client id."""
    task: "asyncio.Task[None] | None" = None
    """Keeps the connection up."""
    client: Client | None = None
    """The client while the connection is up."""
    connect_began_s: float = 0.0
    connecting: bool = False
    """True if aiomqtt is connecting: a cancellation would leave an open socket behind."""
    leaving: bool = False
    publishing: set["asyncio.Task[None]"] = field(default_factory=set)


class Sessions:
    """The connections of all devices of a process.

    Args:
        login: returns the connection settings of a device.
        fleet: the fleet's name in topics.
        settings: keep-alive, connection rate.
        on_connected: called with each device whose connection is up.
        on_disconnected: called with each device whose connection has broken.
        on_answer: called with each exchange whose answer is complete.
        rng: draws the waits before reconnections.
    """

    def __init__(
        self,
        login: Callable[[str], Connection],
        fleet: str,
        settings: RealtimeSettings,
        *,
        on_connected: OnDevice,
        on_disconnected: OnDevice,
        on_answer: Callable[[Exchange], None],
        rng: np.random.Generator,
    ) -> None:
        self.counts: Counter[str] = Counter()
        """Counters of connections and messages."""
        self.connect_ns: list[int] = []
        """Duration of each connect, subscriptions included; the caller clears the list."""
        self._login = login
        self._fleet = fleet
        self._interval_s = 1.0 / settings.connect_rate
        self._on_connected, self._on_disconnected = on_connected, on_disconnected
        self._assembler = AnswerAssembler(self.counts, on_answer)
        self._draw = rng.random
        self._sessions: dict[str, Session] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._next_s = 0.0
        self._failure: BaseException | None = None
        self.last_error = ""
        """Reason of the last break or failed attempt."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """End every connection after the block."""
        try:
            yield
        finally:
            for name in list(self._sessions):
                self.disconnect(name)
            if self._ending:
                await asyncio.wait(self._ending.values(), timeout=END_S)

    def notes(self) -> list[str]:
        """Return facts about the connections and the messages, for an error about missing answers."""
        counts, suspicious = self.counts, self.counts["suspicious"]
        losing = count_text(suspicious, "device loses its connection", "devices lose their connections")
        return [
            f"{count_text(counts['connections'], 'connection')} made, {counts['broken']:,} broken, "
            f"{counts['connects_failed']:,} attempts failed",
            f"{count_text(counts['parts'], 'part')} of updates came",
            f"{losing} again and again: is a client id used twice?" if suspicious else "",
            "the broker grants QoS 0, not 1 (max_qos)" if counts["weak"] else "",
        ]

    def check(self) -> None:
        """Raise the error that no reconnection can repair, if there is one."""
        if self._failure is not None:
            raise self._failure

    @property
    def up(self) -> int:
        """Number of connections that are up."""
        return sum(session.client is not None for session in self._sessions.values())

    @property
    def expected(self) -> int:
        """Number of connections that should be up."""
        return len(self._sessions)

    def is_up(self, device: str) -> bool:
        """Tell whether the device is connected now."""
        session = self._sessions.get(device)
        return session is not None and session.client is not None

    def connect(self, device: str) -> None:
        """Connect *device*, and keep the connection up."""
        session = Session(device, self._ending.get(device))
        self._sessions[device] = session
        session.task = asyncio.create_task(self._keep(session))
        session.task.add_done_callback(self._on_task_end)

    def disconnect(self, device: str) -> None:
        """End the device's connection after its publishes are confirmed."""
        session = self._sessions.pop(device, None)
        if session is None:
            return
        session.leaving = True
        self._ending[device] = ending = asyncio.create_task(self._end(session))
        ending.add_done_callback(lambda _: self._ended(device, ending))

    def send_report(self, exchange: Exchange) -> None:
        """Publish the report of *exchange* and wait for its answer."""
        self._assembler.expect(exchange)
        self._put(exchange.report.device, MessageKind.BUDGET, exchange.report.payload)

    def give_up(self, exchange: Exchange) -> None:
        """Stop waiting for the answer of *exchange*."""
        self._assembler.forget(exchange)

    def subscribe(self, exchange: Exchange) -> None:
        """Request the retained parts of the exchange's layers."""
        session = self._sessions.get(exchange.report.device)
        if session is None or session.client is None:
            self.counts["unsent"] += 1
            return
        self._assembler.expect_layers(exchange)
        for layer in exchange.report.layers:
            self._start(session, self._request_layer(session.client, layer))

    def send_damaged(self, device: str, payload: bytes) -> None:
        """Publish a damaged report, which the cloud will refuse."""
        self._put(device, MessageKind.BUDGET, payload)

    def publish(self, device: str, kind: MessageKind, message: msgspec.Struct) -> None:
        """Publish a message that needs no answer."""
        self._put(device, kind, encode(message))

    async def announce_offline(self, devices: Iterable[str], timeout_s: float) -> None:
        """Clear the retained messages of *devices*, then end their connections."""
        for device in devices:
            if self.is_up(device):
                self._put(device, MessageKind.STATUS, b"")
            self.disconnect(device)
        if self._ending:
            await asyncio.wait(self._ending.values(), timeout=timeout_s)

    def _put(self, device: str, kind: MessageKind, payload: bytes) -> None:
        session = self._sessions.get(device)
        if session is None or session.client is None:
            self.counts["unsent"] += 1
            return
        self._start(session, publish(session.client, kind, device_topic(kind, self._fleet, device), payload))

    def _start(self, session: Session, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(self._count_unsent(work))
        session.publishing.add(task)
        task.add_done_callback(session.publishing.discard)

    async def _count_unsent(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except MqttError:
            self.counts["unsent"] += 1  # or sent and not confirmed; the device reports again

    async def _request_layer(self, client: Client, layer: LayerName) -> None:
        topic = layer_topic(self._fleet, layer)
        await client.subscribe(topic, qos=TABLE[MessageKind.BLOCKS].qos)
        await client.unsubscribe(topic)

    async def _keep(self, session: Session) -> None:
        """Connect as often as needed, until the device leaves."""
        if session.previous is not None:
            await asyncio.wait([session.previous])
        backoff = Backoff(self._draw, brief_limit=BRIEF_WAITS)
        async for ended in connections(
            partial(self._new_client, session),
            partial(self._serve, session),
            backoff,
            prepare=partial(self._subscribe, session),
        ):
            session.connecting = False
            self._record_end(session, ended)
            if session.leaving:
                return
            for task in tuple(session.publishing):
                task.cancel()  # aiomqtt would let them wait for a confirmation that cannot come
            if ended.lasted_s is None:
                self.counts["connects_failed"] += 1
            else:
                self.counts["broken"] += 1
                self._on_disconnected(session.name)
            if backoff.brief == BRIEF_CONNECTIONS:
                self.counts["suspicious"] += 1
                LOG.warning("%s: the broker ends its connections soon after they are up", session.name)

    def _record_end(self, session: Session, ended: Ended) -> None:
        if not ended.reason:
            return
        self.last_error = ended.reason
        LOG.debug("%s: %s", session.name, ended.reason)
        if ended.login_refused:
            self._failure = InputError(f"the broker refuses device {session.name}: {ended.reason}")

    async def _new_client(self, session: Session) -> Client:
        """Return a new client once the connection rate allows one more connection."""
        now_s = time.monotonic()
        self._next_s = max(now_s, self._next_s + self._interval_s)
        await asyncio.sleep(self._next_s - now_s)
        session.connect_began_s, session.connecting = time.monotonic(), True
        return new_client(
            self._login(session.name),
            last_will=device_will(device_topic(MessageKind.STATUS, self._fleet, session.name)),
        )

    async def _subscribe(self, session: Session, client: Client) -> None:
        session.connecting = False
        for topic, kind in (
            (device_topic(MessageKind.PEE, self._fleet, session.name), MessageKind.PEE),
            (fleet_topic(MessageKind.MODEL, self._fleet), MessageKind.MODEL),
        ):
            try:
                granted = await subscribe(client, topic, TABLE[kind].qos, f"device {session.name}")
            except SubscriptionRefusedError as error:
                raise InputError(str(error)) from None
            if not granted:
                self.counts["weak"] += 1

    async def _serve(self, session: Session, client: Client) -> None:
        """Receive messages until the connection breaks."""
        self.connect_ns.append(int((time.monotonic() - session.connect_began_s) * NS_PER_S))
        if session.leaving:
            return
        session.client = client
        try:
            self.counts["connections"] += 1
            self._on_connected(session.name)
            async for message in client.messages:
                try:
                    self._receive(session.name, message)
                except RemoteProtocolError as error:
                    self.counts["refused"] += 1
                    LOG.warning("refused a message on %s: %s", message.topic, error)
        finally:
            session.client = None

    def _receive(self, device: str, message: Message) -> None:
        match parse(message.topic.value):
            case TopicAddress(MessageKind.PEE, _, str(named)) if named == device:
                self._assembler.add_part(device, message.payload)
            case TopicAddress(MessageKind.BLOCKS, layer=LayerName() as layer):
                self._assembler.add_layer(device, layer, message.payload)

    def _on_task_end(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()

    def _ended(self, device: str, ending: "asyncio.Task[None]") -> None:
        if self._ending.get(device) is ending:
            del self._ending[device]

    async def _end(self, session: Session) -> None:
        if session.publishing:
            await asyncio.wait(session.publishing, timeout=FLUSH_S)
        for task in session.publishing:
            task.cancel()
        if session.task is not None:
            if not session.connecting:
                session.task.cancel()
            await asyncio.wait([session.task])
        if session.previous is not None:
            await asyncio.wait([session.previous])


def check_open_files(connections: int) -> None:
    """Raise this process's limit of open files as far as needed and allowed.

    Raises:
        InputError: the limit is too low for *connections*.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + SPARE_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise InputError(
            f"{connections} connections need {needed} open files, and the limit is {hard}: raise it "
            "(ulimit -n), or use realtime.connections=pooled or a broker elsewhere and more shards"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
