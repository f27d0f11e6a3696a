"""Lives of one emulated device, in memory, with any impairments of its links."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

from cloud.blocks.store import BlockStore
from cloud.service.model_versions import ModelVersions
from cloud.service.responder import Responder, notice_of
from devices.event_log import ExchangeResult, FleetLog
from devices.protocol.agent import Agent
from devices.protocol.block_prefix import BlockCache, BlockPrefix
from devices.protocol.report_policy import ReportPolicy
from devices.protocol.report_scheduler import ReportCause, ReportScheduler
from devices.recommender.quality import HeldOut, UserQuality, user_qualities
from devices.simulated.clock import Clock
from devices.simulated.cloud_model import UnlimitedCloud
from devices.simulated.context import SimulationContext
from devices.simulated.device import CONNECTIVITY, MEMORY, Device
from devices.simulated.device_class import DeviceClass
from devices.simulated.exchange import Exchange
from devices.simulated.link import Direction, Link
from devices.timeline.connectivity import ConnectivityCause, ConnectivityChange
from devices.timeline.faults import NO_FAULT, NO_IMPAIRMENT, Impairment
from tests.worlds import a_store
from wire.errors import RemoteProtocolError
from wire.random_streams import stream
from wire.ranking_metrics import ItemLists
from wire.units import NS_PER_S, BitsPerSecond, Duration

STORE = a_store(items=60)
S = NS_PER_S
LARGE = a_store(items=600)
"""Its blocks take about 300 bytes, and there are 16; with `SMALL_PARTS` each is a part of its own."""
SMALL_PARTS = 1568
END = Direction(latency=Duration(S), bandwidth=BitsPerSecond(8_000_000_000))  # 1 s, and 1 ns a byte


class Transport:
    """Answers in memory; damages the first so many answers."""

    def __init__(self, damaged: int = 0, store: BlockStore = STORE, max_payload: int = 2**17) -> None:
        self.versions = ModelVersions([Responder(store, max_payload)])
        self.store = store
        self.damaged = damaged

    def send_report(self, exchange: Exchange) -> None:
        *ahead, last = self.versions.answer(exchange.report.payload)
        if self.damaged:
            self.damaged -= 1
            last = last[:-1] + bytes([last[-1] ^ 1])
        exchange.parts = (*ahead, last)

    def subscribe(self, exchange: Exchange) -> None:
        exchange.parts = [self.versions.layer_part(layer) for layer in exchange.report.layers]

    def send_damaged(self, device: str, payload: bytes) -> None:
        with pytest.raises(RemoteProtocolError):
            self.versions.answer(payload)


class ScriptedLink(Link):
    """Applies the given impairments and delays, in seconds, to one message after the other."""

    def __init__(
        self, impairments: Sequence[Impairment] = (), delays: Sequence[int] = (), rate: int = 8 * 10**9
    ) -> None:
        direction = Direction(latency=Duration(S), bandwidth=BitsPerSecond(rate))
        super().__init__(direction, None, impairment_rng=stream(1, "weather"))
        self.unimpaired = not impairments
        self.impairments = iter(impairments)
        self.delays = iter(delays)

    def draw_impairment(self, t_ns: int) -> Impairment:
        return next(self.impairments, NO_IMPAIRMENT)

    def delay(self, t_ns: int) -> int:
        return next(self.delays, 1) * S


class Losing(Link):
    """Loses the messages that it is told to lose."""

    def __init__(self, losses: list[bool]) -> None:
        super().__init__(END, None)
        self.unimpaired = False
        self.losses = iter(losses)

    def draw_impairment(self, t_ns: int) -> Impairment:
        return Impairment(lost=NO_FAULT if next(self.losses, False) else None)


def live(
    changes: Sequence[tuple[float, int]],
    transport: Transport,
    uplink: Link | None = None,
    downlink: Link | None = None,
    policy: ReportPolicy = ReportPolicy(),  # noqa: B008 - frozen
    connectivity_changes: Sequence[tuple[float, bool]] | None = None,
    offers: Sequence[tuple[float, BlockStore]] = (),
    models: Sequence[BlockStore] = (),
    device_class: DeviceClass = DeviceClass(),  # noqa: B008
    **settings: Any,  # Any: whatever `SimulationContext` takes
) -> tuple[Device, FleetLog]:
    """Run one device of user 0 whose budget is its free memory; times and waits in seconds."""
    clock, log, cache = Clock(), FleetLog(clock=lambda: 0.0), BlockCache()
    models = models or [transport.store]
    for store in models:
        cache.announce(notice_of(store))
    context = SimulationContext(
        clock=clock,
        transport=transport,
        log=log,
        cloud=UnlimitedCloud(S),
        relay=UnlimitedCloud(0),
        fleet="f",
        stop_ns=3600 * S,
        retry_ns=30 * S,
        full_bytes=transport.versions.full_bytes,
        first_bytes=transport.versions.first_bytes,
        qualities={store.version: qualities_of(store) for store in models},
        **settings,
    )
    agent = Agent(0, cache)
    device = Device(
        context,
        number=0,
        name="device-00000",
        agent=agent,
        scheduler=ReportScheduler(
            agent,
            policy,
            lambda: 1.0,
            silence_ns=context.retry_ns,
            last_retry_ns=context.last_retry_ns,
            stop_ns=context.stop_ns,
        ),
        trajectory=((round(wait * S), free, free) for wait, free in changes),
        device_class=device_class,
        uplink=uplink or Link(END, None),
        downlink=downlink or Link(END, None),
        address_bytes=20,
        start_ns=0,
        always_on=connectivity_changes is None,
    )
    clock.follow(device.run(), MEMORY)
    if connectivity_changes is not None:
        changes_of_connectivity = (
            ConnectivityChange(round(t * S), online, ConnectivityCause.ACTION)
            for t, online in connectivity_changes
        )
        clock.follow(device.run_connectivity(changes_of_connectivity), CONNECTIVITY)
    for t, store in offers:
        clock.after(round(t * S), store.version, partial(device.offer_model, group=0))
    clock.run()
    return device, log


def qualities_of(store: BlockStore) -> dict[int, UserQuality]:
    """Return the quality of user 0, who has nothing to find."""
    prefixes = {
        number: BlockPrefix(store.geometry, group.layers) for number, group in enumerate(store.groups)
    }
    for number, group in enumerate(store.groups):
        prefixes[number].append(group.blocks)
    nobody = ItemLists.of_pairs(np.array([0]), np.array([3]), store.users)
    users = np.array([0])
    return user_qualities(prefixes, users, store.user_groups, store.user_vectors, HeldOut(nobody, nobody))


def updates(log: FleetLog) -> Iterator[tuple[int, str, str, int]]:
    """Yield (second, cause, result, blocks held) of every exchange."""
    for row in log.tables["update"].drain():
        yield (
            int(row["t_ns"] // S),
            ReportCause(row["cause"]).name,
            ExchangeResult(row["result"]).name,
            int(row["held"]),
        )
