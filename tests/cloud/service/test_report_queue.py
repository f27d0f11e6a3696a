"""The queue is bounded and keeps the newest report of a device, in the order of arrival."""

import math
from collections import Counter, deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.service.report_queue import Admission, AdmissionLimits, ReportQueue
from wire.errors import RemoteProtocolError
from wire.messages import BudgetReport, encode

DEVICES = ("a", "b", "c", "d", "e")
UNLIMITED = 10**9

arrivals = st.lists(
    st.tuples(st.sampled_from(DEVICES), st.integers(1, 9), st.floats(0.0, 0.2)) | st.none(), max_size=60
)
"""Reports that arrive, (device, number, seconds since the one before), and (None) turns to answer one."""


def report(seq: int) -> bytes:
    return encode(BudgetReport(seq=seq, budget_bytes=1, user=0))


def drained(inbox: ReportQueue, count: int | None = None) -> list[tuple[str, int]]:
    pops = (inbox.pop() for _ in range(len(inbox) if count is None else count))
    return [(queued.device, queued.report.seq) for queued in pops]


def test_the_newest_of_a_device_waits_in_the_place_of_its_oldest() -> None:
    inbox = ReportQueue(AdmissionLimits())
    log = [inbox.put(device, report(seq), 0.0) for device, seq in [("a", 1), ("b", 1), ("a", 3), ("a", 2)]]
    assert log == [Admission.QUEUED, Admission.QUEUED, Admission.NEWER, Admission.OLDER]
    assert drained(inbox) == [("a", 3), ("b", 1)]


def test_junk_takes_nobodys_place() -> None:
    inbox = ReportQueue(AdmissionLimits(max_queue=1))
    inbox.put("a", report(1), 0.0)
    for junk in (b"", b"{}", b"\xff", b'"' + b"a" * 5000, bytes(10**6)):
        with pytest.raises(RemoteProtocolError):
            inbox.put("a", junk, 0.0)
    assert drained(inbox) == [("a", 1)]


@given(arrivals, st.integers(1, 4), st.booleans())
def test_it_is_a_bounded_queue_of_devices(
    story: list[tuple[str, int, float] | None], room: int, coalesce: bool
) -> None:
    inbox = ReportQueue(AdmissionLimits(max_queue=room, rate=UNLIMITED, burst=UNLIMITED, coalesce=coalesce))
    expected: deque[tuple[str, int]] = deque()
    popped, taken, arrived = 0, Counter[Admission](), 0
    for step in story:
        if step is None:
            if expected:
                entry = inbox.pop()
                assert (entry.device, entry.report.seq) == expected.popleft()
                popped += 1
            continue
        device, seq, _ = step
        arrived += 1
        before = next((at for at, (other, _) in enumerate(expected) if coalesce and other == device), None)
        if before is not None:
            admission = Admission.NEWER if seq >= expected[before][1] else Admission.OLDER
            expected[before] = device, max(seq, expected[before][1])
        elif len(expected) == room:
            admission = Admission.FULL
        else:
            admission = Admission.QUEUED
            expected.append((device, seq))
        assert inbox.put(device, report(seq), 0.0) is admission
        taken[admission] += 1
        assert len(inbox) == len(expected) <= room
    assert (
        arrived
        == popped + len(inbox) + taken[Admission.NEWER] + taken[Admission.OLDER] + taken[Admission.FULL]
    )
    assert drained(inbox) == list(expected)


@given(st.lists(st.tuples(st.sampled_from(DEVICES), st.floats(0.0, 0.5)), max_size=100), st.integers(1, 5))
def test_above_its_rate_a_device_is_answered_later_and_its_last_report_always(
    story: list[tuple[str, float]], burst: int
) -> None:
    """And no other device has to wait for it: each is treated as if it were alone."""
    limits, rate = AdmissionLimits(rate=4.0, burst=burst), 4.0
    everybody = {device: Answered(limits) for device in DEVICES}
    together, now_s, reported = Answered(limits), 0.0, dict[str, int]()
    for seq, (device, pause_s) in enumerate(story, 1):
        now_s += pause_s
        reported[device] = seq
        for queue in (together, everybody[device]):
            queue.report(device, seq, now_s)
    for queue in (together, *everybody.values()):
        queue.wait(now_s + len(story))
        assert queue.finished == queue.came
    for device, seq in reported.items():
        answered = [(at_s, number) for at_s, who, number in together.answers if who == device]
        assert answered == [(at_s, number) for at_s, _, number in everybody[device].answers]
        assert answered[-1][1] == seq
        for first in range(len(answered)):
            for last in range(first, len(answered)):
                span_s = answered[last][0] - answered[first][0]
                assert last - first + 1 <= burst + rate * span_s + 1e-6


class Answered:
    """A queue whose reports are answered as soon as they are ready."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self.queue = ReportQueue(limits)
        self.came = self.finished = 0
        self.answers: list[tuple[float, str, int]] = []

    def report(self, device: str, seq: int, now_s: float) -> None:
        self.wait(now_s)
        self.came += 1
        self.finished += self.queue.put(device, report(seq), now_s) in (
            Admission.NEWER, Admission.OLDER, Admission.FULL, Admission.RATE
        )  # fmt: skip
        self.answer(now_s)

    def wait(self, now_s: float) -> None:
        """Let time pass."""
        while (due_s := self.queue.next_due_s) <= now_s:
            admitted = [decision for _, decision in self.queue.admit_late(due_s)]
            self.finished += sum(decision is not Admission.QUEUED for decision in admitted)
            self.answer(due_s)

    def answer(self, now_s: float) -> None:
        while self.queue.is_ready:
            found = self.queue.pop()
            self.answers.append((now_s, found.device, found.report.seq))
            self.finished += 1


def test_of_the_reports_above_the_rate_the_newest_waits_and_the_others_are_dropped() -> None:
    inbox = ReportQueue(AdmissionLimits(rate=2.0, burst=1, max_queue=1))
    log = [inbox.put("a", report(seq), 0.1 * seq) for seq in (1, 2, 4, 3)]
    assert log == [Admission.QUEUED, Admission.LATE, Admission.RATE, Admission.RATE]
    assert [inbox.put("b", report(seq), 0.5) for seq in (1, 2)] == [Admission.FULL, Admission.FULL]
    assert drained(inbox, 1) == [("a", 1)]
    assert inbox.next_due_s == pytest.approx(0.6)
    assert list(inbox.admit_late(0.59)) == []
    assert [(late.report.seq, decision) for late, decision in inbox.admit_late(0.61)] == [
        (4, Admission.QUEUED)
    ]
    assert (drained(inbox, 1), len(inbox)) == ([("a", 4)], 0)


@given(st.integers(1, 8), st.integers(0, 40))
def test_it_remembers_the_rates_of_so_many_devices_and_forgets_the_most_silent(known: int, more: int) -> None:
    inbox = ReportQueue(AdmissionLimits(rate=0.001, burst=1, rate_entries=known))
    for number in range(known + more):
        assert inbox.put(str(number), report(1), 0.0) is Admission.QUEUED
    remembered = [str(number) for number in range(more, known + more)]
    assert [inbox.put(device, report(2), 0.0) for device in remembered] == [Admission.LATE] * known
    assert len(inbox._buckets) == known


def test_a_clock_that_goes_backwards_gives_no_tokens() -> None:
    inbox = ReportQueue(AdmissionLimits(rate=1.0, burst=1))
    log = [inbox.put("a", report(seq), now_s) for seq, now_s in enumerate([10.0, 5.0, 5.5, 5.9], 1)]
    assert log == [Admission.QUEUED, Admission.LATE, Admission.RATE, Admission.RATE]
    assert list(inbox.admit_late(5.9)) == []
    assert [decision for _, decision in inbox.admit_late(6.0)] == [Admission.NEWER]


def test_what_is_left_at_the_end_is_counted() -> None:
    inbox = ReportQueue(AdmissionLimits(rate=1.0, burst=1))
    for seq in (1, 2):
        inbox.put("a", report(seq), 0.0)
    assert (inbox.clear(), len(inbox), inbox.is_ready, inbox.next_due_s) == (2, 0, False, math.inf)
