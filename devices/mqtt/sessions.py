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
from functools import partial

import msgspec
import numpy as np

from devices.mqtt.answer_assembly import AnswerAssembler
from devices.mqtt.settings import Realtime
from devices.simulated.exchange import Exchange
from wire.errors import InputError, RemoteProtocolError
from wire.messages import encode
from wire.mqtt.backoff import BRIEF_CONNECTIONS, Backoff
from wire.mqtt.client import (
    Client,
    Message,
    MqttError,
    SubscriptionRefusedError,
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
"""How long a device that leaves waits for what it has published to be confirmed."""
END_S = 30.0
"""How long all connections together may take to end."""
BRIEF_WAITS = 4
"""The wait of a device whose connections are brief grows no further than after so many: 4 s."""
SPARE_FILES = 128
"""Open files that a process needs beside its connections."""

OnDevice = Callable[[str], None]


@dataclass(eq=False)
class Session:
    """The connection of one device."""

    name: str
    after: "asyncio.Task[None] | None" = None
    """Ends the device's connection before this one: two of the same client id would throw each other out."""
    keeping: "asyncio.Task[None] | None" = None
    """Keeps it up."""
    client: Client | None = None
    """The client while the connection is up."""
    connect_began_s: float = 0.0
    connecting: bool = False
    """Whether aiomqtt is connecting: to cancel it would leave an open socket behind."""
    leaving: bool = False
    publishing: set["asyncio.Task[None]"] = field(default_factory=set)


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
        joined: OnDevice,
        broke: OnDevice,
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
        self._arrivals = AnswerAssembler(self.counts, answered)
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
        self._put(exchange.device, MessageKind.BUDGET, exchange.report)

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
        self._put(device, MessageKind.BUDGET, payload)

    def publish(self, device: str, kind: MessageKind, message: msgspec.Struct) -> None:
        """Publish a message that is not answered."""
        self._put(device, kind, encode(message))

    async def say_goodbye(self, devices: Iterable[str], timeout_s: float) -> None:
        """Clear what the broker retains of *devices*, then end their connections."""
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
        self._do(session, publish(session.client, kind, device_topic(kind, self._fleet, device), payload))

    def _do(self, session: Session, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(self._counted(work))
        session.publishing.add(task)
        task.add_done_callback(session.publishing.discard)

    async def _counted(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except MqttError:
            self.counts["unsent"] += 1  # or sent and not confirmed; the device asks again

    async def _ask(self, client: Client, layer: LayerName) -> None:
        topic = layer_topic(self._fleet, layer)
        await client.subscribe(topic, qos=TABLE[MessageKind.BLOCKS].qos)
        await client.unsubscribe(topic)

    async def _keep(self, session: Session) -> None:
        """Connect as often as needed, until the device leaves."""
        if session.after is not None:
            await asyncio.wait([session.after])
        backoff = Backoff(self._draw, brief_limit=BRIEF_WAITS)
        async for ended in connections(
            partial(self._new_client, session),
            partial(self._serve, session),
            backoff,
            prepare=partial(self._subscribe, session),
        ):
            session.connecting = False
            self._note_end(session, ended)
            if session.leaving:
                return
            for task in tuple(session.publishing):
                task.cancel()  # aiomqtt would let them wait for a confirmation that cannot come
            if ended.lasted_s is None:
                self.counts["connects_failed"] += 1
            else:
                self.counts["broken"] += 1
                self._broke(session.name)
            if backoff.brief == BRIEF_CONNECTIONS:
                self.counts["suspicious"] += 1
                LOG.warning("%s: the broker ends its connections soon after they are up", session.name)

    def _note_end(self, session: Session, ended: Ended) -> None:
        if not ended.reason:
            return
        self.trouble = ended.reason
        LOG.debug("%s: %s", session.name, ended.reason)
        if ended.login_refused:
            self._failure = InputError(f"the broker refuses device {session.name}: {ended.reason}")

    async def _new_client(self, session: Session) -> Client:
        """Return a new client once the connection rate allows one more connection."""
        now_s = time.monotonic()
        self._next_s = max(now_s, self._next_s + self._gap_s)
        await asyncio.sleep(self._next_s - now_s)
        session.connect_began_s, session.connecting = time.monotonic(), True
        return new_client(
            self._login(session.name),
            status_topic=device_topic(MessageKind.STATUS, self._fleet, session.name),
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
        """Pass messages on until the connection breaks."""
        self.connect_ns.append(int((time.monotonic() - session.connect_began_s) * NS_PER_S))
        if session.leaving:
            return
        session.client = client
        try:
            self.counts["connections"] += 1
            self._joined(session.name)
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
