"""A virtual device in simulated time: the whole log of small lives."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
import simpy

from cloud.responder import Responder
from cloud.store import BlockStore
from cloud.versions import Versions
from devices.agent import Agent
from devices.capacity import Unlimited
from devices.delivery import MAX_REJECTIONS
from devices.device import Device
from devices.exchange import Exchange
from devices.faults import BrokerDown, Window
from devices.link import CALM, OWN, Direction, Fate, Link
from devices.log import Cause, FleetLog, Harm, Result
from devices.node import Node
from devices.presence import Toggle, Why
from devices.quality import Truth, user_qualities
from devices.reporting import Publish, Reporting
from devices.setting import Setting
from devices.shelf import Shelf, Shelves
from tests.worlds import a_store
from wire.errors import RunError
from wire.metrics import ItemLists
from wire.streams import stream
from wire.topics import Kind
from wire.units import NS_PER_S, BitsPerSecond, Duration, Share

STORE = a_store(items=60)
S = NS_PER_S
LARGE = a_store(items=600)
"""Its blocks take about 300 bytes, and there are 16; with `SMALL_PARTS` each is a part of its own."""
SMALL_PARTS = 1568
END = Direction(latency=Duration(S), bandwidth=BitsPerSecond(8_000_000_000))  # 1 s, and 1 ns a byte


class Transport:
    """Answers in memory; damages the first so many answers."""

    listening = False

    def __init__(self, damaged: int = 0, store: BlockStore = STORE, max_payload: int = 2**17) -> None:
        self.versions = Versions([Responder(store, max_payload)])
        self.store = store
        self.damaged = damaged

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

    def publish(self, device: str, kind: Kind, message: msgspec.Struct) -> None:
        raise AssertionError("nobody is listening")


class Weathered(Link):
    """Does to one message after the other what it is told to; delays them by so many seconds."""

    def __init__(self, fates: Sequence[Fate] = (), delays: Sequence[int] = (), rate: int = 8 * 10**9) -> None:
        direction = Direction(latency=Duration(S), bandwidth=BitsPerSecond(rate))
        super().__init__(direction, None, weather=stream(1, "weather"))
        self.calm = not fates
        self.fates = iter(fates)
        self.delays = iter(delays)

    def fate(self, t_ns: int) -> Fate:
        return next(self.fates, CALM)

    def delay(self, t_ns: int) -> int:
        return next(self.delays, 1) * S


class Losing(Link):
    """Loses the messages that it is told to lose."""

    def __init__(self, losses: list[bool]) -> None:
        super().__init__(END, None)
        self.calm = False
        self.losses = iter(losses)

    def fate(self, t_ns: int) -> Fate:
        return Fate(lost=OWN if next(self.losses, False) else None)


def live(
    changes: list[tuple[int, int]],
    transport: Transport,
    uplink: Link | None = None,
    downlink: Link | None = None,
    reporting: Reporting = Reporting(),  # noqa: B008 - frozen
    toggles: Sequence[tuple[int, bool]] | None = None,
    **settings: Any,  # Any: whatever `Setting` takes
) -> tuple[Device, FleetLog]:
    """Run one device of user 0 whose budget is its free memory; waits in seconds."""
    env, log, shelves = simpy.Environment(), FleetLog(clock=lambda: 0.0), Shelves()
    shelves.announce(transport.versions.first.notice())
    store = transport.store
    shelf = Shelf(store.geometry, store.groups[0].layers)
    shelf.fill(store.groups[0].blocks)
    nobody = ItemLists.of_pairs(np.array([0]), np.array([3]), store.users)
    qualities = user_qualities(
        {0: shelf}, np.array([0]), store.user_groups, store.user_vectors, Truth(nobody, nobody)
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
        node=Node(),
        reporting=reporting,
        uplink=uplink or Link(END, None),
        downlink=downlink or Link(END, None),
        address_bytes=20,
        start_ns=0,
        always_on=toggles is None,
    )
    env.process(device.live())
    if toggles is not None:
        env.process(device.follow(Toggle(t * S, online, Why.ACTION) for t, online in toggles))
    env.run()
    return device, log


def updates(log: FleetLog) -> Iterator[tuple[int, str, str, int]]:
    """Yield (second, cause, result, blocks held) of every exchange."""
    for row in log.tables["update"].take():
        yield int(row["t_ns"] // S), Cause(row["cause"]).name, Result(row["result"]).name, int(row["held"])


def test_a_quiet_life() -> None:
    """One second up, one of service, one down: an answer takes three and some nanoseconds."""
    _, log = live([(0, 100), (10, 900), (10, 100)], Transport())
    assert list(updates(log)) == [
        (3, "START", "APPLIED", 2),
        (13, "CHANGE", "APPLIED", 16),
        (23, "CHANGE", "CONFIRMED", 2),
    ]


def test_a_budget_that_moves_again_supersedes_the_answer_under_way() -> None:
    device, log = live([(0, 100), (10, 900), (1, 100)], Transport())
    assert list(updates(log)) == [
        (3, "START", "APPLIED", 2),
        (13, "CHANGE", "SUPERSEDED", 2),
        (14, "CHANGE", "CONFIRMED", 2),
    ]
    assert device.agent.resident_bytes <= 100


def test_a_damaged_answer_is_asked_for_again_at_once() -> None:
    _, log = live([(0, 900)], Transport(damaged=2))
    assert list(updates(log)) == [
        (3, "START", "REJECTED", 0),
        (6, "REJECTED", "REJECTED", 0),
        (9, "REJECTED", "APPLIED", 16),
    ]


def test_a_cloud_that_only_sends_damage_fails_the_run() -> None:
    with pytest.raises(
        RunError, match=f"device-00000: rejected {MAX_REJECTIONS + 1} updates, the last as checksum"
    ):
        live([(0, 900)], Transport(damaged=10**6))


def test_a_lost_report_is_repeated_after_thirty_seconds() -> None:
    _, log = live([(0, 900)], Transport(), uplink=Losing([True, True]))
    assert list(updates(log)) == [
        (30, "START", "LOST", 0),
        (60, "RETRY", "LOST", 0),
        (63, "RETRY", "APPLIED", 16),
    ]


def test_a_lost_answer_is_asked_for_again() -> None:
    """The introduction arrives, the blocks do not; the next time there is no introduction."""
    _, log = live([(0, 900)], Transport(), downlink=Losing([False, True]))
    assert list(updates(log)) == [(30, "START", "LOST", 0), (33, "RETRY", "APPLIED", 16)]


def test_blocks_whose_introduction_was_lost_are_refused_and_asked_for_again() -> None:
    _, log = live([(0, 900)], Transport(), downlink=Losing([True]))
    assert list(updates(log)) == [(3, "START", "LOST", 0), (6, "REJECTED", "APPLIED", 16)]


def test_a_lost_answer_that_nobody_wants_any_more_is_not_repeated() -> None:
    _, log = live([(0, 900), (10, 100)], Transport(), uplink=Losing([True]))
    assert list(updates(log)) == [(13, "CHANGE", "APPLIED", 2), (30, "START", "LOST", 2)]


def test_a_dip_shorter_than_the_debounce_is_not_forgotten() -> None:
    """It forces blocks out, so what was told of before is no longer held when the budget is back."""
    device, log = live([(0, 900), (10, 100), (5, 900)], Transport(), reporting=Reporting(debounce_ns=30 * S))
    assert list(updates(log)) == [(3, "START", "APPLIED", 16), (48, "CHANGE", "APPLIED", 16)]
    assert device.agent.held == 16


@pytest.mark.parametrize(
    "reporting",
    [
        Reporting(headroom=0.1, debounce_ns=30 * S),
        Reporting(hysteresis=0.5, debounce_ns=30 * S),
        Reporting(Publish(on_change=Share(0.5), min_interval=Duration(60 * S))),
        Reporting(Publish(min_interval=Duration(60 * S)), levels_per_doubling=1),
    ],
)
def test_no_rule_has_a_device_forget_what_was_forced_out(reporting: Reporting) -> None:
    device, _ = live([(0, 900), (10, 100), (5, 920)], Transport(), reporting=reporting)
    layers = STORE.groups[0].layers
    assert device.agent.held == layers.blocks[layers.best(reporting.wanted(920))]


def test_an_older_answer_that_comes_late_does_not_take_back_the_newer_one() -> None:
    """The first report takes 10 s; the answer to the second is being sent, a part a second, when it comes."""
    device, log = live(
        [(0, 0), (10, 3000), (1, 5000)],
        Transport(store=LARGE, max_payload=SMALL_PARTS),
        uplink=Weathered(delays=[1, 5, 1]),
        downlink=Weathered(rate=8 * 500),
    )
    rows = list(updates(log))
    assert [(cause, result) for _, cause, result, _ in rows] == [
        ("START", "CONFIRMED"),
        ("CHANGE", "SUPERSEDED"),
        ("CHANGE", "APPLIED"),
    ]
    layers = LARGE.groups[0].layers
    assert device.agent.held == layers.blocks[layers.best(5000)]


def test_damage_to_an_answer_that_is_not_awaited_any_more_is_let_go() -> None:
    """Of 17 parts the first four are damaged: one report, not four, and each with so many parts more."""
    damaged = Fate(corrupted=0)
    _, log = live(
        [(0, 5000)],
        Transport(store=LARGE, max_payload=SMALL_PARTS),
        downlink=Weathered([damaged] * 4),
        supersede=False,
    )
    assert [result for _, _, result, _ in updates(log)] == ["REJECTED", "APPLIED"]


def test_a_second_copy_that_a_device_has_a_use_for_is_seen_in_the_log() -> None:
    """Between the copies, some seconds apart, the budget dips: the second one brings back what was evicted."""
    _, log = live(
        [(0, 900), (8, 28), (0, 900)],
        Transport(),
        downlink=Weathered([CALM, Fate(duplicated=0)], rate=8 * 500),
        reporting=Reporting(debounce_ns=60 * S),
    )
    held = [(int(row["t_ns"]) // S, int(row["resident_bytes"])) for row in log.tables["quality"].take()]
    assert held == [(0, 0), (6, 576), (8, 0), (8, 0), (8, 576)]


def test_parts_for_a_connection_that_is_gone_do_not_take_the_link_of_the_next() -> None:
    """5 KB at 500 B/s: the answer takes 20 s, not those of the one before as well."""
    device, log = live(
        [(0, 5000)],
        Transport(store=LARGE, max_payload=SMALL_PARTS),
        downlink=Weathered(rate=8 * 500),
        toggles=[(0, True), (5, False), (6, True)],
        supersede=False,
    )
    assert [(t, result) for t, _, result, _ in updates(log)] == [(30, "LOST"), (31, "APPLIED")]
    assert device.agent.held == 16


def test_an_answer_that_meets_an_outage_of_the_broker_is_lost_to_it() -> None:
    """It leaves at 2 s, the broker is down from 2.5 s on, it would have been there at 3 s."""
    window = Window(5 * S // 2, 20 * S, 7, BrokerDown(at="0 s", duration=Duration(S)))
    _, log = live([(0, 900)], Transport(), toggles=[(0, True), (2, False), (20, True)], outages=(window,))
    faults = log.tables["fault"].take()
    assert [(Harm(row["harm"]).name, int(row["place"])) for row in faults] == [("PART_CUT_OFF", 7)]


def test_an_answer_that_follows_on_what_was_evicted_since_is_no_damage() -> None:
    """Reports wait for the debounce, so the answer to the older one still counts, and does not fit."""
    rule = Reporting(debounce_ns=4 * S)
    device, log = live([(0, 900), (10, 899), (5, 100), (1, 900)], Transport(), reporting=rule)
    assert list(updates(log)) == [
        (3, "START", "APPLIED", 16),
        (17, "CHANGE", "SUPERSEDED", 2),
        (20, "CHANGE", "APPLIED", 16),
    ]
    assert device.agent.held == 16
