"""A device on its own: one real machine that keeps its PEE inside its own memory.

It needs neither a simulation nor a model: numpy, an MQTT client and the protocol logic that an emulated
device has, too (`devices.protocol.agent`). What decides is pure; here are its clock, memory, connection and
disk.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from devices.protocol.agent import Agent, Receipt
from devices.protocol.block_prefix import Shelves
from devices.protocol.report_policy import MANY_REFUSALS, Refusals, Reporting, Told, due
from devices.standalone.counts import Counts
from devices.standalone.saved_state import Kept, read_kept, remove_pee, write_kept, write_pee
from devices.standalone.settings import Settings
from wire.errors import InputError, Reason, RemoteProtocolError, RunError
from wire.messages import ModelNotice, Status, decode, encode
from wire.mqtt.backoff import Backoff
from wire.mqtt.client import (
    Client,
    Message,
    MqttError,
    done_before,
    new_client,
    or_disconnected,
    publish,
    subscribe,
)
from wire.mqtt.connection import Connection
from wire.mqtt.reconnection import connections
from wire.mqtt.throttled_log import ThrottledLog
from wire.no_answer import count_text, no_answer_text
from wire.output_files import error_text
from wire.topics import MessageKind, TopicAddress, device_topic, fleet_topic, parse
from wire.units import NS_PER_S

LOG = logging.getLogger("peelfleet.agent")

LEAST_WAIT_S = 0.01
GOODBYE_S = 1.0
"""How long the broker may take to hear that we leave, and again to let us go."""
NOTICES_S = 0.1
"""A session that was away brings every notice that it has missed, one by one: only the last one counts."""
LONGEST_QUIET_S = 300.0
"""The longest time between two warnings that nobody announces a model."""
KEEP_EVERY_S = 5.0
"""While an update arrives its parts are kept this often: each part would wear a phone's memory out."""
CONTRADICTIONS = (Reason.CONTENT, Reason.OUT_OF_RANGE)
"""Why parts are refused that do not go with what is held."""
GROWTH_WORTH_ASKING = 0.05
"""The device asks for more only when its budget is this share above the one that it reported last."""


class Standalone:
    """One device.

    Args:
        settings: who it is, and how it behaves.
        connection: the broker.
        budget: what the item embeddings may take now, in bytes.
        draw: a number from 0 to 1, for the waits before reconnections.
    """

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        budget: Callable[[], int],
        draw: Callable[[], float],
    ) -> None:
        self.counts = Counts()
        self._settings = settings
        self._connection = connection
        self._budget = budget
        self._draw = draw
        self._complaints = ThrottledLog(LOG)
        self._rule = Reporting(hysteresis=GROWTH_WORTH_ASKING)
        self._shelves = Shelves()
        self._notice: ModelNotice | None = None
        self._agent = self._restored()
        self._told = Told(0, 0)
        self._due_s = 0.0
        """When to report next; far away where there is no reason."""
        self._again_s = float("inf")
        """When to report again since an answer was refused, likewise."""
        self._waiting_since_s: float | None = None
        self._forced = False
        self._refusals = Refusals()
        self._kept_s = 0.0
        self._stirred = asyncio.Event()
        self._stopping = asyncio.Event()
        self._gave_up = False
        self._settled = asyncio.Event()

    @property
    def agent(self) -> Agent:
        """The protocol logic, and what is held."""
        return self._agent

    @property
    def notice(self) -> ModelNotice | None:
        """The model that the cloud announced last; None before any."""
        return self._notice

    def stop(self) -> None:
        """Say goodbye and end."""
        self._stopping.set()
        self._stirred.set()

    async def live(self) -> None:
        """Keep the PEE inside the budget until stopped; reconnect as often as it takes.

        Raises:
            ExceptionGroup: with a RunError, the broker refuses a subscription, or nothing came in time where
                it was to live once; or with what *budget* raised.
        """
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch())  # also while there is no broker
            timer = asyncio.get_running_loop().call_later(self._settings.give_up_s, self._give_up)
            try:
                await self._stay_connected()
            finally:
                timer.cancel()
            watching.cancel()
        self._keep()
        if self._gave_up:
            raise ExceptionGroup("gave up", [RunError(self._silence())])

    async def _watch(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(self._settings.interval_s)

    def _give_up(self) -> None:
        if self._settings.once and not self._settled.is_set():
            self._gave_up = True
            self.stop()

    async def _stay_connected(self) -> None:
        backoff, settings, broker = Backoff(self._draw), self._settings, self._connection
        async for ended in connections(
            self._new_client, self._be_there, backoff, stopping=self._stopping, leave_s=GOODBYE_S
        ):
            if ended.reason:
                LOG.warning("broker %s:%s: %s", broker.host, broker.port, ended.reason)
            if self._stopping.is_set():
                return
            self.counts.broken += 1
            if backoff.suspicious:
                LOG.error(
                    "the broker has ended %d connections of ours soon after they were up: does somebody else "
                    "connect as device %r of fleet %r? Each device needs a name of its own",
                    backoff.brief, settings.device, settings.fleet,
                )  # fmt: skip

    async def _new_client(self) -> Client:
        return new_client(
            self._connection, status_topic=self._topic(MessageKind.STATUS), on_message=self._take
        )

    def look(self) -> None:
        """Look at the memory: what exceeds the budget is gone when this returns."""
        agent, budget_bytes = self._agent, self._budget()
        if budget_bytes == agent.budget_bytes and agent.resident_bytes <= budget_bytes:
            return
        before = agent.resident_bytes
        agent.set_budget(budget_bytes)
        if agent.resident_bytes < before:
            self._forced = True
            self.counts.evictions += 1
            LOG.info(
                "the budget has fallen to %d B: dropped %d B at once, holds layer %d, %d B",
                budget_bytes, before - agent.resident_bytes, agent.layer, agent.resident_bytes,
            )  # fmt: skip
            self._keep()
        now_ns = time.monotonic_ns()
        due_ns = due(
            self._rule,
            self._told,
            budget_bytes=budget_bytes,
            resident_bytes=agent.resident_bytes,
            now_ns=now_ns,
            forced=self._forced,
        )
        if due_ns is not None:
            self._due_s = min(self._due_s, due_ns / NS_PER_S)
            self._stirred.set()

    def _topic(self, kind: MessageKind) -> str:
        return device_topic(kind, self._settings.fleet, self._settings.device)

    async def _be_there(self, client: Client) -> None:
        if await done_before(self._stopping, or_disconnected(client, self._arrive(client))):
            self._due_s, self._waiting_since_s = 0.0, None  # whatever was asked for may be lost
            await done_before(self._stopping, or_disconnected(client, self._tend(client)))
        await _shortly(self._say(client, Status(online=False, reason="stopped")))

    async def _arrive(self, client: Client) -> None:
        for topic in (self._topic(MessageKind.PEE), fleet_topic(MessageKind.MODEL, self._settings.fleet)):
            if not await subscribe(client, topic, 1, self._settings.device):
                LOG.warning("the broker grants QoS 0 on %s, not 1 (max_qos): answers may be lost", topic)
        self.counts.connections += 1
        await self._say(
            client, Status(online=True, reason="start" if self.counts.connections == 1 else "reconnect")
        )

    async def _say(self, client: Client, status: Status) -> None:
        await publish(client, MessageKind.STATUS, self._topic(MessageKind.STATUS), encode(status))

    async def _tend(self, client: Client) -> None:
        """Report when there is reason to, until stopped."""
        retry_s = self._settings.retry_s
        warn_s, quiet_s = time.monotonic() + min(retry_s, 10.0), retry_s
        while not self._stopping.is_set():
            now_s = time.monotonic()
            if self._notice is None and now_s >= warn_s:
                LOG.warning("no model is announced: %s", self._silence())
                warn_s, quiet_s = now_s + quiet_s, min(2 * quiet_s, LONGEST_QUIET_S)
            waited = self._waiting_since_s is not None and now_s - self._waiting_since_s > retry_s
            if waited:
                self._waiting_since_s = None
                self.counts.unanswered += 1
                LOG.warning(
                    "report %d has no answer after %g s: %s", self._agent.seq, retry_s, self._silence()
                )
            due_s = min(self._due_s, self._again_s)
            if self._notice is not None and (waited or now_s >= due_s):
                await self._report(client)
            if self._settings.once and self._settled.is_set():
                self.stop()
                return
            interval_s = self._settings.interval_s
            wait_s = interval_s if self._notice is None else self._next_s() - now_s
            await self._pass_time(max(min(wait_s, interval_s), LEAST_WAIT_S))

    def _next_s(self) -> float:
        """Return when there is reason to report next, as far as one knows."""
        since_s = self._waiting_since_s
        unanswered_s = float("inf") if since_s is None else since_s + self._settings.retry_s
        return min(self._due_s, self._again_s, unanswered_s)

    def _silence(self) -> str:
        """Say how much was published, how much came, and why that may be."""
        settings, counts, notice = self._settings, self.counts, self._notice
        arrived = f"{count_text(counts.parts, 'part')} of updates came"
        lost = f"{count_text(counts.broken, 'connection')} lost or not made" if counts.broken else ""
        published = f"{count_text(counts.reports, 'report')} published"
        if notice is None:
            topic = fleet_topic(MessageKind.MODEL, settings.fleet)
            arrived = f"no model notice came on {topic}: does a cloud serve fleet {settings.fleet!r}?"
        return no_answer_text(published, arrived, lost, self._stranger())

    def _stranger(self) -> str:
        """Say that the model does not have our user or group; nothing where it has."""
        notice, settings = self._notice, self._settings
        if notice is None:
            return ""
        if settings.user is not None and settings.user >= notice.users:
            return f"user(={settings.user}) must be below {notice.users}, the users of model {notice.version}"
        if settings.user is None and (settings.group or 0) >= notice.user_groups:
            groups = f"{notice.user_groups}, the user groups of model {notice.version}"
            return f"group(={settings.group}) must be below {groups}"
        return ""

    async def _report(self, client: Client) -> None:
        agent = self._agent
        report = agent.report()
        self._told, self._due_s = Told(agent.reported_bytes, time.monotonic_ns()), float("inf")
        self._again_s = float("inf")
        self._forced, self._waiting_since_s = False, time.monotonic()
        self._refusals.reported()
        self._settled.clear()
        self.counts.reports += 1
        await publish(client, MessageKind.BUDGET, self._topic(MessageKind.BUDGET), report)

    async def _pass_time(self, seconds: float) -> None:
        """Wait, at most until something happens."""
        try:
            async with asyncio.timeout(seconds if not self._stopping.is_set() else 0):
                await self._stirred.wait()
        except TimeoutError:
            pass
        self._stirred.clear()

    def _take(self, message: Message) -> None:
        """Take in what has arrived; what is damaged or unknown is counted."""
        try:
            match parse(message.topic.value):
                case TopicAddress(MessageKind.PEE, _, self._settings.device):
                    self._take_part(message.payload)
                case TopicAddress(MessageKind.MODEL) if message.payload:
                    self._learn(decode(message.payload, ModelNotice))
        except RemoteProtocolError as error:
            self.counts.refused[error.reason.value] += 1
            self._complaints.refused(error.reason.value, message.topic.value, str(error), time.monotonic())
        self._stirred.set()

    def _learn(self, notice: ModelNotice) -> None:
        """Learn of the model that the cloud serves; ask for it if it is another one."""
        self._shelves.announce(notice)
        before, self._notice = self._notice, notice
        if notice == before:
            return
        if stranger := self._stranger():
            LOG.error("%s: the cloud answers no report of ours", stranger)
        if self._agent.model != notice.version:
            self._due_s = time.monotonic() + NOTICES_S

    def _take_part(self, payload: bytes) -> None:
        receipt = self._agent.receive(payload)
        self.counts.parts += 1
        self.counts.receipts[receipt.value] += 1
        if receipt in (Receipt.REJECTED, Receipt.MISFIT):
            wait_s = self._refusals.wait_s(self._draw()) if receipt is Receipt.REJECTED else 0.0
            self._again_s = time.monotonic() + wait_s
            why = str(self._agent.rejected) if receipt is Receipt.REJECTED else "the budget has fallen"
            self._complaints.refused(receipt.value, self._topic(MessageKind.PEE), why, time.monotonic())
            contradicts = receipt is Receipt.REJECTED and self._agent.rejected in CONTRADICTIONS
            if contradicts and self._refusals.many and self._agent.model:
                self._begin_anew()
        elif receipt in (Receipt.APPLIED, Receipt.CONFIRMED):
            self._waiting_since_s, self._again_s, self._refusals = None, float("inf"), Refusals()
            self._settled.set()
        late = time.monotonic() - self._kept_s > KEEP_EVERY_S
        if receipt is Receipt.APPLIED or (receipt is Receipt.PROGRESS and late):
            self._keep()
        if receipt is Receipt.APPLIED:
            agent = self._agent
            LOG.info("holds layer %d: %d B of %d B", agent.layer, agent.resident_bytes, agent.budget_bytes)

    def _begin_anew(self) -> None:
        """Drop what contradicts one answer after another: a part that was wrong and fitted may be in it."""
        LOG.warning(
            "%d answers in a row do not go with what is held: dropped %d B, asks for everything",
            MANY_REFUSALS, self._agent.resident_bytes,
        )  # fmt: skip
        self._agent.forget()
        self._keep()

    def _keep(self) -> None:
        """Give back the memory of what was evicted, and bring the files up to date.

        A disk that takes nothing does not end the device; a PEE that may be above the budget goes.
        """
        agent, settings = self._agent, self._settings
        if agent.shelf is not None:
            agent.shelf.cut(agent.held)
        if self._notice is None:
            return
        self._kept_s = time.monotonic()
        try:
            if settings.pee is not None:
                write_pee(settings.pee, agent, f"fleet {settings.fleet}")
            if settings.state is not None:
                notice = self._shelves.notice(agent.model) or self._notice  # of what is held
                write_kept(settings.state, Kept.of(agent, notice))
        except (OSError, InputError) as error:
            self.counts.unkept += 1
            LOG.error("what is held could not be written: %s", error_text(error))
            if settings.pee is not None:
                with contextlib.suppress(OSError):  # read-only by now, and said above
                    remove_pee(settings.pee)

    def _restored(self) -> Agent:
        """Return the protocol logic as it was when this device last ran, as far as that is known."""
        # Above whatever an earlier life has used: a thousand reports a second are not made.
        seq = int(time.time() * 1000)
        settings = self._settings
        kept = read_kept(settings.state) if settings.state is not None else None
        if kept is None:
            return self._anew(seq)
        self._shelves.announce(kept.notice)
        agent = self._anew(seq := max(seq, kept.seq + 1))
        if not kept.give_to(agent):
            LOG.warning("%s: is of another user or damaged; beginning anew", settings.state)
            return self._anew(seq)
        self._notice = kept.notice
        return agent

    def _anew(self, seq: int) -> Agent:
        return Agent(self._settings.user or 0, self._shelves, group=self._settings.group, seq=seq)


async def _shortly(doing: Coroutine[Any, Any, object]) -> None:  # Any: as in `Coroutine`
    """Do something that a broker may leave unanswered, for a moment only."""
    with contextlib.suppress(MqttError, TimeoutError):
        await asyncio.wait_for(doing, GOODBYE_S)
