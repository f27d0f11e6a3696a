"""A real device: one machine that keeps its PEE inside its own memory.

It needs neither a simulation nor a model: numpy, an MQTT client and the protocol logic of an emulated device,
too. Here are its clock, memory, connection and disk; `devices.standalone.pee_holder` decides.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable

from devices.protocol.agent import Agent, Receipt
from devices.protocol.block_prefix import BlockCache
from devices.protocol.capabilities import DeviceCapabilities, codecs_known_here
from devices.protocol.report_policy import MANY_REFUSALS
from devices.protocol.report_scheduler import ReportCause
from devices.recommender.item_catalogue import CatalogueFile, ItemCatalogue
from devices.recommender.learning import LearningSettings, history_bytes
from devices.standalone.counts import DeviceCounts
from devices.standalone.interaction_log import LARGEST_NUMBER, InteractionLog
from devices.standalone.pee_holder import PeeHolder
from devices.standalone.saved_state import SavedState, read_state, remove_pee, write_pee, write_state
from devices.standalone.session import GOODBYE_S, briefly, subscribe_device
from devices.standalone.settings import DeviceSettings
from wire.errors import InputError, RemoteProtocolError, RunError
from wire.messages import (
    PROTOCOL,
    CloudStatus,
    ErrorAnswer,
    ModelNotice,
    RolloutNotice,
    Status,
    decode,
    encode,
)
from wire.mqtt.backoff import Backoff
from wire.mqtt.client import (
    Client,
    Message,
    device_will,
    done_before,
    new_client,
    or_disconnected,
    publish,
)
from wire.mqtt.connection import Connection
from wire.mqtt.reconnection import connections
from wire.mqtt.throttled_log import ThrottledLog
from wire.no_answer import count_text, no_answer_text
from wire.output_files import error_text
from wire.signatures import check_json
from wire.text import printable
from wire.topics import MessageKind, TopicAddress, device_topic, fleet_topic, parse
from wire.units import NS_PER_S

LOG = logging.getLogger("peelfleet.agent")

LEAST_WAIT_S = 0.01
LONGEST_QUIET_S = 300.0
"""The longest time between two warnings that no model is announced."""
PERSIST_EVERY_S = 5.0
"""Time between two writes while an update arrives: a write for each part would wear a phone's memory out."""


class RealDevice:
    """One device.

    Args:
        settings: its id, its user and its times.
        connection: the broker.
        budget: returns the bytes that the item embeddings may take now.
        draw: returns a number from 0 to 1, for waits.
    """

    def __init__(
        self,
        settings: DeviceSettings,
        connection: Connection,
        budget: Callable[[], int],
        draw: Callable[[], float],
    ) -> None:
        self.counts = DeviceCounts()
        self._settings = settings
        self._connection = connection
        self._budget = budget
        self._draw = draw
        self._complaints = ThrottledLog(LOG)
        self._log = InteractionLog(settings.interactions) if settings.interactions is not None else None
        self._names = CatalogueFile(settings.names) if settings.names is not None else None
        self._holder = self._restored()
        self._persisted_s = self._reported_s = 0.0
        self._told_model = ""  # by the last status
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._gave_up = False

    @property
    def agent(self) -> Agent:
        """The protocol logic, and what is held."""
        return self._holder.agent

    @property
    def notice(self) -> ModelNotice | None:
        """The model that the cloud announced last; None before any."""
        return self._holder.notice

    def stop(self) -> None:
        """Say goodbye and end."""
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        """Keep the PEE inside the budget until stopped; reconnect as often as necessary.

        Raises:
            ExceptionGroup: with a RunError, the broker refuses a subscription, or no PEE came in time where
                it is to run once; or with what *budget* raised.
        """
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch_budget())  # also while there is no broker
            timer = asyncio.get_running_loop().call_later(self._settings.give_up_s, self._give_up)
            try:
                await self._stay_connected()
            finally:
                timer.cancel()
            watching.cancel()
        self._persist()
        if self._gave_up:
            raise ExceptionGroup("gave up", [RunError(self._no_answer_text())])

    async def _watch_budget(self) -> None:
        while True:
            self.poll_budget()
            await asyncio.sleep(self._settings.interval_s)

    def _give_up(self) -> None:
        if self._settings.once and not self._holder.is_settled:
            self._gave_up = True
            self.stop()

    async def _stay_connected(self) -> None:
        backoff, settings, broker = Backoff(self._draw), self._settings, self._connection
        async for ended in connections(
            self._new_client, self._serve, backoff, stopping=self._stopping, leave_s=GOODBYE_S
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
        last_will = device_will(self._topic(MessageKind.STATUS))
        return new_client(self._connection, last_will=last_will, on_message=self._on_message)

    def poll_budget(self) -> None:
        """Read the budget; blocks beyond it are gone when this returns."""
        agent, budget_bytes = self.agent, self._block_budget()
        before = agent.resident_bytes
        self._holder.set_budget(budget_bytes, time.monotonic_ns())
        if agent.resident_bytes < before:
            self.counts.evictions += 1
            LOG.info(
                "the budget has fallen to %d B: dropped %d B at once, holds layer %d, %d B",
                budget_bytes, before - agent.resident_bytes, agent.layer, agent.resident_bytes,
            )  # fmt: skip
            self._persist()
        elif self._log is not None and self._log.poll():
            self._persist()
        self._wake.set()

    def _block_budget(self) -> int:
        """Return the budget of the blocks: without the bytes set aside for the items met, where it learns."""
        budget_bytes, prefix = self._budget(), self.agent.prefix
        if self._log is None:
            return budget_bytes
        items = LARGEST_NUMBER if prefix is None else prefix.geometry.items
        return budget_bytes - history_bytes(LearningSettings(), items, budget_bytes)

    def _topic(self, kind: MessageKind) -> str:
        return device_topic(kind, self._settings.fleet, self._settings.device)

    async def _serve(self, client: Client) -> None:
        """Subscribe, and send reports until stopped or the connection breaks."""
        try:
            if await done_before(self._stopping, or_disconnected(client, self._subscribe(client))):
                self._holder.on_connected(time.monotonic_ns())
                await done_before(self._stopping, or_disconnected(client, self._report_loop(client)))
        finally:
            self._holder.on_disconnected()
        await briefly(self._say(client, "stopped", online=False))

    async def _subscribe(self, client: Client) -> None:
        await subscribe_device(client, self._settings.fleet, self._settings.device)
        self.counts.connections += 1
        await self._say(client, "start" if self.counts.connections == 1 else "reconnect")

    async def _say(self, client: Client, reason: str, *, online: bool = True) -> None:
        """Say whether this device is there, and which model it holds."""
        if self._holder.is_settled or not self.agent.reported:
            self._told_model = self.agent.model
        status = Status(online=online, reason=reason, protocol=PROTOCOL, model=self._told_model)
        await publish(client, MessageKind.STATUS, self._topic(MessageKind.STATUS), encode(status))

    async def _report_loop(self, client: Client) -> None:
        """Send each report when it is due, until stopped."""
        settings, holder = self._settings, self._holder
        warn_s, quiet_s = time.monotonic() + min(settings.retry_s, 10.0), settings.retry_s
        while not self._stopping.is_set():
            now_s, seq = time.monotonic(), self.agent.seq
            if holder.notice is None and now_s >= warn_s:
                LOG.warning("no model is announced: %s", self._no_answer_text())
                warn_s, quiet_s = now_s + quiet_s, min(2 * quiet_s, LONGEST_QUIET_S)
            if (report := holder.next_report(time.monotonic_ns())) is not None:
                await self._publish_report(client, *report, answered_seq=seq)
            if holder.is_settled and self.agent.model != self._told_model:
                await self._say(client, "model")
            if settings.once and holder.is_settled:
                self.stop()
                return
            wait_s = (holder.next_deadline_ns - time.monotonic_ns()) / NS_PER_S
            await self._sleep_until_woken(max(min(wait_s, settings.interval_s), LEAST_WAIT_S))

    async def _publish_report(
        self, client: Client, cause: ReportCause, report: bytes, *, answered_seq: int
    ) -> None:
        if cause is ReportCause.RETRY:
            self.counts.unanswered += 1
            LOG.warning(
                "report %d has no answer after %.3g s: %s",
                answered_seq, time.monotonic() - self._reported_s, self._no_answer_text(),
            )  # fmt: skip
        self.counts.reports += 1
        self._reported_s = time.monotonic()
        await publish(client, MessageKind.BUDGET, self._topic(MessageKind.BUDGET), report)

    def _no_answer_text(self) -> str:
        """Say how much was published, how much came, and why that may be."""
        settings, counts = self._settings, self.counts
        arrived = f"{count_text(counts.parts, 'part')} of updates came"
        lost = f"{count_text(counts.broken, 'connection')} lost or not made" if counts.broken else ""
        published = f"{count_text(counts.reports, 'report')} published"
        if self.notice is None:
            topic = fleet_topic(MessageKind.MODEL, settings.fleet)
            arrived = f"no model notice came on {topic}: does a cloud serve fleet {settings.fleet!r}?"
        away = "every service of the cloud says that it is away" if self._holder.has_lost_cloud else ""
        return no_answer_text(published, arrived, lost, self._holder.unknown_to_model() or away)

    async def _sleep_until_woken(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds if not self._stopping.is_set() else 0):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    def _on_message(self, message: Message) -> None:
        """Receive a message; what is damaged or unknown is counted."""
        try:
            match parse(message.topic.value):
                case TopicAddress(MessageKind.PEE, _, self._settings.device):
                    self._on_part(message.payload)
                case TopicAddress(MessageKind.MODEL) if message.payload:
                    self._on_notice(decode(self._checked(message), ModelNotice))
                case TopicAddress(MessageKind.ROLLOUT) if message.payload:
                    self._on_rollout(decode(self._checked(message), RolloutNotice))
                case TopicAddress(MessageKind.ERROR, _, self._settings.device):
                    self._on_error(decode(self._checked(message), ErrorAnswer))
                case TopicAddress(MessageKind.CLOUD, replica=str(replica)) if message.payload:
                    self._on_cloud_status(replica, decode(message.payload, CloudStatus))
        except RemoteProtocolError as error:
            self.counts.refused[error.reason.value] += 1
            self._complaints.refused(error.reason.value, message.topic.value, str(error), time.monotonic())
        self._wake.set()

    def _checked(self, message: Message) -> bytes:
        """Return a message of the cloud, after a check of its signature where this device has keys."""
        return check_json(message.payload, message.topic.value, self._settings.verify)

    def _on_notice(self, notice: ModelNotice) -> None:
        is_new = self._holder.on_notice(notice, time.monotonic_ns())
        if is_new and (unknown := self._holder.unknown_to_model()):
            LOG.error("%s: the cloud answers no report of ours", unknown)

    def _on_rollout(self, rollout: RolloutNotice) -> None:
        if self._holder.on_rollout(rollout, time.monotonic_ns()):
            LOG.info(
                "rollout of model %s: %s; this device is to have model %s",
                rollout.version, rollout.state.value.replace("_", " "), self._holder.wanted or "as announced",
            )  # fmt: skip

    def _on_error(self, error: ErrorAnswer) -> None:
        now_ns = time.monotonic_ns()
        if not self._holder.on_error(error, now_ns):
            return
        self.counts.count_error(error.reason)
        wait_s = (self._holder.next_deadline_ns - now_ns) / NS_PER_S
        LOG.warning(
            "the cloud answers report %d by an error: %s: %s (%s; reports again in %.1f s at the latest)",
            self.agent.seq, printable(error.reason), printable(error.text), printable(error.remedy), wait_s,
        )  # fmt: skip

    def _on_cloud_status(self, replica: str, status: CloudStatus) -> None:
        self._holder.on_cloud_status(replica, status)
        state = "is there" if status.online else "is away"
        LOG.info("cloud %s %s: %s", replica, state, printable(status.reason))

    def _on_part(self, payload: bytes) -> None:
        agent, model, held_bytes = self.agent, self.agent.model, self.agent.resident_bytes
        receipt = self._holder.on_part(payload, time.monotonic_ns(), self._topic(MessageKind.PEE))
        self.counts.parts += 1
        self.counts.receipts[receipt.value] += 1
        if receipt in (Receipt.REJECTED, Receipt.MISFIT):
            reason = str(agent.rejected) if receipt is Receipt.REJECTED else "the budget has fallen"
            self._complaints.refused(receipt.value, self._topic(MessageKind.PEE), reason, time.monotonic())
        if model and not agent.model:
            LOG.warning(
                "%d answers in a row do not fit what is held: dropped %d B, asks for everything",
                MANY_REFUSALS, held_bytes,
            )  # fmt: skip
            self._persist()
        is_old = time.monotonic() - self._persisted_s > PERSIST_EVERY_S
        if receipt is Receipt.APPLIED or (receipt is Receipt.PROGRESS and is_old):
            self._persist()
        if receipt is Receipt.APPLIED:
            LOG.info("holds layer %d: %d B of %d B", agent.layer, agent.resident_bytes, agent.budget_bytes)

    def _persist(self) -> None:
        """Free the memory of evicted blocks, and write the files.

        A disk that cannot be written does not end the device; a PEE file above the budget is removed.
        """
        agent, settings, notice = self.agent, self._settings, self._holder.held_notice
        if agent.prefix is not None:
            agent.prefix.truncate(agent.held)
        if notice is None:
            return
        self._persisted_s = time.monotonic()
        try:
            if settings.pee is not None:
                met = () if self._log is None else self._log.met
                write_pee(settings.pee, agent, f"fleet {settings.fleet}", met, self._catalogue())
            if settings.state is not None:
                write_state(settings.state, SavedState.from_agent(agent, notice, self._log))
        except (OSError, InputError, RemoteProtocolError) as error:
            self.counts.write_failures += 1
            LOG.error("what is held could not be written: %s", error_text(error))
            if settings.pee is not None:
                with contextlib.suppress(OSError):  # a read-only file system, and reported above
                    remove_pee(settings.pee)

    def _catalogue(self) -> ItemCatalogue | None:
        """Return the names of the items of the model that is held, if the file has them."""
        prefix = self.agent.prefix
        if self._names is None or prefix is None:
            return None
        try:
            return self._names.of_model(self.agent.model, prefix.geometry.items)
        except InputError as error:
            LOG.error("items are not named: %s", error)
            return None

    def _restored(self) -> PeeHolder:
        """Return the decisions with what this device held when it ran last, as far as that is known."""
        # Above all numbers that an earlier process has used: it did not make a thousand reports a second.
        seq, settings, cache = int(time.time() * 1000), self._settings, BlockCache()
        saved = read_state(settings.state) if settings.state is not None else None
        if saved is None:
            return PeeHolder(settings, cache, self._new_agent(cache, seq), None, self._draw)
        cache.announce(saved.notice)
        agent = self._new_agent(cache, seq := max(seq, saved.seq + 1))
        if saved.restore(agent):
            if settings.interactions is not None:
                self._log = InteractionLog(settings.interactions, saved.met, saved.read_bytes)
            return PeeHolder(settings, cache, agent, saved.notice, self._draw)
        LOG.warning("%s: is of another user or damaged; beginning anew", settings.state)
        return PeeHolder(settings, cache, self._new_agent(cache, seq), None, self._draw)

    def _new_agent(self, cache: BlockCache, seq: int) -> Agent:
        settings = self._settings
        return Agent(
            settings.user or 0,
            cache,
            group=settings.group,
            seq=seq,
            deltas=settings.deltas,
            capabilities=DeviceCapabilities(settings.max_part_bytes, codecs_known_here()),
            verify=settings.verify,
        )
