"""The rollout of a fleet, as one of the services of its cloud follows it, goes on with it and passes it on.

All services do the same and need not agree beforehand: each joins what it hears with what it knows, and
publishes the result where the broker has another. The broker keeps orders and notice; a service that starts
reads them.
"""

import asyncio
import contextlib
import logging
import time
from pathlib import Path
from typing import Final

import msgspec

from cloud.service.announcement import Announcement
from cloud.service.model_versions import ModelVersions
from cloud.service.responder import Responder
from cloud.service.rollout_orders import UNDER_WAY
from cloud.service.rollout_progress import FleetProgress, RolloutFigures, next_step
from wire.errors import InputError, RemoteProtocolError
from wire.input_files import read_at_most
from wire.messages import (
    MAX_JSON_BYTES,
    MAX_NAMED_MODELS,
    CloudStatus,
    RolloutNotice,
    RolloutState,
    Status,
    decode,
    encode,
)
from wire.mqtt.client import Client, Message, SubscriptionRefusedError, subscribe
from wire.mqtt.retained import QUIET_S
from wire.output_files import write_atomically
from wire.rollout import join_rollouts
from wire.topics import MessageKind, fleet_topic, parse, subscription

LOG = logging.getLogger("peelfleet.cloud")

FIRST_READ_S: Final = 0.2
"""Longest wait for the rollout that the broker keeps, before the model is announced."""
STEP_EVERY_S: Final = 1.0


class RolloutKeeper:
    """The rollout of a fleet, as far as one service knows it.

    Args:
        versions: the models that the service serves.
        announcement: publishes for the service.
        fleet: the fleet's name in topics.
        state: a file of the last notice, for the case that broker and services are killed together.
    """

    def __init__(
        self, versions: ModelVersions, announcement: Announcement, fleet: str, state: Path | None = None
    ) -> None:
        self._versions = versions
        self._announcement = announcement
        self._state = state
        self._topic = fleet_topic(MessageKind.ROLLOUT, fleet)
        self._order_topic = fleet_topic(MessageKind.ORDER, fleet)
        self._statuses = subscription(MessageKind.STATUS, fleet)
        self._cloud_statuses = subscription(MessageKind.CLOUD, fleet)
        self._at_broker: RolloutNotice | None = None
        self._clouds: dict[str, CloudStatus] = {}
        self._hears_devices = self._has_other_versions = False
        self._last_retained_s = 0.0
        self._complaint = ""
        self._wake = asyncio.Event()
        self.progress: FleetProgress | None = None
        """The devices that take part, while a rollout is under way."""
        self.current = _read(state) if state is not None else None
        """The rollout, as far as it is known; None: there was none."""

    @property
    def fleet_version(self) -> str:
        """The version of all devices that the rollout leaves; empty: it says none that is served."""
        current = self.current
        if current is None:
            return ""
        version = current.version if current.state is RolloutState.COMPLETE else current.previous
        return version if version in self._versions else ""

    def figures(self) -> RolloutFigures | None:
        """Return the rollout in numbers; another thread may call it."""
        if (current := self.current) is None:
            return None
        progress = self.progress
        return RolloutFigures(current, [] if progress is None else progress.of_groups(current, _now_ms()))

    async def read(self, client: Client) -> None:
        """Learn of the rollout that the broker keeps, before the service announces its model."""
        self._at_broker, self._hears_devices = None, False
        self._clouds.clear()
        try:
            for topic in (self._topic, self._order_topic):
                await subscribe(client, topic, 0)  # not behind the reports that wait for this service
        except SubscriptionRefusedError:  # a broker whose rules are older
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FIRST_READ_S):
                while self._at_broker is None:  # an order alone does not say how far it has led
                    self._wake.clear()
                    await self._wake.wait()
        if self.fleet_version:
            self._versions.choose_first(self.fleet_version)

    async def run(self, client: Client) -> None:
        """Follow the rollout, and say which versions are served, until the connection ends."""
        try:
            for topic in (self._topic, self._order_topic, self._cloud_statuses):
                await subscribe(client, topic, 1)
        except SubscriptionRefusedError as error:
            LOG.warning("there can be no rollouts: %s", error)
        while True:
            self._wake.clear()
            if self._has_other_versions:
                self._has_other_versions = False
                await self._announcement.publish_versions(client)
                LOG.info("serving model %s", ", ".join(self._versions.names))
            await self._go_on(client)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STEP_EVERY_S):
                    await self._wake.wait()

    def add_version(self, responder: Responder) -> None:
        """Serve one more model version from now on."""
        self._versions.add(responder)
        self._has_other_versions = True
        self._wake.set()

    def remove_version(self, version: str) -> bool:
        """Serve *version* no more; return False where it is not served, or is that of all devices."""
        is_gone = self._versions.remove(version)
        self._has_other_versions = True
        self._wake.set()
        return is_gone

    def handle(self, message: Message) -> bool:
        """Handle a message about the rollout; return False for another one."""
        topic = message.topic.value
        if topic not in (self._topic, self._order_topic) and not topic.endswith("/status"):
            return False
        try:
            if topic.endswith("/status"):
                self._on_status(topic, message)
            else:
                self._on_notice(topic, message)
        except RemoteProtocolError as error:
            LOG.warning("a message on %s is not read: %s", topic, error)
        return True

    def _on_notice(self, topic: str, message: Message) -> None:
        if topic == self._topic:
            self._at_broker = None  # so that a notice of somebody else is replaced with the next step
            payload = self._announcement.check_rollout(message.payload) if message.payload else b""
            notice = self._at_broker = decode(payload, RolloutNotice) if payload else None
        else:
            notice = decode(message.payload, RolloutNotice) if message.payload else None
            if notice is not None:  # an order says what is to happen, never how blocks are cut
                notice = msgspec.structs.replace(notice, notice=None)
        if notice is not None:
            self._set(notice if self.current is None else join_rollouts(self.current, notice))
        self._wake.set()

    def _on_status(self, topic: str, message: Message) -> None:
        address, payload = parse(topic), message.payload
        if address.replica is not None:
            self._clouds.pop(address.replica, None)
            if payload and (status := decode(payload, CloudStatus)).online:
                self._clouds[address.replica] = status
        elif address.device is not None and self.progress is not None:
            if message.retain:
                self._last_retained_s = time.monotonic()
            device = decode(payload, Status) if payload else None
            self.progress.on_status(address.device, device, _now_ms())

    async def _go_on(self, client: Client) -> None:
        """Take the next step, if there is one, and say what the broker does not know."""
        await self._hear_devices(client)
        if self.current is not None:
            self._set(self._stepped(self.current))
        current = self.current
        if current is None:
            return
        if current != self._at_broker:
            await self._announcement.publish_rollout(client, current)
            self._at_broker = current
        version = self.fleet_version
        if version and version != self._versions.first.store.version:
            LOG.info("the fleet's model is %s now", version, extra={"models": [version]})
            await self._announcement.announce(client, version)

    async def _hear_devices(self, client: Client) -> None:
        """Hear what devices hold while a rollout is under way, and only then: a fleet says much."""
        current = self.current
        if current is None or current.state not in UNDER_WAY:
            if self._hears_devices:
                await client.unsubscribe(self._statuses)
            self._hears_devices, self.progress = False, None
            return
        known = self.progress
        if known is None or (known.version, known.groups) != (current.version, current.groups):
            self.progress = FleetProgress(current.version, current.groups)
            self._hears_devices = False
        if not self._hears_devices:
            self._last_retained_s = time.monotonic()
            self._hears_devices = True
            await subscribe(client, self._statuses, 1)

    def _stepped(self, current: RolloutNotice) -> RolloutNotice:
        """Return the rollout after the next step, if there is one now."""
        version = current.version
        if current.state is not RolloutState.RUNNING or self.progress is None:
            return current
        if lacking := self._lacking(version):
            self._complain(f"the rollout of {version} waits: {lacking}")
            return current
        if current.notice is None:
            current = msgspec.structs.replace(current, notice=self._versions.notice(version))
            if (size := len(self._announcement.rollout_payload(current))) > MAX_JSON_BYTES:
                self._complain(f"the rollout of {version} needs a notice of {size} of {MAX_JSON_BYTES} bytes")
                return msgspec.structs.replace(current, notice=None)
        if time.monotonic() - self._last_retained_s < QUIET_S:
            return current  # what the broker keeps of devices is still arriving
        return next_step(current, self.progress, _now_ms())

    def _lacking(self, version: str) -> str:
        """Say which service does not serve *version*; nothing if all do."""
        if version not in self._versions:
            return "this service has no store of it"
        for name, status in self._clouds.items():
            if version not in status.models and len(status.models) < MAX_NAMED_MODELS:
                return f"service {name} has no store of it"
        return ""

    def _complain(self, words: str) -> None:
        if words != self._complaint:
            LOG.warning("%s", words)
        self._complaint = words

    def _set(self, notice: RolloutNotice) -> None:
        """Take *notice* for what is known; log and keep what is new."""
        before, self.current = self.current, notice
        if notice == before:
            return
        if self._state is not None:
            try:
                write_atomically(self._state, encode(notice))
            except (OSError, InputError) as error:
                self._complain(f"the rollout is not kept: {error}")
        is_same = before is not None and before.rollout == notice.rollout
        if not is_same or before is None or (before.state, before.started) != (notice.state, notice.started):
            LOG.info(
                "rollout of model %s: %s, %d of %d groups started%s",
                notice.version, notice.state.value.replace("_", " "), notice.started, notice.groups,
                f": {notice.reason}" if notice.reason else "",
                extra={
                    "rollout": notice.rollout, "order": notice.order, "state": notice.state.value,
                    "started": notice.started, "models": [notice.version],
                },
            )  # fmt: skip


def _read(path: Path) -> RolloutNotice | None:
    """Return the notice in a file; None where there is none, or it is damaged."""
    try:
        return decode(read_at_most(path, MAX_JSON_BYTES), RolloutNotice)
    except (OSError, InputError, RemoteProtocolError):
        return None


def _now_ms() -> int:
    return int(time.time() * 1000)
