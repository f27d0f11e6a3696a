"""The cloud as an MQTT service: a thin shell around the responder.

It subscribes to budget reports, publishes the answers of the responder, and announces the model. It decides
nothing and keeps no state that matters, so it may be killed and started at any time: reports wait at the
broker, and a device without an answer asks again. Several services can share the reports of a fleet.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from cloud.service.announcement import Announcement
from cloud.service.error_sender import ErrorSender
from cloud.service.model_versions import ModelVersions
from cloud.service.outcomes import (
    INTERNAL,
    NEWER,
    STOPPED,
    MessageOutcome,
    UpdateCause,
    UpdateContent,
    classify,
)
from cloud.service.report_queue import Admission, AdmissionLimits, QueuedReport, ReportQueue
from cloud.service.rollout_keeper import RolloutKeeper
from cloud.service.statistics import ServiceStatistics
from wire.errors import Reason, RemoteProtocolError
from wire.mqtt.backoff import BRIEF_CONNECTIONS, Backoff
from wire.mqtt.client import Client, Message, MqttError, done_before, new_client, or_disconnected, subscribe
from wire.mqtt.client_patches import stop_receiving
from wire.mqtt.connection import PUBLISHES_AT_ONCE, Connection
from wire.mqtt.reconnection import Ended, connections
from wire.mqtt.throttled_log import ThrottledLog
from wire.mqtt_bytes import publish_wire_bytes
from wire.signatures import Sign, sign_part
from wire.topics import TABLE, MessageKind, device_topic, parse, shared_subscription, subscription

LOG = logging.getLogger("peelfleet.cloud")

_DROPPED = {
    Admission.RATE: "reports come too fast: the newest of them is answered when the rate allows it",
    Admission.FULL: "too many devices wait for an answer",
}
LEAVE_S = 2.0
"""Seconds that the broker may take to confirm the end of a connection."""


@dataclass(frozen=True)
class ServiceConfig:
    """Settings of a service: the fleet, and how its reports are answered."""

    fleet: str
    """The fleet whose reports are answered, and to which the model is announced."""
    shared: bool = False
    """True if several services share the reports."""
    replica: str = "main"
    """The name of the service in the topic of its status."""
    retain_blocks: bool = False
    """True if every layer is also published on a topic of its own, for shared delivery."""
    limits: AdmissionLimits = field(default_factory=AdmissionLimits)
    sign: Sign | None = None
    """Signs notices, parts and errors; None: they have no signature."""
    grace_s: float = 10.0
    """Seconds to finish the reports that were accepted before a stop."""
    state: Path | None = None
    """File of the last notice of a rollout, beside what the broker keeps."""

    @property
    def filter(self) -> str:
        """The topic filter of the service's subscription."""
        if self.shared:
            return shared_subscription(MessageKind.BUDGET, self.fleet)
        return subscription(MessageKind.BUDGET, self.fleet)


class Service:
    """A cloud service.

    Args:
        versions: answer the reports.
        connection: the broker.
        config: the fleet and the limits.
        statistics: updated by the service.
        draw: returns a random number from 0 to 1, for the waits before reconnections.
    """

    def __init__(
        self,
        versions: ModelVersions,
        connection: Connection,
        config: ServiceConfig,
        statistics: ServiceStatistics,
        draw: Callable[[], float],
    ) -> None:
        self._versions = versions
        self._connection = connection
        self._config = config
        self._statistics = statistics
        # The broker is up, and the fleet waits: the wait grows no further after brief connections.
        self._backoff = Backoff(draw, brief_limit=BRIEF_CONNECTIONS)
        self._reports = ReportQueue(config.limits)
        self._log = ThrottledLog(LOG)
        self._announcement = Announcement(
            versions,
            config.fleet,
            statistics,
            layers=config.retain_blocks,
            replica=config.replica,
            sign=config.sign,
        )
        self.rollout = RolloutKeeper(versions, self._announcement, config.fleet, config.state)
        self._cleared = False
        self._wake = asyncio.Event()
        self._errors = ErrorSender(config.fleet, statistics, self._wake.set, config.sign)
        self._stopping = asyncio.Event()
        self._replies: set[asyncio.Task[bool]] = set()
        self._connect_began_s = 0.0
        self._broker = f"{connection.host}:{connection.port}"
        self._pee_topic = device_topic(MessageKind.PEE, config.fleet, "device").removesuffix(
            f"device/{MessageKind.PEE}"
        )

    @property
    def queued(self) -> int:
        """Number of reports that wait."""
        return len(self._reports)

    @property
    def in_flight(self) -> int:
        """Number of answers that are being sent."""
        return len(self._replies)

    def stop(self) -> None:
        """Accept no more reports; `serve` returns when the accepted ones are answered."""
        self._statistics.ready = False
        self._stopping.set()
        self._wake.set()

    async def serve(self) -> None:
        """Answer reports until stopped or cancelled; reconnect as often as needed.

        Raises:
            ExceptionGroup: with a RunError: the broker refuses the subscription or loses our notice.
        """
        async for ended in connections(
            self._new_client, self._serve_connection, self._backoff, stopping=self._stopping, leave_s=LEAVE_S
        ):
            self._count_end(ended)
            if self._backoff.suspicious and not self._stopping.is_set():
                self._log_id_clash(self._backoff.brief)
        self._drop_queue()

    async def _new_client(self) -> Client:
        client = new_client(
            self._connection, last_will=self._announcement.last_will, on_message=self._on_message
        )
        self._connect_began_s = time.monotonic()
        return client

    def _count_end(self, ended: Ended) -> None:
        statistics, reason = self._statistics, ended.reason
        if not reason:
            return
        if ended.lasted_s is None:
            statistics.refused += 1
        else:
            statistics.broken += 1
        LOG.warning("broker %s: %s", self._broker, reason, extra={"broker": self._broker, "error": reason})

    def _log_id_clash(self, brief: int) -> None:
        LOG.error(
            "the broker has ended %d connections of ours soon after they were up: "
            "is another client connected as %r? Each replica needs a name of its own; "
            "or does the broker refuse our packets (max_packet_size, max_qos), or give every client "
            "the user's name for an id (use_username_as_clientid)?",
            brief, self._connection.client_id,
            extra={"broker": self._broker, "client_id": self._connection.client_id},
        )  # fmt: skip

    def _drop_queue(self) -> None:
        if not (left := self._reports.clear()):
            return
        LOG.warning("%d reports stay unanswered: their devices ask again", left, extra={"reports": left})
        for _ in range(left):
            self._statistics.count(STOPPED, MessageOutcome.FAILED)

    async def _serve_connection(self, client: Client) -> None:
        """Subscribe, announce and answer, until stopped or the connection breaks.

        The broker sends the messages of a kept session before we have subscribed. They are answered as soon
        as the broker has the notice of our model.
        """
        self._statistics.latencies.connecting.observe(time.monotonic() - self._connect_began_s)
        self._statistics.connected += 1
        self._announcement.begin()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(done_before(self._stopping, self._subscribe(client)))
                await or_disconnected(client, self._answer_all(client))
            with contextlib.suppress(MqttError, TimeoutError):  # the last will says it then
                async with asyncio.timeout(LEAVE_S):
                    await self._announcement.publish_status(client, online=False, reason="stop")
        finally:
            self._statistics.ready = False

    async def _subscribe(self, client: Client) -> None:
        if not await subscribe(client, self._config.filter, TABLE[MessageKind.BUDGET].qos):
            LOG.warning(
                "the broker grants QoS 0 where QoS 1 is needed (max_qos): reports and answers may be lost",
                extra={"broker": self._broker},
            )
        await self.rollout.read(client)
        await self._announcement.publish(client)  # after the subscription: devices report at once
        self._statistics.ready = not self._stopping.is_set()
        models, fleet = list(self._versions.names), self._config.fleet
        LOG.info(
            "serving model %s to fleet %s", ", ".join(models), fleet,
            extra={"broker": self._broker, "models": models, "fleet": fleet},
        )  # fmt: skip
        if not self._cleared:
            self._cleared = True
            if count := await self._announcement.clear_old_layers(client):
                LOG.info("cleared %d retained layers of models that are not served", count)
        await self.rollout.run(client)

    def _on_message(self, message: Message) -> None:
        """Queue the report in *message*; the client acknowledges the message when this returns."""
        if self.rollout.handle(message) or self._announcement.handle(message):
            return
        statistics, payload, topic = self._statistics, message.payload, message.topic.value
        statistics.received.add(len(payload))
        statistics.received_wire_bytes += publish_wire_bytes(len(topic.encode()), len(payload), qos=1)
        now_s, device = time.monotonic(), None
        try:
            device = self._sender(topic)
            if message.retain:
                raise RemoteProtocolError(Reason.RETAINED, "a budget report is not to be retained")
            self._count_admission(device, self._reports.put(device, payload, now_s), now_s)
        except RemoteProtocolError as error:
            self._refuse(error, topic, device)

    def _count_admission(self, device: str, decision: Admission, now_s: float) -> None:
        """Count what was decided on a report, and tell its device if it is not answered now."""
        statistics = self._statistics
        if decision in (Admission.QUEUED, Admission.LATE):
            self._wake.set()
        if decision is Admission.QUEUED:
            return
        if decision in (Admission.NEWER, Admission.OLDER):
            statistics.count(NEWER, MessageOutcome.SUPERSEDED)
            return
        reason = Admission.FULL if decision is Admission.FULL else Admission.RATE
        if decision is not Admission.LATE:
            statistics.count(reason.value, MessageOutcome.DROPPED)
            topic = device_topic(MessageKind.BUDGET, self._config.fleet, device)
            self._log.refused(reason.value, topic, f"dropped: {reason.value}", now_s)
        wait_s = self._reports.wait_s(device) if reason is Admission.RATE else None
        self._errors.tell(device, reason.value, _DROPPED[reason], wait_s=wait_s)

    def _sender(self, topic: str) -> str:
        """Return the device that published on *topic*.

        Raises:
            RemoteProtocolError: it is not a topic of reports; a session that was kept may bring it.
        """
        address = parse(topic)
        if address.device is None or (address.kind, address.fleet) != (
            MessageKind.BUDGET,
            self._config.fleet,
        ):
            raise RemoteProtocolError(Reason.UNKNOWN_TOPIC, f"no report to fleet {self._config.fleet}")
        return address.device

    def _refuse(self, error: RemoteProtocolError, topic: str, device: str | None, seq: int = 0) -> None:
        self._statistics.count(error.reason.value, MessageOutcome.REJECTED)
        self._log.refused(error.reason.value, topic, str(error), time.monotonic())
        if device is not None:
            self._errors.tell(device, error.reason.value, error.detail, seq=seq)

    async def _answer_all(self, client: Client) -> None:
        """Answer reports until stopped; then finish the accepted ones within the grace period."""
        async with asyncio.TaskGroup() as tasks:
            # A device refuses an answer of a model that was not announced to it.
            if not await done_before(self._stopping, self._announcement.confirmed()):
                return
            await self._answer_until(self._stopping.is_set, client, tasks)
            LOG.info("stopping: finishing %d reports", len(self._reports) + len(self._replies))
            self._admit_late(math.inf)
            try:
                async with asyncio.timeout(self._config.grace_s):
                    await self._stop_receiving(client)
                    await self._answer_until(self._all_done, client, tasks)
            except TimeoutError:
                LOG.warning("the broker has not confirmed everything in %g s", self._config.grace_s)
                for task in self._replies:
                    task.cancel()
            self._errors.cancel()

    def _admit_late(self, until_s: float) -> None:
        """Queue the reports above the rate of their devices whose time has come."""
        for late, decision in self._reports.admit_late(until_s):
            if decision is not Admission.QUEUED:
                self._count_admission(late.device, decision, time.monotonic())

    def _all_done(self) -> bool:
        return not (len(self._reports) or self._replies)

    async def _answer_until(self, done: Callable[[], bool], client: Client, tasks: asyncio.TaskGroup) -> None:
        """Answer the queued reports, a limited number at a time, until *done* returns true."""
        while True:
            self._admit_late(time.monotonic())
            while self._reports.is_ready and len(self._replies) < PUBLISHES_AT_ONCE:
                self._answer(client, tasks, self._reports.pop())
            self._errors.start_sending(client, tasks)
            if done():
                return
            await self._sleep_until_woken()

    async def _sleep_until_woken(self) -> None:
        """Sleep until something has come or is done, or a late report is due."""
        due_s = self._reports.next_due_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if due_s == math.inf else max(due_s - time.monotonic(), 0.0)):
                await self._wake.wait()
        self._wake.clear()

    async def _stop_receiving(self, client: Client) -> None:
        """Leave further reports to the other services, or with the broker for our next start."""
        if self._config.shared:
            with contextlib.suppress(MqttError):
                await client.unsubscribe(self._config.filter)
        stop_receiving(client)

    def _answer(self, client: Client, tasks: asyncio.TaskGroup, waiting: QueuedReport) -> None:
        """Start to send the answer to a report, if it has one."""
        statistics, began_s = self._statistics, time.monotonic()
        statistics.latencies.queue.observe(began_s - waiting.arrived_s)
        try:
            parts = self._versions.seal(waiting.report)  # not taken apart again to be counted and signed
            cause, content = classify(waiting.report, parts)
        except RemoteProtocolError as error:
            topic = device_topic(MessageKind.BUDGET, self._config.fleet, waiting.device)
            self._refuse(error, topic, waiting.device, waiting.report.seq)
            return
        except Exception:  # a bug of ours: one report of one device must not end the service for all
            LOG.exception("device %s: its report could not be answered", waiting.device)
            statistics.count(INTERNAL, MessageOutcome.REJECTED)
            self._errors.tell(waiting.device, INTERNAL, "an error of the cloud", seq=waiting.report.seq)
            return
        statistics.latencies.selection.observe(time.monotonic() - began_s)
        task = tasks.create_task(self._reply(client, waiting, parts, content))
        self._replies.add(task)
        task.add_done_callback(partial(self._on_reply_done, cause))

    def _on_reply_done(self, cause: UpdateCause, task: asyncio.Task[bool]) -> None:
        """Count an answer. A callback, because a task that is cancelled before it starts never runs."""
        self._replies.discard(task)
        self._wake.set()
        sent = not task.cancelled() and task.result()
        self._statistics.count(cause, MessageOutcome.SENT if sent else MessageOutcome.FAILED)

    async def _reply(
        self, client: Client, waiting: QueuedReport, parts: Sequence[bytes], content: UpdateContent
    ) -> bool:
        """Send an answer; return whether the broker has confirmed all of it."""
        statistics, began_s = self._statistics, time.monotonic()
        topic = device_topic(MessageKind.PEE, self._config.fleet, waiting.device)
        qos = TABLE[MessageKind.PEE].qos
        try:
            for unsigned in parts:
                part = sign_part(unsigned, topic, self._config.sign)
                await client.publish(topic, part, qos=qos)
                statistics.sent.add(len(part))
                statistics.update_bytes[content] += len(part)
                statistics.update_wire_bytes += publish_wire_bytes(len(topic), len(part), qos)
        except MqttError as error:
            LOG.debug("an answer on %s was not sent: %s", topic, error)
            return False
        except Exception:  # as above
            LOG.exception("device %s: its answer could not be sent", waiting.device)
            return False
        now_s = time.monotonic()
        statistics.latencies.downlink.observe(now_s - began_s)
        statistics.latencies.answers.observe(now_s - waiting.arrived_s)
        return True
