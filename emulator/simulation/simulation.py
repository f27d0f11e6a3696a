"""One simulation: a fleet, or a shard of it, under one clock, from a block store to a draft journal."""

import asyncio
import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np

from cloud.blocks.store import BlockStore
from cloud.service.model_versions import ModelVersions
from cloud.service.responder import Responder, notice_of
from cloud.service.rollout import GroupStatus, Rollout, RolloutDecision, decide, group_of
from devices.event_log import FleetLog
from devices.mqtt.gateway import Gateway
from devices.protocol.agent import Agent
from devices.protocol.block_prefix import BlockCache, BlockPrefix
from devices.recommender.quality import HeldOut, UserQuality, user_qualities
from devices.simulated.clock import Clock
from devices.simulated.cloud_model import QueueingCloud, UnlimitedCloud
from devices.simulated.context import SimulationContext
from devices.simulated.device import Device
from devices.simulated.exchange import CloudModel, DeviceConnections, Publisher, Transport
from devices.simulated.recorded import RecordedCloud, RecordedDevice
from devices.simulated.rollout import GroupDecision, RolloutPlan, RolloutRun
from devices.simulated.roster import DeviceSpec
from devices.simulated.start import TraceSeries, start_device
from devices.timeline.faults import CloudFault, FaultWindow
from emulator.metrics.device_table import DeviceTable, build_device_table
from emulator.metrics.live_status import LiveCounters, LiveStatus
from emulator.metrics.timeline import RunTimeline
from emulator.run_directory.event_log import EventLogWriter
from emulator.simulation.abort_monitor import AbortedError, AbortMonitor
from emulator.simulation.clocks import BarrierTransport, Cell, InMemoryTransport, run_lockstep, run_virtual
from emulator.simulation.job import Job, fleet_config
from scenarios.language.scenario import Scenario
from scenarios.language.thresholds import rules_of
from wire.errors import NoAnswerError
from wire.mqtt.connection import Connection
from wire.no_answer import no_answer_text
from wire.random_streams import stream
from wire.units import NS_PER_S

CELLS = 16
"""Environments side by side in lockstep: more reports are in flight than the causality of one allows."""
VIRTUAL_CELL = 256
"""Devices of one environment under the virtual clock."""
NOTICE_TIMEOUT_S = 60.0
LAST_RETRIES, LAST_ANSWERS_S = 3, 10.0
"""A fleet in real time waits for its last answers as long as so many retries take, and so long by the wall
clock."""


@dataclass(frozen=True)
class Incarnation:
    """Which life the devices of a process live."""

    since_ns: int = 0
    """When it begins in simulated time: later than 0 where the process that ran them before has died."""
    first_seq: int = 0
    """Their reports' numbers are above this: above all that was used in an earlier life."""


FIRST_INCARNATION = Incarnation()


@dataclass(frozen=True)
class Outcome:
    """What a simulation leaves beside its journal."""

    wall_seconds: float
    reports_sent_again: int | None
    """Reports that went unanswered in wall-clock time and were sent once more; None in memory."""
    aborted_ns: int | None = None
    """When a threshold ended the run early; None: none did."""
    realtime: Mapping[str, object] | None = None
    """What was measured of the real part, for the summary; None where nothing is real."""
    unfinished_ns: int | None = None
    """How far a run had come that was killed or interrupted; None: it came to its end."""


class Simulation:
    """A fleet that is ready to run.

    Args:
        job: what to simulate.
        progress: told the simulated time in nanoseconds.
    """

    def __init__(self, job: Job, progress: Callable[[int], None]) -> None:
        stores = [job.store] if job.newer is None else [job.store, job.newer]
        self.versions = ModelVersions([make_responder(job.scenario, store) for store in stores])
        self.log = FleetLog()
        self.job = job
        self.journal = EventLogWriter(job.folder, keep=job.scenario.can_abort)
        self._progress = progress
        self._done, self._share = 0.0, 1.0
        self._shelves = BlockCache()
        if job.scenario.updates.delivery == "shared":
            for responder in self.versions.all:
                responder.check_layers_fit()
        self.qualities: dict[str, dict[int, UserQuality]] = {}
        for store in stores:
            self._prepare(store)
        self._around = fleet_config(job.scenario, job.fleet)

    def _prepare(self, store: BlockStore) -> None:
        """Announce a model version, and evaluate it for the fleet's users."""
        self._shelves.announce(notice_of(store))
        full, self.qualities[store.version] = evaluate(store, self.job.truth, self.job.users)
        for number, shelf in full.items():
            # What arrives must equal what is measured, so a layer's quality is that of what is held.
            self._shelves.put(store.version, number, shelf)

    def run_virtual(self, cell: int = VIRTUAL_CELL) -> Outcome:
        """Run in memory, *cell* devices at a time; all of them where they share something."""
        cell = len(self.job.devices) if self.job.scenario.shared else cell
        started = time.monotonic()
        aborted_ns = None
        with fewer_gc_runs(), self.rescue():
            try:
                run_virtual(self._cells(InMemoryTransport(self.versions), cell), self._progressing)
            except AbortedError as aborted:
                aborted_ns = aborted.t_ns
            return self._finish(started, None, aborted_ns)

    @contextmanager
    def rescue(self) -> Iterator[None]:
        """Write what is in memory of a run that fails or is interrupted; that it cannot be is no news."""
        try:
            yield
        except BaseException:
            with suppress(Exception):
                self.journal.leave(self.log)
            raise

    @property
    def cloud_windows(self) -> Sequence[FaultWindow[CloudFault]]:
        """When the scenario has the cloud down or slow."""
        return self._around.timeline.cloud_windows

    def _cells(self, transport: Transport, size: int) -> Iterator[Clock]:
        """Give one cell after the other: small enough for the caches, in memory only while it runs."""
        devices = self.job.devices
        for at in range(0, len(devices), size):
            clock = Clock()
            self.populate(clock, transport, devices[at : at + size])
            self._done = at / len(devices)
            self._share = min(size, len(devices) - at) / len(devices)
            yield clock

    def _progressing(self, now_ns: int) -> None:
        """Count device time: cells run one after the other."""
        stop_ns = int(self.job.scenario.stop_time)
        self._after_turn(int(stop_ns * self._done + min(now_ns, stop_ns) * self._share))

    async def run_lockstep(
        self,
        connection: Connection,
        check: Callable[[], None],
        told: Callable[[LiveStatus], None] | None = None,
    ) -> Outcome:
        """Run through a broker.

        Args:
            connection: the broker, as the fleet.
            check: raises when the broker or the cloud has died for good.
            told: told once a second what the fleet is doing, if it is not None.
        """
        gateway = Gateway(connection, self.job.fleet)
        with self.rescue():
            return await self._run_through(gateway, check, told)

    async def _run_through(
        self, gateway: Gateway, check: Callable[[], None], told: Callable[[LiveStatus], None] | None
    ) -> Outcome:
        async with gateway.running():
            await self.agree(gateway, check)
            cells = []
            count = 1 if self.job.scenario.shared else CELLS
            for place in range(count):
                clock, barriers = Clock(), BarrierTransport(gateway)
                self.populate(clock, barriers, self.job.devices[place::count], publisher=gateway)
                cells.append(Cell(clock, barriers))
            started, aborted_ns = time.monotonic(), None
            after_turn = self._after_turn if told is None else self._telling(told, started)
            with fewer_gc_runs():
                try:
                    await run_lockstep(cells, gateway, after_turn, check)
                except AbortedError as aborted:
                    aborted_ns = aborted.t_ns
            outcome = self._finish(started, gateway.counts["sent_again"], aborted_ns)
            await gateway.announce_offline([each.name for each in self.job.devices], 10.0)
        return outcome

    async def agree(self, gateway: Gateway, check: Callable[[], None]) -> None:
        """Wait until the cloud announces our model."""
        ours, deadline = self.versions.first.notice(), time.monotonic() + NOTICE_TIMEOUT_S
        while gateway.model != ours:
            gateway.check()
            check()
            if time.monotonic() > deadline:
                found = f"model {gateway.model.version}" if gateway.model else "none"
                raise NoAnswerError(
                    f"the cloud must announce model {ours.version} to fleet {self.job.fleet} within "
                    f"{NOTICE_TIMEOUT_S:g} s; {no_answer_text(f'it announced {found}', *gateway.notes())}"
                )
            await asyncio.sleep(0.02)

    def populate(
        self,
        clock: Clock,
        transport: Transport,
        devices: Sequence[DeviceSpec],
        *,
        publisher: Publisher | None = None,
        connections: DeviceConnections | None = None,
        cloud: CloudModel | None = None,
        life: Incarnation = FIRST_INCARNATION,
    ) -> list[Device]:
        """Start *devices* in one environment.

        Args:
            clock: of the environment.
            transport: the way of their reports.
            devices: the devices.
            publisher: the way of their other messages, if anybody can hear them.
            connections: their connections, where each has its own.
            cloud: the real one, where there is one.
            life: their first, or one after the process that ran them has died.
        """
        scenario, timeline, replay = self.job.scenario, self._around.timeline, self.job.replay
        if scenario.can_abort:
            self._overseer().start(clock)
        recorded = {each.number: replay.of(each, scenario) for each in devices} if replay else {}
        rollout = self._rollout(clock)
        setting = SimulationContext(
            clock=clock,
            transport=transport,
            publisher=publisher,
            connections=connections,
            log=self.log,
            cloud=cloud or self._cloud_model(clock, recorded),
            relay=cloud or _as_recorded(clock, recorded, UnlimitedCloud(0), in_turn=False),
            fleet=self.job.fleet,
            stop_ns=int(scenario.stop_time),
            retry_ns=int(scenario.updates.retry_after),
            last_retry_ns=math.inf if cloud is None else last_retry_ns(scenario),
            full_bytes=self.versions.full_bytes,
            qualities=self.qualities,
            outages=timeline.outages,
            always_full=scenario.updates.encoding == "full",
            supersede=scenario.updates.supersede,
            on_applied=rollout.on_applied if rollout else None,
        )
        spawned = []
        for enrolled in devices:
            agent = Agent(
                enrolled.user,
                self._shelves,
                local_eviction=scenario.updates.local_eviction,
                shared=scenario.updates.delivery == "shared",
                seq=life.first_seq,
            )
            played, lived = self._played(enrolled), recorded.get(enrolled.number)
            device = start_device(enrolled, setting, self._around, agent, played, lived, life.since_ns)
            if rollout is not None:
                rollout.join(device)
            spawned.append(device)
        return spawned

    def _overseer(self) -> AbortMonitor:
        """Return who judges while the run goes on; all devices live in one environment then."""
        job, scenario = self.job, self.job.scenario
        members = DeviceTable.read(build_device_table(job.devices, job.store, self._around.timeline))
        rules = rules_of(scenario.thresholds)
        return AbortMonitor(
            rules, members, RunTimeline.from_scenario(scenario), lambda: self.journal.so_far(self.log)
        )

    def _played(self, enrolled: DeviceSpec) -> TraceSeries:
        recordings, name = self.job.recordings, enrolled.group.name
        return TraceSeries(recordings.memory.get(name, ()), recordings.availability.get(name, ()))

    def _rollout(self, clock: Clock) -> RolloutRun | None:
        scenario, newer = self.job.scenario, self.job.newer
        if scenario.rollout is None or newer is None:
            return None
        names = [each.name for each in self.job.devices]
        start_ns = self._around.timeline.moment(scenario.rollout.at)
        run = RolloutRun(
            clock, plan_rollout(scenario.rollout, newer.version, names, start_ns), int(scenario.stop_time)
        )
        clock.process(run.run())
        return run

    def _cloud_model(self, clock: Clock, recorded: Mapping[int, RecordedDevice]) -> CloudModel:
        """Return how long the cloud takes."""
        scenario, windows = self.job.scenario, self._around.timeline.cloud_windows
        cloud: CloudModel
        if scenario.cloud.workers is None:
            cloud = UnlimitedCloud(int(scenario.cloud.service_time), windows)
        else:
            cloud = QueueingCloud(clock, scenario.cloud, stream(scenario.seed, "cloud"), windows)
        return _as_recorded(clock, recorded, cloud, in_turn=scenario.cloud.workers is not None)

    def _telling(self, told: Callable[[LiveStatus], None], started_s: float) -> Callable[[int], None]:
        """Return what tells of the fleet once a second, beside what is done after each turn."""
        pulses = LiveCounters([each.number for each in self.job.devices])
        self.journal.tap = pulses.add_rows
        last_s, stop_ns = started_s, int(self.job.scenario.stop_time)

        def after_turn(now_ns: int) -> None:
            nonlocal last_s
            self._after_turn(now_ns)
            now_s = time.monotonic()
            if now_s - last_s >= 1.0:
                last_s = now_s
                self.journal.take(self.log, at_least=1)
                told(pulses.snapshot(min(now_ns, stop_ns), now_s - started_s, connections=1))

        return after_turn

    def _after_turn(self, now_ns: int) -> None:
        self.journal.take(self.log)
        self._progress(now_ns)

    def _finish(self, started: float, reports_sent_again: int | None, aborted_ns: int | None) -> Outcome:
        wall_seconds = time.monotonic() - started
        self.journal.close(self.log)
        return Outcome(wall_seconds, reports_sent_again, aborted_ns)


def last_retry_ns(scenario: Scenario) -> int:
    """Return when the devices of a fleet in real time cease to ask again, in simulated time.

    A broker may throw away what it has confirmed, again and again: who asks after the end of the scenario
    for so long gets no answer any more.
    """
    patience_ns = int(LAST_ANSWERS_S * scenario.realtime.speed * NS_PER_S)
    return int(scenario.stop_time) + max(LAST_RETRIES * int(scenario.updates.retry_after), patience_ns)


@contextmanager
def fewer_gc_runs() -> Iterator[None]:
    """Look for garbage seldom: a simulation drops millions of objects, hardly any of them in cycles."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def make_responder(scenario: Scenario, store: BlockStore) -> Responder:
    """Return the cloud that answers from *store* as the scenario says."""
    updates = scenario.updates
    return Responder(
        store,
        updates.max_payload,
        always_full=updates.encoding == "full",
        full_above=float(updates.full_if_delta_over),
    )


def _as_recorded(
    clock: Clock, recorded: Mapping[int, RecordedDevice], cloud: CloudModel, *, in_turn: bool
) -> CloudModel:
    """Return *cloud*, or the recorded one."""
    exchanges = {
        number: device.exchanges for number, device in recorded.items() if device.exchanges is not None
    }
    return RecordedCloud(clock, exchanges, cloud, in_turn=in_turn) if exchanges else cloud


def plan_rollout(rollout: Rollout, version: str, names: Sequence[str], start_ns: int) -> RolloutPlan:
    """Return the rollout of *version* to the devices called *names*, from *start_ns* on."""

    def decide_group(devices: int, updated: int, failed: int, since_ns: int) -> GroupDecision:
        decision = decide(rollout, GroupStatus(devices, updated, failed, since_ns))
        return GroupDecision(go_on=decision is RolloutDecision.NEXT, stop=decision is RolloutDecision.STOP)

    return RolloutPlan(
        version=version,
        start_ns=start_ns,
        timeout_ns=int(rollout.timeout),
        rollback=rollout.on_error == "rollback",
        groups={name: group_of(version, name, rollout.groups) for name in names},
        decide=decide_group,
    )


def evaluate(
    store: BlockStore, truth: HeldOut, users: Sequence[int]
) -> tuple[dict[int, BlockPrefix], dict[int, UserQuality]]:
    """Return the whole ranking of each user group, and the quality of its layers for *users*."""
    shelves = {number: BlockPrefix(store.geometry, group.layers) for number, group in enumerate(store.groups)}
    for number, group in enumerate(store.groups):
        shelves[number].fill(group.blocks)
    wanted = np.array(users, dtype=np.int64)
    return shelves, user_qualities(shelves, wanted, store.user_groups, store.user_vectors, truth)
