"""The cloud's capacity: theory's mean waits, the newest report in its older one's place, nothing twice."""

from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.queueing import (
    make_cloud,
    make_report,
    mean_and_error,
    mean_wait_constant,
    mean_wait_exponential,
    theoretical_wait,
    waits,
)
from devices.simulated.clock import Clock
from devices.simulated.cloud_model import CloudSettings, QueueingCloud, UnlimitedCloud
from devices.simulated.exchange import AnswerTiming, DropReason, Exchange
from devices.timeline.faults import CloudFault, CloudOutage, CloudSlowdown, FaultWindow
from wire.random_streams import stream
from wire.units import Duration


class TestTheory:
    """`make bench-queueing` shows 3 % on long runs; here the error of a short one bounds it."""

    def test_one_worker_of_constant_service_waits_as_pollaczek_and_khinchine_say(self) -> None:
        for utilization in (0.1, 0.5, 0.8, 0.9):
            wait = utilization / (2 * (1 - utilization))
            assert mean_wait_constant(1, utilization) == pytest.approx(wait, rel=1e-9)

    def test_one_worker_of_exponential_service_waits_twice_as_long(self) -> None:
        for utilization in (0.1, 0.5, 0.9):
            wait = utilization / (1 - utilization)
            assert mean_wait_exponential(1, utilization) == pytest.approx(wait, rel=1e-12)

    def test_printed_values(self) -> None:
        """M/M/2 at 0.75: C = 9/14, so the wait is 9/7; a wait of M/D/2 is somewhat above half of it."""
        assert mean_wait_exponential(2, 0.75) == pytest.approx(9 / 7)
        assert 9 / 14 < mean_wait_constant(2, 0.75) < 1.06 * 9 / 14

    @pytest.mark.parametrize("distribution", ["constant", "exponential"])
    @pytest.mark.parametrize("workers", [1, 2, 4])
    @pytest.mark.parametrize(("utilization", "count"), [(0.5, 15_000), (0.8, 20_000), (0.9, 30_000)])
    def test_reports_wait_as_theory_says(
        self, distribution: str, workers: int, utilization: float, count: int
    ) -> None:
        mean, error = mean_and_error(waits(make_cloud(workers, distribution), utilization, count))
        assert error < 0.2 * mean
        assert mean == pytest.approx(theoretical_wait(distribution, workers, utilization), abs=4 * error)


@dataclass
class Desk:
    """Notes what becomes of reports: (device, report) and when."""

    answered: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    coalesced: list[tuple[int, int]] = field(default_factory=list)
    refused: list[tuple[int, int]] = field(default_factory=list)


class DeskExchange(Exchange, kw_only=True):
    desk: Desk

    @property
    def key(self) -> tuple[int, int]:
        return self.report.number, self.report.seq

    def on_answer(self, timing: AnswerTiming) -> None:
        assert self.key not in self.desk.answered
        self.desk.answered[self.key] = timing.service_start_ns, timing.answer_sent_ns

    def on_drop(self, reason: DropReason, service_start_ns: int = -1) -> None:
        (self.desk.refused if reason is DropReason.REFUSED else self.desk.coalesced).append(self.key)


def queued(
    cloud: CloudSettings,
    reports: list[tuple[int, int, int]],
    windows: tuple[FaultWindow[CloudFault], ...] = (),
) -> Desk:
    """Let (device, report, arrival) come to a cloud, and run to the end."""
    clock, desk = Clock(), Desk()
    queue = QueueingCloud(clock, cloud, stream(1, "cloud"), windows)
    for number, seq, arrived_ns in reports:
        queue.submit(make_report(DeskExchange, number, arrived_ns, seq, desk=desk))
    clock.run()
    return desk


def a_queue(
    workers: int = 1, limit: int | None = None, *, coalesce: bool = True, service: int = 10
) -> CloudSettings:
    return CloudSettings(
        workers=workers, service_time=Duration(service), queue_limit=limit, coalesce=coalesce
    )


class TestStories:
    def test_first_come_first_served(self) -> None:
        done = queued(a_queue(), [(1, 1, 0), (2, 1, 1), (3, 1, 2), (4, 1, 35)])
        assert done.answered == {(1, 1): (0, 10), (2, 1): (10, 20), (3, 1): (20, 30), (4, 1): (35, 45)}

    def test_workers_work_side_by_side(self) -> None:
        done = queued(a_queue(2), [(1, 1, 0), (2, 1, 1), (3, 1, 2)])
        assert done.answered == {(1, 1): (0, 10), (2, 1): (1, 11), (3, 1): (10, 20)}

    def test_a_report_that_came_twice_is_worked_on_twice(self) -> None:
        clock, desk = Clock(), Desk()
        queue = QueueingCloud(clock, a_queue(), stream(1, "cloud"))
        queue.submit(make_report(DeskExchange, 1, 0, copies=2, desk=desk))
        queue.submit(make_report(DeskExchange, 2, 1, desk=desk))
        clock.run()
        assert desk.answered == {(1, 1): (0, 10), (2, 1): (20, 30)}

    def test_the_newest_takes_the_place_of_the_older_one(self) -> None:
        """Device 2 comes second, and is answered second, with what it said last."""
        done = queued(a_queue(), [(1, 1, 0), (2, 1, 1), (3, 1, 2), (2, 2, 3), (2, 3, 4)])
        assert done.answered == {(1, 1): (0, 10), (2, 3): (10, 20), (3, 1): (20, 30)}
        assert done.coalesced == [(2, 1), (2, 2)]

    def test_what_is_being_answered_is_not_replaced(self) -> None:
        done = queued(a_queue(), [(1, 1, 0), (1, 2, 1)])
        assert done.answered == {(1, 1): (0, 10), (1, 2): (10, 20)}

    def test_an_older_report_that_was_overtaken_is_let_go(self) -> None:
        done = queued(a_queue(), [(1, 1, 0), (2, 2, 1), (2, 1, 2)])
        assert (list(done.answered), done.coalesced) == ([(1, 1), (2, 2)], [(2, 1)])

    def test_without_coalescing_each_is_answered(self) -> None:
        done = queued(a_queue(coalesce=False), [(1, 1, 0), (2, 1, 1), (2, 2, 2)])
        assert list(done.answered) == [(1, 1), (2, 1), (2, 2)]

    def test_a_full_queue_refuses_but_replaces(self) -> None:
        done = queued(a_queue(limit=1), [(1, 1, 0), (2, 1, 1), (3, 1, 2), (2, 2, 3)])
        assert (list(done.answered), done.refused, done.coalesced) == ([(1, 1), (2, 2)], [(3, 1)], [(2, 1)])

    def test_a_cloud_that_is_down_works_its_queue_off_when_it_is_up_again(self) -> None:
        down = FaultWindow(5, 50, 0, CloudOutage(at="0 s", duration=Duration(1)))
        done = queued(a_queue(), [(1, 1, 0), (2, 1, 6), (3, 1, 7)], (down,))
        assert done.answered == {(1, 1): (50, 60), (2, 1): (60, 70), (3, 1): (70, 80)}

    def test_a_slow_cloud_keeps_its_workers_longer(self) -> None:
        slow = FaultWindow(0, 20, 0, CloudSlowdown(at="0 s", duration=Duration(1), factor=3.0))
        done = queued(a_queue(), [(1, 1, 0), (2, 1, 1), (3, 1, 2)], (slow,))
        assert done.answered == {(1, 1): (0, 30), (2, 1): (30, 40), (3, 1): (40, 50)}

    def test_without_a_limit_on_workers_nothing_waits(self) -> None:
        desk = Desk()
        cloud = UnlimitedCloud(10, (FaultWindow(5, 50, 0, CloudOutage(at="0 s", duration=Duration(1))),))
        for number, arrived in enumerate((0, 0, 6, 60)):
            cloud.submit(make_report(DeskExchange, number, arrived, desk=desk))
        assert list(desk.answered.values()) == [(50, 60), (50, 60), (50, 60), (60, 70)]


reports = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 100)), max_size=40).map(
    lambda drawn: [
        (number, seq, arrived)
        for seq, (number, arrived) in enumerate(sorted(drawn, key=lambda each: each[1]), 1)
    ]
)


@given(
    reports,
    st.integers(1, 3),
    st.none() | st.integers(1, 4),
    st.booleans(),
    st.integers(1, 30),
    st.lists(st.tuples(st.integers(0, 100), st.integers(1, 50)), max_size=2).map(sorted),
)
def test_every_report_is_answered_or_coalesced_or_refused(
    taken: list[tuple[int, int, int]],
    workers: int,
    limit: int | None,
    coalesce: bool,
    service: int,
    outages: list[tuple[int, int]],
) -> None:
    fault = CloudOutage(at="0 s", duration=Duration(1))
    downs = tuple(FaultWindow(start, start + span, 0, fault) for start, span in outages)
    done = queued(a_queue(workers, limit, coalesce=coalesce, service=service), taken, downs)
    ends = Counter([*done.answered, *done.coalesced, *done.refused])
    assert ends == Counter([(number, seq) for number, seq, _ in taken])
    arrived = {(number, seq): moment for number, seq, moment in taken}
    begun = [times[0] for times in done.answered.values()]
    assert begun == sorted(begun)
    assert all(times[0] >= arrived[key] for key, times in done.answered.items())
    for moment in begun:
        assert sum(start <= moment < end for start, end in done.answered.values()) <= workers
    assert all(end - start == service for start, end in done.answered.values())
    assert coalesce or not done.coalesced
    assert limit is not None or not done.refused
    newest = {number: seq for number, seq, _ in taken}
    assert not any(newest[number] == seq for number, seq in done.coalesced)
