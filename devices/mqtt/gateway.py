"""The MQTT gateway: many simulated devices on one connection to a real broker.

It carries bytes and decides nothing: it publishes reports and stores answers in their exchange. When the
connection breaks, it reconnects with a new client and publishes every unanswered report again. The cloud is
stateless and a duplicate answer is dropped, so simulated devices notice nothing.
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
"""Longest wait before a reconnection: the whole fleet waits for it."""


@dataclass(frozen=True)
class Outgoing:
    """A message that waits to be published."""

    kind: MessageKind
    topic: str
    payload: bytes


class Gateway:
    """One connection for a whole fleet.

    Args:
        connection: the broker and the login.
        fleet: the fleet's name in topics.
        give_up_s: seconds without a broker after which the run fails.
        on_answer: called with each exchange whose answer is complete.
    """

    def __init__(
        self,
        connection: Connection,
        fleet: str,
        *,
        give_up_s: float = 30.0,
        on_answer: Callable[[Exchange], None] | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()
        """Counters of messages (answers, duplicates, refused, sent_again) and of connections."""
        self.arrived = asyncio.Event()
        """Set when an answer is complete, and when the gateway has failed."""
        self.model: ModelNotice | None = None
        """The last notice of the cloud."""
        self._connection = connection
        self._fleet = fleet
        self._give_up_s = give_up_s
        self._outbox: asyncio.Queue[Outgoing | LayerName] = asyncio.Queue()
        self._layers: dict[LayerName, bytes] = {}
        self._pending_layers: dict[LayerName, list[Exchange]] = {}
        self._assembler = AnswerAssembler(self.counts, self._answered)
        self._on_answer = on_answer
        self._failure: BaseException | None = None
        self.last_error = ""
        """Reason of the last break or failed attempt."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the connection up while the block runs; `check` raises an error that ends it for good."""
        task = asyncio.create_task(self._run(), name="gateway")
        task.add_done_callback(self._on_run_end)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    @property
    def up(self) -> int:
        """Number of connections that are up."""
        return int(bool(self.counts["connected"]))

    @property
    def expected(self) -> int:
        """Number of connections that should be up."""
        return 1

    def notes(self) -> list[str]:
        """Return facts about the connection and the messages, for an error about missing answers."""
        lost = max(self.counts["connections"] - 1, 0)
        twice = "is its client id used twice (use_username_as_clientid)?"
        return [
            f"{count_text(self.counts['reports_published'], 'report')} published",
            f"{count_text(self.counts['parts'], 'part')} of updates came",
            f"our connection was lost {lost:,} times ({self.last_error}): {twice}" if lost else "",
            "the broker grants QoS 0, not 1 (max_qos)" if self.counts["weak"] else "",
        ]

    def check(self) -> None:
        """Raise the error that ended the connection for good, if there is one."""
        if self._failure is not None:
            raise self._failure

    def send_report(self, exchange: Exchange) -> None:
        """Publish the report of *exchange* and wait for its answer."""
        self._assembler.expect(exchange)
        self._put(exchange.report.device, MessageKind.BUDGET, exchange.report.payload)

    def give_up(self, exchange: Exchange) -> None:
        """Stop waiting for the answer of *exchange*."""
        self._assembler.forget(exchange)

    def subscribe(self, exchange: Exchange) -> None:
        """Complete the exchange with the retained parts of its layers, when all have arrived.

        The devices share one connection, so each layer is requested once and kept.
        """
        for layer in exchange.report.layers:
            if layer not in self._layers and layer not in self._pending_layers:
                self._pending_layers[layer] = []
                self._outbox.put_nowait(layer)
        missing = [layer for layer in exchange.report.layers if layer not in self._layers]
        for layer in missing:
            self._pending_layers[layer].append(exchange)
        if not missing:
            self._complete(exchange)

    def send_damaged(self, device: str, payload: bytes) -> None:
        """Publish a damaged report, which the cloud will refuse."""
        self._put(device, MessageKind.BUDGET, payload)

    def publish(self, device: str, kind: MessageKind, message: msgspec.Struct) -> None:
        """Publish a message that needs no answer."""
        self._put(device, kind, encode(message))

    def send_again(self, older_than_s: float) -> int:
        """Publish again every report that has waited longer than *older_than_s*; return their number."""
        overdue = self._assembler.overdue(older_than_s)
        for exchange in overdue:
            self._put(exchange.report.device, MessageKind.BUDGET, exchange.report.payload)
        self.counts["sent_again"] += len(overdue)
        return len(overdue)

    async def announce_offline(self, devices: Iterable[str], timeout_s: float) -> None:
        """Publish that *devices* are offline, then clear their retained messages."""
        offline = encode(Status(online=False, reason="end of run"))
        for device in devices:
            self._put(device, MessageKind.STATUS, offline)
            self._put(device, MessageKind.STATUS, b"")
        try:
            async with asyncio.timeout(timeout_s):
                await self._outbox.join()
        except TimeoutError:
            LOG.warning("%d messages were not sent at the end of the run", self._outbox.qsize())

    def _put(self, device: str, kind: MessageKind, payload: bytes) -> None:
        self._outbox.put_nowait(Outgoing(kind, device_topic(kind, self._fleet, device), payload))

    def _on_run_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._failure = task.exception()
            self.arrived.set()

    async def _run(self) -> None:
        last_up_s = time.monotonic()
        backoff = Backoff(lambda: 1.0, longest_s=MOST_WAIT_S)
        async for ended in connections(self._new_client, self._serve, backoff, prepare=self._subscribe):
            self.last_error = ended.reason or "it ended"
            self.counts.pop("connected", None)
            if ended.lasted_s is not None:
                last_up_s = time.monotonic()
            elif time.monotonic() - last_up_s > self._give_up_s:
                broker = f"{self._connection.host}:{self._connection.port}"
                raise RunError(f"the broker {broker} is gone for {self._give_up_s:g} s: {self.last_error}")
            LOG.warning("the connection to the broker broke: %s; trying again", self.last_error)

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
        """Publish unanswered reports again, then send and receive until the connection breaks."""
        self.counts["connected"] = 1
        self.counts["connections"] += 1
        if self.counts["connections"] > 1:
            self.send_again(0.0)
            for layer in self._pending_layers:
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
        # comes together with the confirmation. Then the connection would never be closed.
        while not task.cancelling():
            message = await self._outbox.get()
            try:
                await self._send(client, message)
            except BaseException:
                self._outbox.put_nowait(message)  # it may have been sent or not: send it again
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
                self._assembler.add_part(device, message.payload)
            case TopicAddress(MessageKind.BLOCKS, layer=LayerName() as layer):
                self._store_layer(layer, message.payload)
            case TopicAddress(MessageKind.MODEL):
                self.model = decode(message.payload, ModelNotice)

    def _store_layer(self, layer: LayerName, payload: bytes) -> None:
        self._layers[layer] = payload
        for exchange in self._pending_layers.pop(layer, ()):
            if all(name in self._layers for name in exchange.report.layers):
                self._complete(exchange)

    def _complete(self, exchange: Exchange) -> None:
        exchange.parts = [self._layers[layer] for layer in exchange.report.layers]
        self._answered(exchange)

    def _answered(self, exchange: Exchange) -> None:
        self.arrived.set()
        if self._on_answer is not None:
            self._on_answer(exchange)
