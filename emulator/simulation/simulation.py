"""One simulation: a fleet, or a shard of it, under one clock, from a block store to an event log."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from cloud.blocks.store import BlockStore
from cloud.service.model_versions import ModelVersions
from cloud.service.responder import notice_of
from devices.event_log import FleetLog
from devices.mqtt.gateway import Gateway
from devices.protocol.agent import Agent
from devices.protocol.block_prefix import BlockCache, BlockPrefix
from devices.recommender.quality import UserQuality
from devices.simulated.clock import Clock
from devices.simulated.cloud_model import QueueingCloud, UnlimitedCloud
from devices.simulated.context import SimulationContext
from devices.simulated.device import Device
from devices.simulated.exchange import CloudModel, DeviceConnections, Publisher, Transport
from devices.simulated.fleet_config import TraceSeries
from devices.simulated.recorded import RecordedDevice, cloud_as_recorded
from devices.simulated.rollout import RolloutRun, offer_versions
from devices.simulated.roster import DeviceSpec
from devices.simulated.start import start_device
from devices.simulated.visit_process import VisitContext
from devices.timeline.faults import CloudFault, FaultWindow
from devices.timeline.timeline import Timeline
from emulator.metrics.device_table import DeviceTable, build_device_table
from emulator.metrics.timeline import RunTimeline
from emulator.run_directory.event_log import EventLogWriter
from emulator.simulation.abort_monitor import AbortedError, AbortMonitor, end_at
from emulator.simulation.clocks import BarrierTransport, Cell, InMemoryTransport, run_lockstep, run_virtual
from emulator.simulation.cloud_setup import make_responder, plan_rollout
from emulator.simulation.evaluation import full_prefixes, qualities_by_user
from emulator.simulation.garbage_collection import fewer_gc_runs
from emulator.simulation.job import Job, fleet_config
from emulator.simulation.kernel_run import make_kernel
from emulator.simulation.live_hooks import NOT_WATCHED, LiveHooks, status_updates
from emulator.simulation.whole_table import make_visit_context
from scenarios.language.scenario import Scenario
from scenarios.language.thresholds import rules_of
from wire.errors import NoAnswerError
from wire.mqtt.connection import Connection
from wire.no_answer import no_answer_text
from wire.random_streams import stream
from wire.units import NS_PER_S

if TYPE_CHECKING:
    from devices.kernel.engine import Kernel

CELLS = 16
"""Number of environments in lockstep: several can have reports in flight at once, one alone often cannot."""
VIRTUAL_CELL = 256
"""Number of devices per environment under the virtual clock."""
NOTICE_TIMEOUT_S = 60.0
LAST_RETRIES, LAST_ANSWERS_S = 3, 10.0
"""A fleet in real time waits for its last answers for this number of retries, and at least for this time of
the wall clock."""


@dataclass(frozen=True)
class Incarnation:
    """One start of a shard process; another follows when the process has died and is restarted."""

    since_ns: int = 0
    """Its start in simulated time; above 0 after a restart."""
    first_seq: int = 0
    """Reports have numbers above this one, and so above those of earlier incarnations."""


FIRST_INCARNATION = Incarnation()


@dataclass(frozen=True)
class Outcome:
    """The outcome of a simulation, beside its event log."""

    wall_seconds: float
    reports_sent_again: int | None
    """Reports without an answer in wall-clock time that were sent again; None without a broker."""
    aborted_ns: int | None = None
    """Time at which a threshold ended the run; None: no threshold did."""
    realtime: Mapping[str, object] | None = None
    """Measurements of a run in real time, for the summary; None under other clocks."""
    unfinished_ns: int | None = None
    """Time that a killed or interrupted run had reached; None: the run ended."""


class Simulation:
    """A fleet that is ready to run.

    Args:
        job: the inputs.
        progress: receives the simulated time in nanoseconds.
    """

    def __init__(self, job: Job, progress: Callable[[int], None]) -> None:
        self.versions = ModelVersions([make_responder(job.scenario, store) for store in job.stores])
        self.log = FleetLog()
        self.job = job
        self._progress = progress
        self._block_cache = BlockCache()
        if job.scenario.updates.delivery == "shared":
            for responder in self.versions.all:
                responder.check_layers_fit()
        self.qualities: dict[str, dict[int, UserQuality]] = {}
        self.prefixes: dict[str, dict[int, BlockPrefix]] = {}
        for store in job.stores:
            self._prepare(store)
        self._fleet_config = fleet_config(job.scenario, job.fleet)

    @cached_property
    def writer(self) -> EventLogWriter:
        """Writes the draft of the event log; a simulation by ranges of devices has none."""
        return EventLogWriter(self.job.folder, keep=self.job.scenario.can_abort)

    @property
    def timeline(self) -> Timeline:
        """Stages, actions and faults."""
        return self._fleet_config.timeline

    def drain(self) -> dict[str, NDArray[Any]]:
        """Return the rows logged since the last call, by table, and forget them."""
        return {name: table.drain() for name, table in self.log.tables.items()}

    def _prepare(self, store: BlockStore) -> None:
        """Announce a model version, and look up its quality for the fleet's users."""
        self._block_cache.announce(notice_of(store))
        self.qualities[store.version] = qualities_by_user(store, self.job.quality_of(store))
        self.prefixes[store.version] = full = full_prefixes(store)
        for number, prefix in full.items():
            # Received blocks are compared with these: the quality of a layer is then that of the blocks held.
            self._block_cache.preload(store.version, number, prefix)

    def run_virtual(self, live: LiveHooks = NOT_WATCHED) -> Outcome:
        """Run in memory, all devices together: they share something; *live* are hooks of those who watch."""
        started = time.monotonic()
        aborted_ns, after_turn = None, self._after_turn_of(live)
        with fewer_gc_runs(), self.keep_log_on_error():
            clock = Clock()
            try:
                self.start_devices(clock, InMemoryTransport(self.versions), self.job.devices)
                run_virtual([clock], after_turn, live.pause)
            except AbortedError as aborted:
                aborted_ns = aborted.t_ns
            return self._finish(started, None, aborted_ns)

    @cached_property
    def visit_context(self) -> VisitContext | None:
        """The shared part of the visits of users; None where they meet nothing."""
        job = self.job
        return None if job.visits is None else make_visit_context(job, self.prefixes)

    @cached_property
    def kernel(self) -> "Kernel":
        """The compiled kernel for the fleet."""
        version = self.job.store.version
        return make_kernel(self.job, self._fleet_config, self.prefixes[version], self.qualities[version])

    def simulate_in_simpy(self, devices: Sequence[DeviceSpec]) -> FleetLog:
        """Return the log of some devices; all their messages are decoded."""
        log, clock = FleetLog(), Clock()
        self.start_devices(clock, InMemoryTransport(self.versions, decode_every=1), devices, log=log)
        run_virtual([clock], lambda _: None)
        return log

    @contextmanager
    def keep_log_on_error(self) -> Iterator[None]:
        """Write the rows in memory if the run fails or is interrupted; an error while writing is ignored."""
        try:
            yield
        except BaseException:
            with suppress(Exception):
                self.writer.abandon(self.log)
            raise

    @property
    def cloud_windows(self) -> Sequence[FaultWindow[CloudFault]]:
        """Times at which faults stop or slow the cloud."""
        return self._fleet_config.timeline.cloud_windows

    async def run_lockstep(
        self,
        connection: Connection,
        check: Callable[[], None],
        live: LiveHooks = NOT_WATCHED,
    ) -> Outcome:
        """Run through a broker.

        Args:
            connection: the broker, as the fleet.
            check: raises if the broker or the cloud has died for good.
            live: hooks of those who watch.
        """
        gateway = Gateway(connection, self.job.fleet)
        with self.keep_log_on_error():
            return await self._run_through(gateway, check, live)

    async def _run_through(self, gateway: Gateway, check: Callable[[], None], live: LiveHooks) -> Outcome:
        async with gateway.running():
            await self.wait_for_model(gateway, check)
            cells = []
            count = 1 if self.job.scenario.shared else CELLS
            for number in range(count):
                clock, barriers = Clock(), BarrierTransport(gateway)
                self.start_devices(clock, barriers, self.job.devices[number::count], publisher=gateway)
                cells.append(Cell(clock, barriers))
            started, aborted_ns = time.monotonic(), None
            after_turn = self._after_turn_of(live)
            with fewer_gc_runs():
                try:
                    await run_lockstep(cells, gateway, after_turn, check, live.pause)
                except AbortedError as aborted:
                    aborted_ns = aborted.t_ns
            outcome = self._finish(started, gateway.counts["sent_again"], aborted_ns)
            await gateway.announce_offline([device.name for device in self.job.devices], 10.0)
        return outcome

    async def wait_for_model(self, gateway: Gateway, check: Callable[[], None]) -> None:
        """Wait until the cloud announces the model of this run.

        Raises:
            NoAnswerError: it does not within `NOTICE_TIMEOUT_S`.
        """
        ours, deadline = self.versions.first.notice(), time.monotonic() + NOTICE_TIMEOUT_S
        while gateway.model != ours:
            gateway.check()
            check()
            if time.monotonic() > deadline:
                announced = f"model {gateway.model.version}" if gateway.model else "none"
                raise NoAnswerError(
                    f"the cloud must announce model {ours.version} to fleet {self.job.fleet} within "
                    f"{NOTICE_TIMEOUT_S:g} s; {no_answer_text(f'it announced {announced}', *gateway.notes())}"
                )
            await asyncio.sleep(0.02)

    def start_devices(
        self,
        clock: Clock,
        transport: Transport,
        devices: Sequence[DeviceSpec],
        *,
        publisher: Publisher | None = None,
        connections: DeviceConnections | None = None,
        cloud: CloudModel | None = None,
        incarnation: Incarnation = FIRST_INCARNATION,
        log: FleetLog | None = None,
    ) -> list[Device]:
        """Start *devices*.

        Args:
            clock: the clock of the environment.
            transport: carries their reports.
            devices: the devices.
            publisher: carries their other messages, if other clients can receive them.
            connections: their connections, if each has its own.
            cloud: the real cloud, if there is one.
            incarnation: of their process.
            log: receives their events; None: that of the simulation.
        """
        scenario, timeline, replay = self.job.scenario, self._fleet_config.timeline, self.job.replay
        if scenario.can_abort:
            self._abort_monitor().start(clock)
        if replay is not None and replay.stopped_ns is not None:
            end_at(clock, replay.stopped_ns)
        recorded = {spec.number: replay.recorded_device(spec, scenario) for spec in devices} if replay else {}
        rollout = self._rollout(clock)
        context = SimulationContext(
            clock=clock,
            transport=transport,
            publisher=publisher,
            connections=connections,
            log=self.log if log is None else log,
            cloud=cloud or self._cloud_model(clock, recorded),
            relay=cloud or cloud_as_recorded(clock, recorded, UnlimitedCloud(0), in_turn=False),
            fleet=self.job.fleet,
            stop_ns=int(scenario.stop_time),
            retry_ns=int(scenario.updates.retry_after),
            last_retry_ns=math.inf if cloud is None else last_retry_ns(scenario),
            full_bytes=self.versions.full_bytes,
            first_bytes=self.versions.first_bytes,
            qualities=self.qualities,
            outages=timeline.outages,
            always_full=scenario.updates.encoding == "full",
            supersede=scenario.updates.supersede,
            visits=self.visit_context,
            on_applied=rollout.on_applied if rollout else None,
        )
        started = []
        for spec in devices:
            device = self._start_device(spec, context, incarnation, recorded.get(spec.number))
            if rollout is not None:
                rollout.join(device)
            started.append(device)
        return started

    def _start_device(
        self, spec: DeviceSpec, context: SimulationContext, life: Incarnation, record: RecordedDevice | None
    ) -> Device:
        """Start a device, which is offered each version of retraining at its time."""
        agent, traces = self._make_agent(spec, life), self._traces(spec)
        device = start_device(spec, context, self._fleet_config, agent, traces, record, life.since_ns)
        if self.job.trained_ns:
            context.clock.process(offer_versions(context.clock, device, self.job.trained_ns))
        return device

    def _make_agent(self, spec: DeviceSpec, incarnation: Incarnation) -> Agent:
        updates, retrain = self.job.scenario.updates, self.job.scenario.retrain
        return Agent(
            spec.user,
            self._block_cache,
            local_eviction=updates.local_eviction,
            shared=updates.delivery == "shared",
            seq=incarnation.first_seq,
            deltas=retrain is not None and retrain.deltas,
        )

    def _abort_monitor(self) -> AbortMonitor:
        """Return the monitor of the rules that can end the run; all devices are in one environment then."""
        job, scenario = self.job, self.job.scenario
        table = DeviceTable.read(
            build_device_table(job.devices, job.store, self._fleet_config.timeline, job.scenario.sample)
        )
        rules = rules_of(scenario.thresholds)
        return AbortMonitor(
            rules, table, RunTimeline.from_scenario(scenario), lambda: self.writer.snapshot(self.log)
        )

    def _traces(self, spec: DeviceSpec) -> TraceSeries:
        traces, name = self.job.traces, spec.group.name
        return TraceSeries(traces.memory.get(name, ()), traces.availability.get(name, ()))

    def _rollout(self, clock: Clock) -> RolloutRun | None:
        scenario = self.job.scenario
        if scenario.rollout is None or not self.job.later:
            return None
        (newer,) = self.job.later
        names = [device.name for device in self.job.devices]
        start_ns = self._fleet_config.timeline.moment(scenario.rollout.at)
        run = RolloutRun(
            clock, plan_rollout(scenario.rollout, newer.version, names, start_ns), int(scenario.stop_time)
        )
        clock.process(run.run())
        return run

    def _cloud_model(self, clock: Clock, recorded: Mapping[int, RecordedDevice]) -> CloudModel:
        """Return the simulated cloud, which decides how long an answer takes."""
        scenario, windows = self.job.scenario, self._fleet_config.timeline.cloud_windows
        cloud: CloudModel
        settings = scenario.cloud.of_sample(scenario.sample)
        if settings.workers is None:
            cloud = UnlimitedCloud(int(settings.service_time), windows)
        else:
            cloud = QueueingCloud(clock, settings, stream(scenario.seed, "cloud"), windows)
        return cloud_as_recorded(clock, recorded, cloud, in_turn=scenario.cloud.workers is not None)

    def _after_turn_of(self, live: LiveHooks) -> Callable[[int], None]:
        """Return the callback after a turn, with that of those who watch."""
        if live.on_status is None:
            return self._after_turn
        report = status_updates(self.job, self.writer, self.log, live.on_status)

        def after_turn(now_ns: int) -> None:
            self._after_turn(now_ns)
            report(now_ns)

        return after_turn

    def _after_turn(self, now_ns: int) -> None:
        self.writer.flush(self.log)
        self._progress(now_ns)

    def _finish(self, started: float, reports_sent_again: int | None, aborted_ns: int | None) -> Outcome:
        wall_seconds = time.monotonic() - started
        self.writer.close(self.log)
        return Outcome(wall_seconds, reports_sent_again, aborted_ns)


def last_retry_ns(scenario: Scenario) -> int:
    """Return the simulated time at which devices of a fleet in real time stop to retry.

    A broker may lose messages that it has confirmed. A device that has retried for so long after the end of
    the scenario will get no answer.
    """
    patience_ns = int(LAST_ANSWERS_S * scenario.realtime.speed * NS_PER_S)
    return int(scenario.stop_time) + max(LAST_RETRIES * int(scenario.updates.retry_after), patience_ns)
