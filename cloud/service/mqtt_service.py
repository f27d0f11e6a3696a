"""The cloud as an MQTT service: a thin shell around the responder.

It subscribes to budget reports, publishes what the responder answers, and announces the model. It decides
nothing and keeps nothing that matters, so it may be killed and started at any moment: what was waiting at the
broker comes to it then, and a device whose answer does not come asks again. Several of them can share the
reports of a fleet.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aiomqtt

from cloud.service.announcement import Announcement
from cloud.service.model_versions import Versions
from cloud.service.outcomes import INTERNAL, NEWER, STOPPED, Cause, Content, Result, classify
from cloud.service.report_queue import Inbox, Limits, Taken, Waiting
from cloud.service.statistics import Counts
from wire.errors import Reason, RemoteProtocolError, RunError, first_error
from wire.mqtt.connection import (
    NOT_ACCEPTED,
    PUBLISHES_AT_ONCE,
    Connection,
    fail_fast,
    leave,
    refuses,
    unless_broken,
    unless_set,
    weakens,
)
from wire.mqtt.direct_queue import Message, mailbox
from wire.mqtt.reconnection import BRIEF_CONNECTIONS, Reconnections, plain_words
from wire.mqtt.throttled_log import Complaints
from wire.mqtt_bytes import publish_wire_bytes
from wire.topics import TABLE, MessageKind, device_topic, parse, shared_subscription, subscription

LOG = logging.getLogger("peelfleet.cloud")

GOODBYE_S = 2.0
"""How long the broker may take to let us go."""


@dataclass(frozen=True)
class Duty:
    """Whom a service serves, and how."""

    fleet: str
    """Whose reports; the model is announced to this fleet."""
    shared: bool = False
    """Whether several services share the reports."""
    retain_blocks: bool = False
    """Publish every layer's blocks on its own topic, for devices that take them from there."""
    limits: Limits = field(default_factory=Limits)
    grace_s: float = 10.0
    """How long what was taken may take to finish when the service is told to stop."""

    @property
    def filter(self) -> str:
        """What the service subscribes to."""
        if self.shared:
            return shared_subscription(MessageKind.BUDGET, self.fleet)
        return subscription(MessageKind.BUDGET, self.fleet)


class Service:
    """A cloud service.

    Args:
        versions: what answers.
        connection: the broker.
        duty: whom it serves, and how.
        counts: kept up to date.
        draw: a number from 0 to 1, for the waits before reconnections.
    """

    def __init__(
        self,
        versions: Versions,
        connection: Connection,
        duty: Duty,
        counts: Counts,
        draw: Callable[[], float],
    ) -> None:
        self._versions = versions
        self._connection = connection
        self._duty = duty
        self._counts = counts
        self._draw = draw
        self._inbox = Inbox(duty.limits)
        self._complaints = Complaints(LOG)
        self._announcement = Announcement(versions, duty.fleet, counts, layers=duty.retain_blocks)
        self._cleared = False
        self._stirred = asyncio.Event()
        self._stopping = asyncio.Event()
        self._taking = True
        self._flying: set[asyncio.Task[bool]] = set()
        self._broker = f"{connection.host}:{connection.port}"
        self._pee_topic = device_topic(MessageKind.PEE, duty.fleet, "device").removesuffix(
            f"device/{MessageKind.PEE}"
        )

    @property
    def queued(self) -> int:
        """How many reports wait."""
        return len(self._inbox)

    @property
    def flying(self) -> int:
        """How many answers are on their way."""
        return len(self._flying)

    def stop(self) -> None:
        """Take no more; `serve` returns when what was taken is finished."""
        self._counts.ready = False
        self._stopping.set()
        self._stirred.set()

    async def serve(self) -> None:
        """Answer reports until stopped or cancelled; reconnect as often as it takes.

        Raises:
            ExceptionGroup: of a RunError: the broker refuses the subscription, or hands our notice to nobody.
        """
        reconnections = Reconnections(most=BRIEF_CONNECTIONS)  # the broker is there: it, and the fleet, wait
        while not self._stopping.is_set():
            reconnections.ended(await self._serve_once())
            if self._stopping.is_set():
                break
            if reconnections.suspicious:
                self._suspect(reconnections.brief)
            await self._unless_stopped(asyncio.sleep(reconnections.wait_s(self._draw())))
        self._give_up_what_waits()

    async def _serve_once(self) -> float | None:
        """Connect and serve until stopped or the connection breaks; return how long it lasted, if it did."""
        # A new client each time: the old one would send its unanswered publishes again.
        client = aiomqtt.Client(**self._connection.client_options(), queue_type=mailbox(self._take))
        fail_fast(client, aiomqtt.MqttError(NOT_ACCEPTED))
        counts, began_s, up_s = self._counts, time.monotonic(), None
        try:
            if not await self._unless_stopped(client.__aenter__()):
                self._take_no_more(client)  # it may connect all the same, before we have ended
                return None
            up_s = time.monotonic()
            counts.connecting.add(up_s - began_s)
            counts.connected += 1
            await self._be_there_and_leave(client)
        except* aiomqtt.MqttError as errors:
            if up_s is None:
                counts.refused += 1
            else:
                counts.broken += 1
            what = plain_words(first_error(errors))
            LOG.warning("broker %s: %s", self._broker, what, extra={"broker": self._broker, "error": what})
        finally:
            counts.ready = False
        return None if up_s is None else time.monotonic() - up_s

    def _suspect(self, brief: int) -> None:
        LOG.error(
            "the broker has ended %d connections of ours soon after they were up: "
            "is another client connected as %r? Each replica needs a name of its own; "
            "or does the broker refuse our packets (max_packet_size, max_qos), or give every client "
            "the user's name for an id (use_username_as_clientid)?",
            brief, self._connection.client_id,
            extra={"broker": self._broker, "client_id": self._connection.client_id},
        )  # fmt: skip

    def _give_up_what_waits(self) -> None:
        if not (left := len(self._inbox)):
            return
        LOG.warning("%d reports stay unanswered: their devices ask again", left, extra={"reports": left})
        while len(self._inbox):
            self._inbox.pop()
            self._counts.became(STOPPED, Result.FAILED)

    async def _unless_stopped(self, doing: Coroutine[Any, Any, object]) -> bool:  # Any: as in `Coroutine`
        """Do something, but give it up when told to stop; return whether it was done."""
        return await unless_set(self._stopping, doing)

    async def _be_there_and_leave(self, client: aiomqtt.Client) -> None:
        try:
            await self._be_there(client)
        finally:
            await leave(client, GOODBYE_S)

    async def _be_there(self, client: aiomqtt.Client) -> None:
        """Subscribe, announce and answer, until stopped or the connection breaks.

        What the broker has kept for us comes at once, before we have subscribed, and is answered as soon as
        the broker has the notice of our model.
        """
        client.pending_calls_threshold = 2 * PUBLISHES_AT_ONCE
        self._announcement.begin()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._unless_stopped(self._get_ready(client)))
            await unless_broken(client, self._answer_all(client))

    async def _get_ready(self, client: aiomqtt.Client) -> None:
        granted = await client.subscribe(self._duty.filter, qos=TABLE[MessageKind.BUDGET].qos)
        if refuses(granted):
            raise RunError(f"the broker refuses to let us subscribe to {self._duty.filter}")
        if weakens(granted, TABLE[MessageKind.BUDGET].qos):
            LOG.warning(
                "the broker grants QoS 0 where QoS 1 is needed (max_qos): reports and answers may be lost",
                extra={"broker": self._broker},
            )
        await self._announcement.publish(client)  # not before: who hears of the model reports at once
        self._counts.ready = not self._stopping.is_set()
        models, fleet = list(self._versions.names), self._duty.fleet
        LOG.info(
            "serving model %s to fleet %s", ", ".join(models), fleet,
            extra={"broker": self._broker, "models": models, "fleet": fleet},
        )  # fmt: skip
        if not self._cleared:
            self._cleared = True
            if count := await self._announcement.clear_old_layers(client):
                LOG.info("cleared %d retained layers of models that are not served", count)

    def _take(self, message: Message) -> None:
        """Take in what has arrived: the broker is told that it has when this returns."""
        if not self._taking:
            return  # it is not told, and keeps it for our next start
        if self._announcement.takes(message):
            return
        counts, payload, topic = self._counts, message.payload, message.topic.value
        counts.received.add(len(payload))
        counts.received_wire_bytes += publish_wire_bytes(len(topic.encode()), len(payload), qos=1)
        now_s = time.monotonic()
        try:
            device = self._sender(topic)
            if message.retain:
                raise RemoteProtocolError(Reason.RETAINED, "a budget report is not to be retained")
            taken = self._inbox.put(device, payload, now_s)
        except RemoteProtocolError as error:
            self._refuse(error, topic)
            return
        match taken:
            case Taken.QUEUED:
                self._stirred.set()
            case Taken.NEWER | Taken.OLDER:
                counts.became(NEWER, Result.SUPERSEDED)
            case dropped:
                counts.became(dropped.value, Result.DROPPED)
                self._complaints.complain(dropped.value, topic, f"dropped: {dropped.value}", now_s)

    def _sender(self, topic: str) -> str:
        """Return whose report comes on *topic*.

        Raises:
            RemoteProtocolError: it is another topic: a session that outlived its service may bring it.
        """
        address = parse(topic)
        if address.device is None or (address.kind, address.fleet) != (MessageKind.BUDGET, self._duty.fleet):
            raise RemoteProtocolError(Reason.UNKNOWN_TOPIC, f"no report to fleet {self._duty.fleet}")
        return address.device

    def _refuse(self, error: RemoteProtocolError, topic: str) -> None:
        self._counts.became(error.reason.value, Result.REJECTED)
        self._complaints.complain(error.reason.value, topic, str(error), time.monotonic())

    async def _answer_all(self, client: aiomqtt.Client) -> None:
        """Answer what waits, so many at a time, until told to stop; then finish what was taken, in time."""
        async with asyncio.TaskGroup() as replies:
            # An answer of a model whose notice has not come would be refused.
            if not await self._unless_stopped(self._announcement.confirmed()):
                return
            await self._answer_until(self._stopping.is_set, client, replies)
            LOG.info("stopping: finishing %d reports", len(self._inbox) + len(self._flying))
            try:
                async with asyncio.timeout(self._duty.grace_s):
                    await self._stop_taking(client)
                    await self._answer_until(self._all_done, client, replies)
            except TimeoutError:
                LOG.warning("the broker has not confirmed everything in %g s", self._duty.grace_s)
                for task in self._flying:
                    task.cancel()

    def _all_done(self) -> bool:
        return not (len(self._inbox) or self._flying)

    async def _answer_until(
        self, enough: Callable[[], bool], client: aiomqtt.Client, replies: asyncio.TaskGroup
    ) -> None:
        """Answer what waits whenever there is room for one more answer on its way."""
        while True:
            while len(self._inbox) and len(self._flying) < PUBLISHES_AT_ONCE:
                self._answer(client, replies, self._inbox.pop())
            if enough():
                return
            await self._stirred.wait()
            self._stirred.clear()

    async def _stop_taking(self, client: aiomqtt.Client) -> None:
        """Let the others have what comes from now on; alone, the broker keeps it for our next start."""
        if self._duty.shared:
            with contextlib.suppress(aiomqtt.MqttError):
                await client.unsubscribe(self._duty.filter)
        self._take_no_more(client)

    def _take_no_more(self, client: aiomqtt.Client) -> None:
        self._taking = False
        # aiomqtt has no word for it. What is taken was acknowledged at once.
        client._client.manual_ack_set(True)

    def _answer(self, client: aiomqtt.Client, replies: asyncio.TaskGroup, waiting: Waiting) -> None:
        """Begin to send the answer to a report, if it has one."""
        counts, began_s = self._counts, time.monotonic()
        counts.queue.add(began_s - waiting.arrived_s)
        try:
            parts = self._versions.respond(waiting.report)
            cause, content = classify(waiting.report, parts)
        except RemoteProtocolError as error:
            self._refuse(error, device_topic(MessageKind.BUDGET, self._duty.fleet, waiting.device))
            return
        except Exception:  # a mistake of ours: one report of one device must not end the service for all
            LOG.exception("device %s: its report could not be answered", waiting.device)
            counts.became(INTERNAL, Result.REJECTED)
            return
        counts.selection.add(time.monotonic() - began_s)
        task = replies.create_task(self._reply(client, waiting, parts, content))
        self._flying.add(task)
        task.add_done_callback(partial(self._landed, cause))

    def _landed(self, cause: Cause, task: asyncio.Task[bool]) -> None:
        """Count an answer; here and not in its task, which never runs if it is cancelled before it began."""
        self._flying.discard(task)
        self._stirred.set()
        sent = not task.cancelled() and task.result()
        self._counts.became(cause, Result.SENT if sent else Result.FAILED)

    async def _reply(
        self, client: aiomqtt.Client, waiting: Waiting, parts: tuple[bytes, ...], content: Content
    ) -> bool:
        """Send an answer; return whether the broker has confirmed all of it."""
        counts, began_s = self._counts, time.monotonic()
        topic = f"{self._pee_topic}{waiting.device}/{MessageKind.PEE}"
        qos = TABLE[MessageKind.PEE].qos
        try:
            for part in parts:
                await client.publish(topic, part, qos=qos)
                counts.sent.add(len(part))
                counts.update_bytes[content] += len(part)
                counts.update_wire_bytes += publish_wire_bytes(len(topic), len(part), qos)
        except aiomqtt.MqttError as error:
            LOG.debug("an answer on %s was not sent: %s", topic, error)
            return False
        except Exception:  # as above
            LOG.exception("device %s: its answer could not be sent", waiting.device)
            return False
        now_s = time.monotonic()
        counts.downlink.add(now_s - began_s)
        counts.answers.add(now_s - waiting.arrived_s)
        return True
