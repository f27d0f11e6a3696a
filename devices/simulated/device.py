"""An emulated device: processes in simulated time around the protocol logic.

The device learns its budget, reports, and receives updates, in simulated time. It does not know how fast
simulated time passes or how bytes travel: its delivery hands a report to a transport and schedules the
earliest moment at which an answer can take effect, the barrier. The answer must be there when the barrier is
processed; it is stored, never scheduled, so that every clock runs the same events in the same order.
"""

from collections.abc import Iterable, Iterator

from simpy.events import EventPriority

from devices.event_log import (
    BudgetRow,
    ConnectionRow,
    FaultRow,
    MessageFault,
    Pressure,
    QualityRow,
    RolloutRow,
    RolloutStep,
)
from devices.protocol.agent import Agent, Receipt
from devices.protocol.report_scheduler import NEVER, ReportScheduler
from devices.simulated.budget_trajectory import BudgetTrajectory
from devices.simulated.context import SimulationContext
from devices.simulated.delivery import Delivery
from devices.simulated.device_class import DeviceClass
from devices.simulated.link import Link
from devices.simulated.status_message import status_message
from devices.simulated.steering import DeviceSteering
from devices.simulated.visit_process import VisitProcess
from devices.timeline.connectivity import ConnectivityCause, ConnectivityChange
from wire.mqtt_bytes import publish_wire_bytes
from wire.topics import TABLE, MessageKind

_QUALITY_QOS, _STATUS_QOS = TABLE[MessageKind.QUALITY].qos, TABLE[MessageKind.STATUS].qos

_APPLIED, _CONFIRMED = Receipt.APPLIED, Receipt.CONFIRMED  # looked up once: it takes as long as a call

CONNECTIVITY, MEMORY, VISITS = EventPriority(2), EventPriority(3), EventPriority(4)
"""At equal times these run after messages and timers, in this order, not in insertion order."""


class Device:
    """One device of the fleet.

    Args:
        context: what all devices share.
        number: the device's index among all device ids in order.
        name: the device's id.
        agent: its protocol logic.
        scheduler: decides on its reports.
        trajectory: its free memory and budget over time.
        device_class: its hardware.
        uplink: toward the cloud.
        downlink: from the cloud.
        address_bytes: length of its topics up to the last level.
        start_ns: the time at which its memory starts to move.
        always_on: whether it is connected from then on; else `run_connectivity` says when.
    """

    __slots__ = (
        "_alarm_ns",
        "_always_on",
        "_connecting",
        "_context",
        "_delivery",
        "_device_class",
        "_full_ndcg",
        "_order",
        "_pressure",
        "_quality",
        "_quality_model",
        "_quality_topic_bytes",
        "_quality_user",
        "_scheduler",
        "_start_ns",
        "_status_topic_bytes",
        "_trajectory",
        "_user_group",
        "_version",
        "agent",
        "epoch",
        "name",
        "number",
        "online",
        "online_since_ns",
        "steering",
        "visits",
    )

    def __init__(
        self,
        context: SimulationContext,
        *,
        number: int,
        name: str,
        agent: Agent,
        scheduler: ReportScheduler,
        trajectory: BudgetTrajectory,
        device_class: DeviceClass,
        uplink: Link,
        downlink: Link,
        address_bytes: int,
        start_ns: int,
        always_on: bool = True,
    ) -> None:
        self.number = number
        self.name = name
        self.agent = agent
        self.online = False
        self.online_since_ns = 0
        self.epoch = 0
        """Counts the connections that have ended: what is under way on one of them never arrives."""
        self.visits: VisitProcess | None = None
        """None where nobody meets interactions."""
        self.steering: DeviceSteering | None = None
        """None where nobody can do deeds by hand."""
        self._context = context
        self._scheduler = scheduler
        self._trajectory = trajectory
        self._device_class = device_class
        apply_ns_per_byte = 8e9 / device_class.apply_rate if device_class.apply_rate else 0.0
        self._delivery = Delivery(self, agent, context, uplink, downlink, address_bytes, apply_ns_per_byte)
        self._quality_topic_bytes = address_bytes + len(MessageKind.QUALITY)
        self._status_topic_bytes = address_bytes + len(MessageKind.STATUS)
        self._start_ns = start_ns
        self._always_on = always_on
        self._connecting: ConnectivityCause | None = None
        self._alarm_ns = NEVER
        self._order = 0
        self._pressure = Pressure.NORMAL
        self._look_up_quality()

    def run(self) -> Iterator[int]:
        """Follow the budget; yield each wait in nanoseconds."""
        clock, agent = self._context.clock, self.agent
        stop_ns, started = self._context.stop_ns, False
        if self._start_ns > clock.now_ns:
            yield self._start_ns - clock.now_ns
        if self._always_on and clock.now_ns < stop_ns:
            self.begin_connect(ConnectivityCause.START)
        for wait_ns, free_bytes, budget_bytes in self._trajectory:
            if clock.now_ns + wait_ns >= stop_ns:
                return
            if wait_ns:
                yield wait_ns
            budget_bytes = self.budget_left(free_bytes, budget_bytes)
            pressure = self._device_class.pressure(free_bytes)
            if budget_bytes != agent.budget_bytes or not started:
                started = True
                self._pressure = pressure
                self.change_budget(free_bytes, budget_bytes)
            elif pressure is not self._pressure:
                self._pressure = pressure
                self.log_quality()

    def run_connectivity(self, changes: Iterable[ConnectivityChange]) -> Iterator[int]:
        """Connect and disconnect as *changes* say; yield each wait in nanoseconds."""
        clock = self._context.clock
        for t_ns, online, why in changes:
            if t_ns >= self._context.stop_ns:
                return
            if t_ns > clock.now_ns:
                yield t_ns - clock.now_ns
            if online:
                self.begin_connect(why)
            else:
                self.disconnect(why)

    def on_connected(self) -> None:
        """Use the device's own connection: it is there."""
        if self._connecting is not None and not self.online:
            self._connect(self._connecting)

    def on_disconnected(self) -> None:
        """Note that the device's own connection has broken; it is being made again."""
        if self.online:
            self._cut_off(ConnectivityCause.BROKEN)
            self._connecting = ConnectivityCause.BROKEN

    def change_links(self, uplink: Link, downlink: Link) -> None:
        """Move to another network: messages under way still arrive."""
        self._delivery.change_links(uplink, downlink)

    def change_user(self, user: int) -> None:
        """Recommend to somebody else from now on."""
        self._scheduler.on_user(user, self._context.clock.now_ns)
        if self._scheduler.changed_ns >= 0:
            self.log_quality()
            self._report_if_due()

    def offer_model(self, model: str, group: int | None = None) -> None:
        """Send the device a notice of the model version to ask for; none: the one served to everybody.

        Args:
            model: the version.
            group: the device's group in the rollout; None where there is no rollout.
        """
        # The broker retains it: a device that is away finds it when it connects.
        self.agent.offered = self._scheduler.model = model
        if model and group is not None:
            self.log_rollout(RolloutStep.OFFERED, group)
        if self.online and self._scheduler.changed_ns >= 0:
            # Not drawn: the delays of answers stay as they are, with a rollout or without.
            self._context.clock.after(self._delivery.downlink.latency_ns, model, self._on_offer)

    def log_rollout(self, step: RolloutStep, group: int) -> None:
        """Log a step of a rollout."""
        self._context.log.rollout(RolloutRow(*self.row_key(), step=step, group=group))

    def log_quality(self) -> None:
        """Log the quality of the PEE in use, beside that of the best PEE for the budget."""
        context, agent, log = self._context, self.agent, self._context.log
        if agent.model != self._quality_model or agent.user != self._quality_user:
            self._look_up_quality()
        quality, budget_bytes, layer = self._quality, agent.budget_bytes, agent.layer
        best_layer = quality.best_layer(budget_bytes)
        ndcg, recall, hit_rate = held = quality.at(layer)
        best = held if layer == best_layer else quality.at(best_layer)
        size = wire = 0
        if self.online:
            size = quality.message_bytes(agent.model, layer, agent.held)
            wire = publish_wire_bytes(self._quality_topic_bytes, size, _QUALITY_QOS)
        self._order = order = self._order + 1
        row = QualityRow(  # by position: names would take as long as the rest of this function
            context.clock.now_ns,
            log.clock(),
            self.number,
            order,
            budget_bytes,
            agent.resident_bytes,
            layer,
            best_layer,
            ndcg,
            recall,
            hit_rate,
            best[0],
            self._full_ndcg,
            self._pressure,
            self.online,
            self._version,
            self._user_group,
            size,
            wire,
        )
        log.quality(row)
        if context.publisher is not None and self.online:
            message = quality.message(agent.model, layer, agent.held)
            context.publisher.publish(self.name, MessageKind.QUALITY, message)

    def on_part(self, part: bytes, *, is_latest: bool, of_layers: bool, is_applied: bool) -> Receipt:
        """Receive an update part, as `DeliveryOwner` says."""
        agent, scheduler, context = self.agent, self._scheduler, self._context
        before = agent.resident_bytes
        receipt = agent.receive(part)
        is_complete = receipt is _APPLIED or receipt is _CONFIRMED
        if not (is_complete and is_applied):
            now = context.clock.now_ns
            scheduler.on_receipt(receipt, now, is_latest=is_latest, of_layers=of_layers)
        if agent.resident_bytes != before:
            self.log_quality()
        if scheduler.next_deadline_ns != NEVER:
            self._report_if_due()
        if is_complete and not is_applied and context.on_applied is not None:
            context.on_applied(self.number, agent.model)
        return receipt

    def on_no_answer(self, seq: int) -> None:
        """Learn that no complete answer to report *seq* comes in time."""
        self._scheduler.on_no_answer(seq, self._context.clock.now_ns)
        self._report_if_due()

    def log_fault(
        self, fault: MessageFault, seq: int, size_bytes: int, fault_index: int, times: int = 1
    ) -> None:
        """Log what fault *fault_index* did, so many *times*, to a message of exchange *seq*."""
        self._context.log.fault(
            FaultRow(*self.row_key(), harm=fault, seq=seq, bytes=size_bytes, place=fault_index, times=times)
        )

    def row_key(self) -> tuple[int, float, int, int]:
        """Return the first columns of the device's next row."""
        self._order = order = self._order + 1
        context = self._context
        return context.clock.now_ns, context.log.clock(), self.number, order

    def begin_connect(self, why: ConnectivityCause) -> None:
        """Connect, at once or as soon as the device's own connection is there."""
        if self.steering is not None and self.steering.holds_back(online=True):
            return
        if self._context.connections is None:
            self._connect(why)
        else:
            self._connecting = why
            self._context.connections.connect(self.name)

    def disconnect(self, why: ConnectivityCause) -> None:
        """Cut the connection."""
        if self.steering is not None and self.steering.holds_back(online=False):
            return
        if self._context.connections is None:
            self._cut_off(why)
            return
        self._connecting = None
        if self.online:
            self._cut_off(why)
        self._context.connections.disconnect(self.name)

    def _connect(self, why: ConnectivityCause) -> None:
        now = self._context.clock.now_ns
        self.online, self.online_since_ns = True, now
        self._publish_status(why)
        self._scheduler.on_connected(now)
        if self._scheduler.changed_ns >= 0:
            self.log_quality()
            self._report_if_due()
        if self.visits is not None:
            self.visits.fetch()

    def _cut_off(self, why: ConnectivityCause) -> None:
        self.online = False
        self.epoch += 1
        self._scheduler.on_disconnected()
        self._delivery.restart_order()
        self._publish_status(why)
        if self._scheduler.changed_ns >= 0:
            self.log_quality()

    def _publish_status(self, why: ConnectivityCause) -> None:
        """Publish, and log, whether the device is connected."""
        context, online = self._context, self.online
        status, size = status_message(online, why)
        if context.publisher is not None:
            context.publisher.publish(self.name, MessageKind.STATUS, status)
        wire = publish_wire_bytes(self._status_topic_bytes, size, _STATUS_QOS)
        context.log.connection(
            ConnectionRow(
                *self.row_key(), online=online, why=why, message_bytes=size, message_wire_bytes=wire
            )
        )

    def budget_left(self, free_bytes: int, budget_bytes: int) -> int:
        """Return the part of a budget that deeds by hand and learning leave."""
        if self.steering is not None:
            budget_bytes = self.steering.scale(free_bytes, budget_bytes)
        return budget_bytes if self.visits is None else self.visits.reserve(budget_bytes)

    def change_budget(self, free_bytes: int, budget_bytes: int) -> None:
        """Use another budget."""
        agent, context = self.agent, self._context
        before, now = agent.resident_bytes, context.clock.now_ns
        self._scheduler.on_budget(budget_bytes, now)
        self._order = order = self._order + 1
        context.log.budget(
            BudgetRow(
                now,
                context.log.clock(),
                self.number,
                order,
                free_bytes=free_bytes,
                budget_bytes=budget_bytes,
                resident_before_bytes=before,
                resident_bytes=agent.resident_bytes,
                pressure=self._pressure,
            )
        )
        self.log_quality()
        self._report_if_due()

    def _report_if_due(self, _: None = None) -> None:
        """Send a report if one is due; come back when the next may be."""
        scheduler, clock = self._scheduler, self._context.clock
        now = clock.now_ns
        if scheduler.next_deadline_ns <= now:
            cause = scheduler.poll(now)
            if cause is not None:
                self._delivery.send(cause, scheduler.changed_ns)
        deadline_ns = scheduler.next_deadline_ns
        if deadline_ns != NEVER and deadline_ns != self._alarm_ns:
            self._alarm_ns = deadline_ns
            clock.after(deadline_ns - now, None, self._report_if_due)

    def _on_offer(self, model: str) -> None:
        """Receive the notice of a model version, unless another one was offered after it."""
        if model == self.agent.offered:
            self._scheduler.on_model(self._context.clock.now_ns)
            self._report_if_due()

    def _look_up_quality(self) -> None:
        """Look up the user's quality by layer in the model version in use, and that version's index."""
        agent, qualities = self.agent, self._context.qualities
        self._quality_model, self._quality_user = agent.model, agent.user
        model = agent.model or next(iter(qualities))
        self._quality = quality = qualities[model][agent.user]
        self._version = list(qualities).index(model)
        self._user_group = quality.user_group
        self._full_ndcg = quality.full.ndcg_at_10
