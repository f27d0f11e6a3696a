"""The MQTT gateway: many emulated devices on one connection to a real broker.

It carries bytes and decides nothing: reports go out, answers are stored in their exchange. After a
break it makes a new client and sends every unanswered report again; the cloud is stateless and an
answer that comes twice is dropped, so simulated devices notice nothing.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import msgspec

from devices.mqtt.answer_assembly import AnswerAssembler
from devices.simulated.exchange import Exchange
from wire.errors import RemoteProtocolError, RunError
from wire.messages import ModelNotice, Status, decode, encode
from wire.mqtt.backoff import Backoff
from wire.mqtt.client import Client, Message, new_client, publish, subscribe
from wire.mqtt.connection import PUBLISHES_AT_ONCE, Connection
from wire.mqtt.reconnection import connections
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
    subscription,
)

LOG = logging.getLogger("peelfleet.gateway")

MOST_WAIT_S = 2.0
"""A whole fleet waits for the connection."""


@dataclass(frozen=True)
class Outgoing:
    """A message that waits to be published."""

    kind: MessageKind
    topic: str
    payload: bytes


class Gateway:
    """Speaks for a whole fleet on one connection.

    Args:
        connection: the broker.
        fleet: the fleet's name in topics.
        give_up_s: how long the broker may be away before the run fails.
        answered: told each exchange whose answer is complete.
    """

    def __init__(
        self,
        connection: Connection,
        fleet: str,
        *,
        give_up_s: float = 30.0,
        answered: Callable[[Exchange], None] | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        """Messages by what became of them: answers, duplicates, refused, sent_again; and reconnections."""
        self.listening, self.sessions = True, False
        self.arrived = asyncio.Event()
        """Set whenever an answer is complete, and when the gateway has failed."""
        self.model: ModelNotice | None = None
        """The model that the cloud announced last."""
        self._connection = connection
        self._fleet = fleet
        self._give_up_s = give_up_s
        self._outbox: asyncio.Queue[Outgoing | LayerName] = asyncio.Queue()
        self._layers: dict[LayerName, bytes] = {}
        self._awaited: dict[LayerName, list[Exchange]] = {}
        self._arrivals = AnswerAssembler(self.counts, self._answered)
        self._tell = answered
        self._failure: BaseException | None = None
        self.trouble = ""
        """Why it last had no connection."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the connection up while the body runs; what ends it for good is raised by `check`."""
        task = asyncio.create_task(self._run(), name="gateway")
        task.add_done_callback(self._ended)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    @property
    def up(self) -> int:
        """How many connections there are."""
        return int(bool(self.counts["connected"]))

    @property
    def wanted(self) -> int:
        """How many connections there should be."""
        return 1

    def notes(self) -> list[str]:
        """Say what has come of the connection and of what was published, for whom no answer comes."""
        lost = max(self.counts["connections"] - 1, 0)
        twice = "is its client id used twice (use_username_as_clientid)?"
        return [
            f"{count_text(self.counts['reports_published'], 'report')} published",
            f"{count_text(self.counts['parts'], 'part')} of updates came",
            f"our connection was lost {lost:,} times ({self.trouble}): {twice}" if lost else "",
            "the broker grants QoS 0, not 1 (max_qos)" if self.counts["weak"] else "",
        ]

    def check(self) -> None:
        """Raise what ended the connection for good, if anything did."""
        if self._failure is not None:
            raise self._failure

    def connect(self, device: str) -> None:
        """All devices share the connection."""

    def disconnect(self, device: str) -> None:
        """All devices share the connection."""

    def send_report(self, exchange: Exchange) -> None:
        """Publish a report and keep its exchange until the answer is complete."""
        self._arrivals.expect(exchange)
        self._put(exchange.device, MessageKind.BUDGET, exchange.report)

    def give_up(self, exchange: Exchange) -> None:
        """Nobody waits for the answer any more."""
        self._arrivals.forget(exchange)

    def subscribe(self, exchange: Exchange) -> None:
        """Give the exchange the retained parts of its layers, once the broker has sent them all.

        The devices of a gateway share its connection, so each layer is asked for once and kept.
        """
        for layer in exchange.layers:
            if layer not in self._layers and layer not in self._awaited:
                self._awaited[layer] = []
                self._outbox.put_nowait(layer)
        missing = [layer for layer in exchange.layers if layer not in self._layers]
        for layer in missing:
            self._awaited[layer].append(exchange)
        if not missing:
            self._fill(exchange)

    def send_damaged(self, device: str, payload: bytes) -> None:
        """Publish a report that the cloud will refuse."""
        self._put(device, MessageKind.BUDGET, payload)

    def publish(self, device: str, kind: MessageKind, message: msgspec.Struct) -> None:
        """Publish a message that is not answered."""
        self._put(device, kind, encode(message))

    def send_again(self, older_than_s: float) -> int:
        """Publish once more every report that has waited longer; return how many."""
        overdue = self._arrivals.overdue(older_than_s)
        for exchange in overdue:
            self._put(exchange.device, MessageKind.BUDGET, exchange.report)
        self.counts["sent_again"] += len(overdue)
        return len(overdue)

    async def say_goodbye(self, devices: Iterable[str], timeout_s: float) -> None:
        """Publish that *devices* are gone, then clear what the broker retains of them."""
        gone = encode(Status(online=False, reason="end of run"))
        for device in devices:
            self._put(device, MessageKind.STATUS, gone)
            self._put(device, MessageKind.STATUS, b"")
        try:
            async with asyncio.timeout(timeout_s):
                await self._outbox.join()
        except TimeoutError:
            LOG.warning("%d messages were not sent at the end of the run", self._outbox.qsize())

    def _put(self, device: str, kind: MessageKind, payload: bytes) -> None:
        self._outbox.put_nowait(Outgoing(kind, device_topic(kind, self._fleet, device), payload))

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._failure = task.exception()
            self.arrived.set()

    async def _run(self) -> None:
        last_up_s = time.monotonic()
        backoff = Backoff(lambda: 1.0, longest_s=MOST_WAIT_S)
        async for ended in connections(self._new_client, self._serve, backoff, prepare=self._subscribe):
            self.trouble = ended.reason or "it ended"
            self.counts.pop("connected", None)
            if ended.lasted_s is not None:
                last_up_s = time.monotonic()
            elif time.monotonic() - last_up_s > self._give_up_s:
                broker = f"{self._connection.host}:{self._connection.port}"
                raise RunError(f"the broker {broker} is gone for {self._give_up_s:g} s: {self.trouble}")
            LOG.warning("the connection to the broker broke: %s; trying again", self.trouble)

    async def _new_client(self) -> Client:
        return new_client(self._connection)

    async def _subscribe(self, client: Client) -> None:
        for topic in (
            subscription(MessageKind.PEE, self._fleet),
            fleet_topic(MessageKind.MODEL, self._fleet),
        ):
            if not await subscribe(client, topic, 1, "the fleet"):
                self.counts["weak"] += 1

    async def _serve(self, client: Client) -> None:
        """Send again what is not answered, then pass messages on until the connection breaks."""
        self.counts["connected"] = 1
        self.counts["connections"] += 1
        if self.counts["connections"] > 1:
            self.send_again(0.0)
            for layer in self._awaited:
                self._outbox.put_nowait(layer)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(PUBLISHES_AT_ONCE):
                tasks.create_task(self._publish_all(client))
            async for message in client.messages:
                try:
                    self._receive(message)
                except RemoteProtocolError as error:
                    self.counts["refused"] += 1
                    LOG.warning("refused a message on %s: %s", message.topic, error)

    async def _publish_all(self, client: Client) -> None:
        task = asyncio.current_task()
        assert task is not None
        # Not `while True`: aiomqtt waits with wait_for, which in Python 3.11 swallows a cancellation that
        # comes together with the confirmation; the connection would then never be wound up.
        while not task.cancelling():
            message = await self._outbox.get()
            try:
                await self._send(client, message)
            except BaseException:
                self._outbox.put_nowait(message)  # raised does not mean unsent, nor sent: send it again
                raise
            finally:
                self._outbox.task_done()

    async def _send(self, client: Client, message: Outgoing | LayerName) -> None:
        if isinstance(message, LayerName):
            await client.subscribe(layer_topic(self._fleet, message), qos=TABLE[MessageKind.BLOCKS].qos)
        else:
            await publish(client, message.kind, message.topic, message.payload)
            if message.kind is MessageKind.BUDGET:
                self.counts["reports_published"] += 1

    def _receive(self, message: Message) -> None:
        match parse(message.topic.value):
            case TopicAddress(MessageKind.PEE, _, str(device)):
                self._arrivals.part(device, message.payload)
            case TopicAddress(MessageKind.BLOCKS, layer=LayerName() as layer):
                self._keep(layer, message.payload)
            case TopicAddress(MessageKind.MODEL):
                self.model = decode(message.payload, ModelNotice)

    def _keep(self, layer: LayerName, payload: bytes) -> None:
        self._layers[layer] = payload
        for exchange in self._awaited.pop(layer, ()):
            if all(each in self._layers for each in exchange.layers):
                self._fill(exchange)

    def _fill(self, exchange: Exchange) -> None:
        exchange.parts = [self._layers[layer] for layer in exchange.layers]
        self._answered(exchange)

    def _answered(self, exchange: Exchange) -> None:
        self.arrived.set()
        if self._tell is not None:
            self._tell(exchange)
