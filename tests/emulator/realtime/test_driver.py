"""The driver of the wall clock, the real cloud as its devices see it, and the measurements of both."""

import asyncio
import math
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.protocol.report_scheduler import ReportCause
from devices.simulated.clock import Clock
from devices.simulated.exchange import AnswerTiming, DropReason, Exchange, SentReport
from devices.timeline.faults import CloudFault, CloudOutage, FaultWindow
from emulator.metrics.histogram import Histogram
from emulator.realtime.driver import Driver
from emulator.realtime.real_cloud import RealCloud
from emulator.realtime.wall_clock import ExternalEvents, StreamingHistogram, WallClock
from wire.errors import RunError
from wire.units import NS_PER_S, TIME_UNITS, Duration

MS = TIME_UNITS["ms"]


class Network:
    """Answers a report after so many seconds of the wall clock, or never."""

    def __init__(self, answered: Callable[[Exchange], None], delays_s: list[float | None]) -> None:
        self.published: list[int] = []
        self.given_up: list[int] = []
        self._answered = answered
        self._delays = iter(delays_s)

    def send_report(self, exchange: Exchange) -> None:
        self.published.append(exchange.report.seq)
        delay = next(self._delays)
        if delay is not None:
            asyncio.get_running_loop().call_later(delay, self._answered, exchange)

    def subscribe(self, exchange: Exchange) -> None:
        raise AssertionError("nobody shares topics")

    def give_up(self, exchange: Exchange) -> None:
        self.given_up.append(exchange.report.seq)

    def check(self) -> None:
        pass


class World:
    """One device that reports at given times and waits for the answers."""

    def __init__(
        self,
        delays_s: list[float | None],
        *,
        speed: float = 10.0,
        retry_ns: int = 400 * MS,
        windows: tuple[FaultWindow[CloudFault], ...] = (),
        max_lag_ns: int = 5 * NS_PER_S,
    ) -> None:
        self.clock, self.inlet = Clock(), ExternalEvents()
        self.outcomes: list[tuple[str, int]] = []
        self.network = Network(
            lambda exchange: self.inlet.post(lambda: self.trips.answered(exchange)), delays_s
        )
        self.trips = RealCloud(self.clock, self.network, retry_ns, MS, windows)
        self._speed, self._max_lag = speed, Duration(max_lag_ns)

    def report(self, seq: int, at_ns: int) -> "ToldExchange":
        report = SentReport(0, "d", 0, seq, b"", ReportCause.CHANGE, at_ns, at_ns, 0, 0)
        exchange = ToldExchange(report, at_ns + 50 * MS, outcomes=self.outcomes)
        self.clock.after(at_ns, exchange, self.trips.submit)
        return exchange

    def run(self, *, ends: bool = True) -> Driver:
        pace = WallClock(self._speed, time.monotonic())
        driver = Driver(self.clock, pace, self.inlet, self.trips, self.network, self._max_lag, ends)
        asyncio.run(driver.run(lambda _now, _lag: None, lambda: None))
        return driver


class ToldExchange(Exchange, kw_only=True):
    """Notes what the cloud says of it."""

    outcomes: list[tuple[str, int]]
    timing: AnswerTiming = AnswerTiming(-1, -1)

    def on_answer(self, timing: AnswerTiming) -> None:
        self.timing = timing
        self.outcomes.append(("answered", self.report.seq))

    def on_drop(self, reason: DropReason, service_start_ns: int = -1) -> None:
        self.outcomes.append((reason.name.lower(), self.report.seq))


def test_a_report_leaves_when_it_is_through_its_uplink_and_its_answer_when_it_is_there() -> None:
    world = World([0.01])
    exchange = world.report(1, 100 * MS)
    world.run()
    assert world.outcomes == [("answered", 1)]
    assert exchange.timing.service_start_ns == exchange.arrived_ns == 150 * MS
    assert (
        exchange.timing.answer_sent_ns >= exchange.timing.service_start_ns + 100 * MS
    )  # 10 ms of the wall clock, ten times as fast
    assert world.trips.round_trips.histogram().count == 1


def test_who_gets_no_answer_gives_up_and_a_late_answer_changes_nothing() -> None:
    world = World([None, 0.001, 0.2, 0.001])
    for seq in (1, 2, 3):
        world.report(seq, seq * 100 * MS)
    world.report(4, 3 * NS_PER_S)  # keeps the run going until the late answer has come
    world.run()
    assert world.network.published == [1, 2, 3, 4]
    assert world.outcomes == [("replaced", 1), ("answered", 2), ("lost", 3), ("answered", 4)]
    assert world.network.given_up == [1, 3]
    assert world.trips.round_trips.histogram().count == 2


def test_a_schedule_that_is_late_leaves_no_device_less_time_to_wait() -> None:
    world = World([0.01])  # 100 ms of the fleet's time; a device waits for 400 ms
    world.clock.after(90 * MS, None, lambda _: time.sleep(0.3))
    exchange = world.report(1, 100 * MS)
    world.run()
    assert world.outcomes == [("answered", 1)]
    assert exchange.timing.answer_sent_ns > 3 * NS_PER_S  # the delay shows in the timing


def test_an_outage_of_the_scenario_holds_reports_back() -> None:
    down = CloudOutage(at="0 s", duration=Duration(NS_PER_S))
    world = World([0.0], windows=(FaultWindow(0, NS_PER_S, 0, down),), retry_ns=10 * NS_PER_S)
    exchange = world.report(1, 0)
    world.run()
    assert exchange.timing.service_start_ns == NS_PER_S
    assert world.outcomes == [("answered", 1)]


def test_a_schedule_that_cannot_be_kept_fails_the_run() -> None:
    world = World([], max_lag_ns=50 * MS)  # the last event takes longer
    world.clock.after(10 * MS, None, lambda _: time.sleep(0.1))
    with pytest.raises(RunError, match=r"s late at 0\.010 s, more than realtime\.max_lag\(=50 ms\)"):
        world.run()


def test_a_schedule_that_may_be_late_goes_on_and_counts_how_often() -> None:
    world, seen = World([], max_lag_ns=50 * MS), list[int]()
    for at in (10, 900):
        world.clock.after(at * MS, None, lambda _: time.sleep(0.2))
    world.clock.after(1000 * MS, None, lambda _: seen.append(int(world.clock.now_ns)))
    driver = world.run(ends=False)
    assert seen == [1000 * MS]
    assert driver.late_turns >= 2


def test_events_happen_in_order_and_never_before_their_time() -> None:
    world, seen = World([]), list[tuple[int, int]]()
    started = time.monotonic()
    for at in (30, 10, 20):
        world.clock.after(
            at * MS,
            None,
            lambda _: seen.append(
                (int(world.clock.now_ns) // MS, int((time.monotonic() - started) * 10_000))
            ),
        )
    driver = world.run()
    assert [at for at, _ in seen] == [10, 20, 30]
    assert all(at <= wall for at, wall in seen)
    assert driver.lag.histogram().count >= 1


@given(st.lists(st.integers(0, 2**40), max_size=10_000).map(lambda values: values * 3))
def test_a_tally_counts_as_one_histogram_of_everything(values: list[int]) -> None:
    tally = StreamingHistogram()
    for value in values:
        tally.add(value)
    assert tally.histogram() == Histogram.from_values(np.array(values, dtype=np.int64))


@given(st.floats(0.001, 1000), st.floats(0, 1e6), st.floats(0, 1e5))
def test_simulated_time_is_the_wall_clock_times_the_speed(speed: float, start: float, since: float) -> None:
    pace = WallClock(speed, start, lambda: start + since)
    assert pace.now_ns() == pytest.approx(since * speed * 1e9, rel=1e-6, abs=1e-3 * speed * 1e9)
    assert math.isclose(pace.wall_s(NS_PER_S), 1 / speed)
