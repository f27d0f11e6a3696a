"""The queue is bounded and keeps the newest report of a device, in the order of arrival."""

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


def drained(inbox: ReportQueue) -> list[tuple[str, int]]:
    return [(queued.device, queued.report.seq) for queued in (inbox.pop() for _ in range(len(inbox)))]


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


@given(st.lists(st.tuples(st.sampled_from(DEVICES), st.floats(0.0, 0.5)), max_size=200), st.integers(1, 5))
def test_the_rate_of_one_device_is_bounded_and_costs_no_other_device_anything(
    story: list[tuple[str, float]], burst: int
) -> None:
    limits, rate = AdmissionLimits(rate=4.0, burst=burst), 4.0
    together = ReportQueue(limits)
    alone = {device: ReportQueue(limits) for device in DEVICES}
    now_s, times = 0.0, {device: list[float]() for device in DEVICES}
    for seq, (device, pause_s) in enumerate(story, 1):
        now_s += pause_s
        admission = together.put(device, report(seq), now_s)
        assert (admission is Admission.RATE) is (
            alone[device].put(device, report(seq), now_s) is Admission.RATE
        )
        if admission is not Admission.RATE:
            times[device].append(now_s)
    for allowed in times.values():
        for first in range(len(allowed)):
            for last in range(first, len(allowed)):
                assert last - first + 1 <= burst + rate * (allowed[last] - allowed[first]) + 1e-6


@given(st.integers(1, 8), st.integers(0, 40))
def test_it_remembers_the_rates_of_so_many_devices_and_forgets_the_most_silent(known: int, more: int) -> None:
    inbox = ReportQueue(AdmissionLimits(rate=0.001, burst=1, rate_entries=known))
    for number in range(known + more):
        assert inbox.put(str(number), report(1), 0.0) is Admission.QUEUED
    remembered = [str(number) for number in range(more, known + more)]
    assert [inbox.put(device, report(2), 0.0) for device in remembered] == [Admission.RATE] * known
    assert len(inbox._buckets) == known


def test_a_clock_that_goes_backwards_gives_no_tokens() -> None:
    inbox = ReportQueue(AdmissionLimits(rate=1.0, burst=1))
    log = [inbox.put("a", report(seq), now_s) for seq, now_s in enumerate([10.0, 5.0, 5.5, 6.0], 1)]
    assert log == [Admission.QUEUED, Admission.RATE, Admission.RATE, Admission.NEWER]
