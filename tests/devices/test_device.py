"""A virtual device in simulated time: the whole log of small lives."""

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
import simpy

from cloud.responder import Responder
from cloud.versions import Versions
from devices.agent import Agent
from devices.capacity import Unlimited
from devices.delivery import MAX_REJECTIONS
from devices.device import Device
from devices.exchange import Exchange
from devices.link import OWN, Direction, Fate, Link
from devices.log import Cause, FleetLog, Result
from devices.node import Node
from devices.quality import Truth, user_qualities
from devices.reporting import Publish, Reporting
from devices.setting import Setting
from devices.shelf import Shelf, Shelves
from tests.worlds import a_store
from wire.errors import RunError
from wire.metrics import ItemLists
from wire.topics import Kind
from wire.units import NS_PER_S, BitsPerSecond, Duration, Share

STORE = a_store(items=60)
S = NS_PER_S
END = Direction(latency=Duration(S), bandwidth=BitsPerSecond(8_000_000_000))  # 1 s, and 1 ns a byte


class Transport:
    """Answers in memory; damages the first so many answers."""

    listening = False

    def __init__(self, damaged: int = 0) -> None:
        self.versions = Versions([Responder(STORE)])
        self.damaged = damaged

    def send_report(self, exchange: Exchange) -> None:
        *ahead, last = self.versions.answer(exchange.report)
        if self.damaged:
            self.damaged -= 1
            last = last[:-1] + bytes([last[-1] ^ 1])
        exchange.parts = (*ahead, last)

    def send_damaged(self, device: str, payload: bytes) -> None:
        raise AssertionError("no report is damaged")

    def publish(self, device: str, kind: Kind, message: msgspec.Struct) -> None:
        raise AssertionError("nobody is listening")


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
    **settings: Any,  # Any: whatever `Setting` takes
) -> tuple[Device, FleetLog]:
    """Run one device of user 0 whose budget is its free memory; waits in seconds."""
    env, log, shelves = simpy.Environment(), FleetLog(clock=lambda: 0.0), Shelves()
    shelves.announce(transport.versions.first.notice())
    shelf = Shelf(STORE.geometry, STORE.groups[0].layers)
    shelf.fill(STORE.groups[0].blocks)
    nobody = ItemLists.of_pairs(np.array([0]), np.array([3]), STORE.users)
    qualities = user_qualities(
        {0: shelf}, np.array([0]), STORE.user_groups, STORE.user_vectors, Truth(nobody, nobody)
    )
    setting = Setting(
        env=env,
        transport=transport,
        log=log,
        capacity=Unlimited(S),
        stop_ns=3600 * S,
        retry_ns=30 * S,
        full_bytes=transport.versions.full_bytes,
        qualities={STORE.version: qualities},
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
    )
    env.process(device.live())
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
