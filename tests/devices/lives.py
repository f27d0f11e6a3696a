"""Lives of one virtual device, in memory, with whatever weather."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import simpy

from cloud.blocks.store import BlockStore
from cloud.service.model_versions import ModelVersions
from cloud.service.responder import Responder
from devices.event_log import Cause, FleetLog, Result
from devices.protocol.agent import Agent
from devices.protocol.block_prefix import Shelf, Shelves
from devices.protocol.report_policy import Reporting
from devices.recommender.quality import HeldOut, user_qualities
from devices.simulated.cloud_model import Unlimited
from devices.simulated.context import Setting
from devices.simulated.device import Device
from devices.simulated.device_class import Node
from devices.simulated.exchange import Exchange
from devices.simulated.link import Direction, Link
from devices.timeline.connectivity import ConnectivityCause, ConnectivityChange
from devices.timeline.faults import NO_FAULT, NO_IMPAIRMENT, Impairment
from tests.worlds import a_store
from wire.random_streams import stream
from wire.ranking_metrics import ItemLists
from wire.topics import MessageKind
from wire.units import NS_PER_S, BitsPerSecond, Duration

STORE = a_store(items=60)
S = NS_PER_S
LARGE = a_store(items=600)
"""Its blocks take about 300 bytes, and there are 16; with `SMALL_PARTS` each is a part of its own."""
SMALL_PARTS = 1568
END = Direction(latency=Duration(S), bandwidth=BitsPerSecond(8_000_000_000))  # 1 s, and 1 ns a byte


class Transport:
    """Answers in memory; damages the first so many answers."""

    listening = sessions = False

    def __init__(self, damaged: int = 0, store: BlockStore = STORE, max_payload: int = 2**17) -> None:
        self.versions = ModelVersions([Responder(store, max_payload)])
        self.store = store
        self.damaged = damaged

    def connect(self, device: str) -> None:
        raise AssertionError("nobody has a session")

    def disconnect(self, device: str) -> None:
        raise AssertionError("nobody has a session")

    def send_report(self, exchange: Exchange) -> None:
        *ahead, last = self.versions.answer(exchange.report)
        if self.damaged:
            self.damaged -= 1
            last = last[:-1] + bytes([last[-1] ^ 1])
        exchange.parts = (*ahead, last)

    def subscribe(self, exchange: Exchange) -> None:
        raise AssertionError("nobody shares topics")

    def send_damaged(self, device: str, payload: bytes) -> None:
        raise AssertionError("no report is damaged")

    def publish(self, device: str, kind: MessageKind, message: msgspec.Struct) -> None:
        raise AssertionError("nobody is listening")


class Weathered(Link):
    """Does to one message after the other what it is told to; delays them by so many seconds."""

    def __init__(
        self, impairments: Sequence[Impairment] = (), delays: Sequence[int] = (), rate: int = 8 * 10**9
    ) -> None:
        direction = Direction(latency=Duration(S), bandwidth=BitsPerSecond(rate))
        super().__init__(direction, None, weather=stream(1, "weather"))
        self.calm = not impairments
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
        self.calm = False
        self.losses = iter(losses)

    def draw_impairment(self, t_ns: int) -> Impairment:
        return Impairment(lost=NO_FAULT if next(self.losses, False) else None)


def live(
    changes: list[tuple[int, int]],
    transport: Transport,
    uplink: Link | None = None,
    downlink: Link | None = None,
    reporting: Reporting = Reporting(),  # noqa: B008 - frozen
    toggles: Sequence[tuple[int, bool]] | None = None,
    node: Node = Node(),  # noqa: B008
    **settings: Any,  # Any: whatever `Setting` takes
) -> tuple[Device, FleetLog]:
    """Run one device of user 0 whose budget is its free memory; waits and toggles in seconds."""
    env, log, shelves = simpy.Environment(), FleetLog(clock=lambda: 0.0), Shelves()
    shelves.announce(transport.versions.first.notice())
    store = transport.store
    shelf = Shelf(store.geometry, store.groups[0].layers)
    shelf.fill(store.groups[0].blocks)
    nobody = ItemLists.of_pairs(np.array([0]), np.array([3]), store.users)
    qualities = user_qualities(
        {0: shelf}, np.array([0]), store.user_groups, store.user_vectors, HeldOut(nobody, nobody)
    )
    setting = Setting(
        env=env,
        transport=transport,
        log=log,
        capacity=Unlimited(S),
        relay=Unlimited(0),
        fleet="f",
        stop_ns=3600 * S,
        retry_ns=30 * S,
        full_bytes=transport.versions.full_bytes,
        qualities={store.version: qualities},
        **settings,
    )
    device = Device(
        setting,
        number=0,
        name="device-00000",
        agent=Agent(0, shelves),
        course=((wait * S, free, free) for wait, free in changes),
        node=node,
        reporting=reporting,
        uplink=uplink or Link(END, None),
        downlink=downlink or Link(END, None),
        address_bytes=20,
        start_ns=0,
        always_on=toggles is None,
    )
    env.process(device.live())
    if toggles is not None:
        env.process(
            device.follow(
                ConnectivityChange(t * S, online, ConnectivityCause.ACTION) for t, online in toggles
            )
        )
    env.run()
    return device, log


def updates(log: FleetLog) -> Iterator[tuple[int, str, str, int]]:
    """Yield (second, cause, result, blocks held) of every exchange."""
    for row in log.tables["update"].take():
        yield int(row["t_ns"] // S), Cause(row["cause"]).name, Result(row["result"]).name, int(row["held"])
