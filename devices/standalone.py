"""A device on its own: one real machine that keeps its PEE inside its own memory.

It needs neither a simulation nor a model: numpy, an MQTT client and the protocol logic that an emulated
device has, too (`devices.agent`). What decides is pure; here are its clock, memory, connection and disk.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiomqtt

from devices.agent import Agent, Receipt
from devices.keeping import Kept, read_kept, remove_pee, write_kept, write_pee
from devices.reporting import Reporting, Told, due
from devices.shelf import Shelves
from wire.complaints import Complaints
from wire.connection import (
    NOT_ACCEPTED,
    PUBLISHES_AT_ONCE,
    Connection,
    backoff_s,
    fail_fast,
    refuses,
    unless_broken,
)
from wire.errors import InputError, RemoteProtocolError, RunError
from wire.mailbox import Message, mailbox
from wire.messages import ModelNotice, Status, decode, encode
from wire.topics import TABLE, Address, Kind, device_topic, fleet_topic, parse
from wire.units import NS_PER_S

LOG = logging.getLogger("peelfleet.agent")

LEAST_WAIT_S = 0.01
KEEP_EVERY_S = 5.0
"""While an update arrives its parts are kept this often: each part would wear a phone's memory out."""
GROWTH_WORTH_ASKING = 0.05
"""The device asks for more only when its budget is this share above the one that it reported last."""


@dataclass(frozen=True)
class Settings:
    """What a device on its own is told."""

    fleet: str
    device: str
    user: int | None
    """Whose PEE; None: the device names only its group, and computes with a vector of its own."""
    group: int | None
    interval_s: float = 5.0
    """How often it looks at its memory."""
    retry_s: float = 30.0
    """How long it waits for an answer."""
    pee: Path | None = None
    """Where it keeps its PEE as a file for whoever recommends."""
    state: Path | None = None
    """Where it keeps what it holds, so that a restart need not ask for all of it again."""
    once: bool = False
    """Whether it ends when it holds the PEE for its first budget."""


@dataclass
class Counts:
    """What has come of messages, and how often something went wrong."""

    reports: int = 0
    connections: int = 0
    broken: int = 0
    receipts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    unkept: int = 0
    """Times that what is held could not be written to the disk."""


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
        self._complaints = Complaints(LOG)
        self._rule = Reporting(hysteresis=GROWTH_WORTH_ASKING)
        self._shelves = Shelves()
        self._notice: ModelNotice | None = None
        self._agent = self._restored()
        self._told = Told(0, 0)
        self._due_s = 0.0
        """When to report next; far away where there is no reason."""
        self._waiting_since_s: float | None = None
        self._forced = False
        self._kept_s = 0.0
        self._stirred = asyncio.Event()
        self._stopping = False
        self._settled = asyncio.Event()

    @property
    def agent(self) -> Agent:
        """The protocol logic, and what is held."""
        return self._agent

    def stop(self) -> None:
        """Say goodbye and end."""
        self._stopping = True
        self._stirred.set()

    async def live(self) -> None:
        """Keep the PEE inside the budget until stopped; reconnect as often as it takes.

        Raises:
            ExceptionGroup: with a RunError, the broker refuses a subscription; or with what *budget* raised.
        """
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch())  # also while there is no broker
            await self._stay_connected()
            watching.cancel()
        self._keep()

    async def _watch(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(self._settings.interval_s)

    async def _stay_connected(self) -> None:
        failures = 0
        while not self._ended():
            before = self.counts.connections
            try:
                client = aiomqtt.Client(**self._options())
                fail_fast(client, aiomqtt.MqttError(NOT_ACCEPTED))
                async with client:
                    await self._be_there(client)
            except* aiomqtt.MqttError as errors:
                LOG.warning(
                    "broker %s:%s: %s", self._connection.host, self._connection.port, errors.exceptions[0]
                )
            if self._stopping:
                return
            self.counts.broken += 1
            failures = 1 if self.counts.connections > before else failures + 1
            await self._pass_time(backoff_s(failures, self._draw()))

    def _ended(self) -> bool:
        return self._stopping

    def look(self) -> None:
        """Look at the memory: what exceeds the budget is gone when this returns."""
        agent, budget_bytes = self._agent, self._budget()
        if budget_bytes == agent.budget_bytes:
            return
        before = agent.resident_bytes
        agent.set_budget(budget_bytes)
        self._forced = self._forced or agent.resident_bytes < before
        if agent.resident_bytes < before:
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

    def _options(self) -> dict[str, Any]:  # Any: as in `Connection`
        gone = encode(Status(online=False, reason="connection lost"))
        topic, route = self._topic(Kind.STATUS), TABLE[Kind.STATUS]
        will = aiomqtt.Will(topic, gone, qos=route.qos, retain=route.retained)
        options = self._connection.client_options()
        return {**options, "will": will, "queue_type": mailbox(self._take)}

    def _topic(self, kind: Kind) -> str:
        return device_topic(kind, self._settings.fleet, self._settings.device)

    async def _be_there(self, client: aiomqtt.Client) -> None:
        client.pending_calls_threshold = PUBLISHES_AT_ONCE
        await unless_broken(client, self._arrive(client))
        self._due_s, self._waiting_since_s = 0.0, None  # whatever was asked for may be lost
        await unless_broken(client, self._tend(client))
        await self._say(client, Status(online=False, reason="stopped"))

    async def _arrive(self, client: aiomqtt.Client) -> None:
        for topic in (self._topic(Kind.PEE), fleet_topic(Kind.MODEL, self._settings.fleet)):
            granted = await client.subscribe(topic, qos=1)
            if refuses(granted):
                raise RunError(f"the broker refuses to let {self._settings.device} subscribe to {topic}")
        self.counts.connections += 1
        await self._say(
            client, Status(online=True, reason="start" if self.counts.connections == 1 else "reconnect")
        )

    async def _say(self, client: aiomqtt.Client, status: Status) -> None:
        route = TABLE[Kind.STATUS]
        await client.publish(self._topic(Kind.STATUS), encode(status), qos=route.qos, retain=route.retained)

    async def _tend(self, client: aiomqtt.Client) -> None:
        """Report when there is reason to, until stopped."""
        while not self._stopping:
            now_s = time.monotonic()
            waited = (
                self._waiting_since_s is not None and now_s - self._waiting_since_s > self._settings.retry_s
            )
            if self._notice is not None and (waited or now_s >= self._due_s):
                await self._report(client)
            if self._settings.once and self._settled.is_set():
                self._stopping = True
                return
            wait_s = self._due_s - now_s if self._notice is not None else self._settings.interval_s
            await self._pass_time(max(min(wait_s, self._settings.interval_s), LEAST_WAIT_S))

    async def _report(self, client: aiomqtt.Client) -> None:
        agent = self._agent
        report = agent.report()
        self._told, self._due_s = Told(agent.reported_bytes, time.monotonic_ns()), float("inf")
        self._forced, self._waiting_since_s = False, time.monotonic()
        self._settled.clear()
        self.counts.reports += 1
        await client.publish(self._topic(Kind.BUDGET), report, qos=TABLE[Kind.BUDGET].qos)

    async def _pass_time(self, seconds: float) -> None:
        """Wait, at most until something happens."""
        try:
            async with asyncio.timeout(seconds if not self._stopping else 0):
                await self._stirred.wait()
        except TimeoutError:
            pass
        self._stirred.clear()

    def _take(self, message: Message) -> None:
        """Take in what has arrived; what is damaged or unknown is counted."""
        try:
            match parse(message.topic.value):
                case Address(Kind.PEE, _, self._settings.device):
                    self._take_part(message.payload)
                case Address(Kind.MODEL) if message.payload:
                    self._learn(decode(message.payload, ModelNotice))
        except RemoteProtocolError as error:
            self.counts.refused[error.reason.value] += 1
            self._complaints.complain(error.reason.value, message.topic.value, str(error), time.monotonic())
        self._stirred.set()

    def _learn(self, notice: ModelNotice) -> None:
        """Learn of the model that the cloud serves; ask for it if it is another one."""
        self._shelves.announce(notice)
        if notice != self._notice and self._agent.model != notice.version:
            self._due_s = 0.0
        self._notice = notice

    def _take_part(self, payload: bytes) -> None:
        receipt = self._agent.receive(payload)
        self.counts.receipts[receipt.value] += 1
        if receipt in (Receipt.REJECTED, Receipt.MISFIT):
            self._due_s = time.monotonic() + (1.0 if receipt is Receipt.REJECTED else 0.0)
            why = str(self._agent.rejected) if receipt is Receipt.REJECTED else "the budget has fallen"
            self._complaints.complain(receipt.value, self._topic(Kind.PEE), why, time.monotonic())
        elif receipt in (Receipt.APPLIED, Receipt.CONFIRMED):
            self._waiting_since_s = None
            self._settled.set()
        late = time.monotonic() - self._kept_s > KEEP_EVERY_S
        if receipt is Receipt.APPLIED or (receipt is Receipt.PROGRESS and late):
            self._keep()
        if receipt is Receipt.APPLIED:
            agent = self._agent
            LOG.info("holds layer %d: %d B of %d B", agent.layer, agent.resident_bytes, agent.budget_bytes)

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
            LOG.error("what is held could not be written: %s", error)
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
