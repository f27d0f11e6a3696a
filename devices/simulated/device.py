"""A virtual device: one SimPy process around the protocol logic.

The device learns of its budget, reports, and takes in what comes back, in simulated time. How fast
simulated time passes and how bytes travel are questions for others: the device hands a report to a
`Transport` and schedules for itself the earliest moment at which an answer can take effect, its
barrier. The answer must be there when the barrier is processed; it is stored, never scheduled, so
that every clock runs the same events in the same order.
"""

import functools
from collections.abc import Generator, Iterable

import simpy
from simpy.events import EventPriority

from devices.event_log import Cause, Harm, Pressure, Step
from devices.protocol.agent import Agent
from devices.protocol.report_policy import Reporting, Told, due
from devices.recommender.quality import UserQuality
from devices.simulated.budget_trajectory import Course
from devices.simulated.context import Setting
from devices.simulated.delivery import Delivery
from devices.simulated.device_class import Node
from devices.simulated.link import Link
from devices.timeline.connectivity import ConnectivityCause, ConnectivityChange
from wire.messages import Status, encode
from wire.mqtt_bytes import publish_wire_bytes
from wire.topics import TABLE, MessageKind

_QUALITY_QOS, _STATUS_QOS = TABLE[MessageKind.QUALITY].qos, TABLE[MessageKind.STATUS].qos

PRESENCE, MEMORY = EventPriority(2), EventPriority(3)
"""What happens to a device comes after all messages and timers of its moment, in this order: never by when it
was known, which a recording does not tell."""


class Happening(simpy.Event):
    """A moment at which something happens to a device.

    Args:
        env: whose time passes.
        wait_ns: how long from now.
        kind: `PRESENCE` or `MEMORY`.
    """

    def __init__(self, env: simpy.Environment, wait_ns: int, kind: EventPriority) -> None:
        super().__init__(env)
        self._ok = True
        self._value = None
        env.schedule(self, kind, wait_ns)


class Device:
    """One device of the fleet.

    Args:
        setting: what all devices share.
        number: the device's place among all device ids in order.
        name: the device's id.
        agent: its protocol logic.
        course: its free memory and budget over time.
        node: what its hardware can do.
        reporting: when it tells of its budget.
        uplink: toward the cloud.
        downlink: from the cloud.
        address_bytes: length of its topics up to the last level.
        start_ns: when its memory starts to move.
        always_on: whether it is connected from then on; else `follow` says when.
    """

    __slots__ = (
        "_always_on",
        "_changed_ns",
        "_coming",
        "_course",
        "_delivery",
        "_forced",
        "_full_ndcg",
        "_looked_up",
        "_max_interval_ns",
        "_node",
        "_order",
        "_plain",
        "_plan",
        "_pressure",
        "_quality",
        "_quality_topic_bytes",
        "_reporting",
        "_start_ns",
        "_status_topic_bytes",
        "_told",
        "_version",
        "agent",
        "epoch",
        "name",
        "number",
        "online",
        "online_since_ns",
        "setting",
    )

    def __init__(
        self,
        setting: Setting,
        *,
        number: int,
        name: str,
        agent: Agent,
        course: Course,
        node: Node,
        reporting: Reporting,
        uplink: Link,
        downlink: Link,
        address_bytes: int,
        start_ns: int,
        always_on: bool = True,
    ) -> None:
        self.number = number
        self.name = name
        self.agent = agent
        self.setting = setting
        self.online = False
        self.online_since_ns = 0
        self.epoch = 0
        """Counts connections: what is under way on one that broke never arrives."""
        self._course = course
        self._node = node
        self._reporting = reporting
        self._plain = reporting.plain
        self._max_interval_ns = int(reporting.publish.max_interval or 0)
        apply_ns_per_byte = 8e9 / node.apply_rate if node.apply_rate else 0.0
        self._delivery = Delivery(self, uplink, downlink, address_bytes, apply_ns_per_byte)
        self._quality_topic_bytes = address_bytes + len(MessageKind.QUALITY)
        self._status_topic_bytes = address_bytes + len(MessageKind.STATUS)
        self._start_ns = start_ns
        self._always_on = always_on
        self._coming: ConnectivityCause | None = None
        self._changed_ns = -1
        self._forced = False
        self._order = 0
        self._plan = 0
        self._pressure = Pressure.NORMAL
        self._told = Told(0, 0)
        self._version = 0
        self._full_ndcg = 0.0
        self._looked_up = ("", -1)
        self._quality: UserQuality | None = None

    def live(self) -> Generator[simpy.Event, object, None]:
        """The device's life, as a SimPy process."""
        env, agent = self.setting.env, self.agent
        stop_ns = self.setting.stop_ns
        if self._start_ns > env.now:
            yield Happening(env, self._start_ns - int(env.now), MEMORY)
        if self._always_on and env.now < stop_ns:
            self._come(ConnectivityCause.START)
        for wait_ns, free_bytes, budget_bytes in self._course:
            if env.now + wait_ns >= stop_ns:
                return
            if wait_ns:
                yield Happening(env, wait_ns, MEMORY)
            pressure = self._node.pressure(free_bytes)
            if budget_bytes != agent.budget_bytes or self._changed_ns < 0:
                self._pressure = pressure
                self._change(free_bytes, budget_bytes)
            elif pressure is not self._pressure:
                self._pressure = pressure
                self.observe()

    def follow(self, changes: Iterable[ConnectivityChange]) -> Generator[simpy.Event, object, None]:
        """Connect and be cut off as *changes* say, as a SimPy process."""
        env = self.setting.env
        for t_ns, online, why in changes:
            if t_ns >= self.setting.stop_ns:
                return
            if t_ns > env.now:
                yield Happening(env, t_ns - int(env.now), PRESENCE)
            if online:
                self._come(why)
            else:
                self._go(why)

    def joined(self) -> None:
        """The device's own connection is there."""
        if self._coming is not None and not self.online:
            self._connect(self._coming)

    def broke(self) -> None:
        """The device's own connection has broken; it is being made again."""
        if self.online:
            self._cut_off(ConnectivityCause.BROKEN)
            self._coming = ConnectivityCause.BROKEN

    def change_links(self, uplink: Link, downlink: Link) -> None:
        """Move to another network: what is under way still arrives."""
        self._delivery.change_links(uplink, downlink)

    def change_user(self, user: int) -> None:
        """Recommend to somebody else from now on."""
        self.agent.change_user(user)
        if self._changed_ns >= 0:
            self._changed_ns = self.setting.env.now  # type: ignore[assignment]  # whole nanoseconds
            self.observe()
            if self.online:
                self.report(Cause.USER)

    def offer(self, model: str, group: int) -> None:
        """Send the device word of the model version that it is to ask for; none: the one served to everybody.

        Args:
            model: the version.
            group: the device's group in the rollout.
        """
        self.agent.offered = model  # retained at the broker: whoever is away finds it when it is back
        if model:
            self.rolled(Step.OFFERED, group)
        if self.online and self._changed_ns >= 0:
            # Not drawn: the delays of answers stay as they are, with a rollout or without.
            self.setting.env.timeout(self._delivery.downlink.latency_ns, model).callbacks.append(
                self._when_offered
            )

    def rolled(self, step: Step, group: int) -> None:
        """Log a step of a rollout."""
        self.setting.log.rollout(*self.stamp(), step, group)

    def observe(self) -> None:
        """Log the quality of the PEE in use, beside that of the best PEE for the budget."""
        setting, agent = self.setting, self.agent
        quality, version = self._look_up()
        budget_bytes, layer = agent.budget_bytes, agent.layer
        best_layer = quality.best_layer(budget_bytes)
        ndcg, recall, hit_rate = held = quality.at(layer)
        best = held if layer == best_layer else quality.at(best_layer)
        size = wire = 0
        if self.online:
            size = quality.message_bytes(agent.model, layer, agent.held)
            wire = publish_wire_bytes(self._quality_topic_bytes, size, _QUALITY_QOS)
        self._order = order = self._order + 1
        setting.log.quality(
            setting.env.now,
            setting.log.clock(),
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
            version,
            quality.user_group,
            size,
            wire,
        )
        if setting.transport.listening and self.online:
            message = quality.message(agent.model, layer, agent.held)
            setting.transport.publish(self.name, MessageKind.QUALITY, message)

    def report(self, cause: Cause) -> None:
        """Tell the cloud of the budget, at once."""
        agent, env = self.agent, self.setting.env
        self._plan += 1
        self._forced = False
        self._delivery.send(cause if agent.reported else Cause.START, self._changed_ns)
        if not self._plain:
            self._told = Told(agent.reported_bytes, env.now)  # type: ignore[arg-type]  # whole nanoseconds
        if self._max_interval_ns and env.now < self.setting.stop_ns:
            env.timeout(self._max_interval_ns, agent.seq).callbacks.append(self._when_silent)

    def harm(self, harm: Harm, seq: int, size_bytes: int, place: int, times: int = 1) -> None:
        """Log what the fault at *place* did, so many *times*, to a message of exchange *seq*."""
        self.setting.log.fault(*self.stamp(), harm, seq, size_bytes, place, times)

    def stamp(self) -> tuple[int, float, int, int]:
        """Return the first columns of the device's next row."""
        self._order += 1
        setting = self.setting
        return setting.env.now, setting.log.clock(), self.number, self._order  # type: ignore[return-value]

    def _come(self, why: ConnectivityCause) -> None:
        """Connect, at once or as soon as the device's own connection is there."""
        if self.setting.transport.sessions:
            self._coming = why
            self.setting.transport.connect(self.name)
        else:
            self._connect(why)

    def _go(self, why: ConnectivityCause) -> None:
        """Leave."""
        if not self.setting.transport.sessions:
            self._cut_off(why)
            return
        self._coming = None
        if self.online:
            self._cut_off(why)
        self.setting.transport.disconnect(self.name)

    def _connect(self, why: ConnectivityCause) -> None:
        self.online = True
        self.online_since_ns = self.setting.env.now  # type: ignore[assignment]  # whole nanoseconds
        self._tell(why)
        if self._changed_ns >= 0:
            self.observe()
            self.report(Cause.RECONNECT)

    def _cut_off(self, why: ConnectivityCause) -> None:
        self.online = False
        self.epoch += 1
        self._delivery.begin_anew()
        self._tell(why)
        if self._changed_ns >= 0:
            self.observe()

    def _tell(self, why: ConnectivityCause) -> None:
        """Publish, and log, whether the device is connected."""
        setting, online = self.setting, self.online
        status, size = _status(online, why)
        if setting.transport.listening:
            setting.transport.publish(self.name, MessageKind.STATUS, status)
        wire = publish_wire_bytes(self._status_topic_bytes, size, _STATUS_QOS)
        setting.log.connection(*self.stamp(), online, why, size, wire)

    def _change(self, free_bytes: int, budget_bytes: int) -> None:
        agent, log = self.agent, self.setting.log
        before = agent.resident_bytes
        agent.set_budget(budget_bytes, self._reporting.wanted(budget_bytes))
        self._forced = self._forced or agent.resident_bytes < before
        self._changed_ns = now = self.setting.env.now  # type: ignore[assignment]
        self._order = order = self._order + 1
        log.budget(
            now,
            log.clock(),
            self.number,
            order,
            free_bytes,
            budget_bytes,
            before,
            agent.resident_bytes,
            self._pressure,
        )
        self.observe()
        if not self.online:
            return
        if agent.shared and agent.model and agent.resident_bytes <= budget_bytes and not agent.missing():
            return  # nobody needs to know: the broker answers by itself when more is wanted
        if self._plain or not agent.reported:
            self.report(Cause.CHANGE)
        else:
            self._consider()

    def _consider(self) -> None:
        """Report now, later or not at all, as the rules say."""
        agent, env = self.agent, self.setting.env
        self._plan += 1
        now: int = env.now  # type: ignore[assignment]
        due_ns = due(
            self._reporting,
            self._told,
            budget_bytes=agent.budget_bytes,
            resident_bytes=agent.resident_bytes,
            now_ns=now,
            forced=self._forced,
        )
        if due_ns is None:
            return
        if due_ns <= now:
            self.report(Cause.CHANGE)
        else:
            env.timeout(due_ns - now, self._plan).callbacks.append(self._when_due)

    def _when_due(self, event: simpy.Event) -> None:
        if event.value == self._plan and self.online:
            self.report(Cause.CHANGE)

    def _when_offered(self, event: simpy.Event) -> None:
        # Somebody who has reported meanwhile has asked for it, or for what was offered after it.
        if self.online and event.value == self.agent.offered != self.agent.reported_model:
            self._changed_ns = self.setting.env.now  # type: ignore[assignment]  # whole nanoseconds
            self.report(Cause.MODEL)

    def _when_silent(self, event: simpy.Event) -> None:
        quiet = event.value == self.agent.seq and self.online
        if quiet and self.setting.env.now < self.setting.stop_ns:
            self.report(Cause.PERIODIC)

    def _look_up(self) -> tuple[UserQuality, int]:
        """Return the user's quality by layer, with the model version in use, and that version's place."""
        agent, qualities = self.agent, self.setting.qualities
        if self._quality is None or (agent.model, agent.user) != self._looked_up:
            self._looked_up = agent.model, agent.user
            model = agent.model or next(iter(qualities))
            self._quality = qualities[model][agent.user]
            self._version = list(qualities).index(model)
            self._full_ndcg = self._quality.full.ndcg_at_10
        return self._quality, self._version


@functools.cache
def _status(online: bool, why: ConnectivityCause) -> tuple[Status, int]:
    """Return what says whether a device is connected, and its size."""
    status = Status(online=online, reason=why.name.lower().replace("_", " "))
    return status, len(encode(status))
