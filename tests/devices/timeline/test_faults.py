"""A cloud that is down or slow: when it begins with a report, and when it is done."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.timeline.faults import (
    CloudFault,
    CloudOutage,
    CloudSlowdown,
    CorruptionFault,
    FaultWindow,
    LatencyFault,
    ReorderingFault,
    service_interval,
)
from wire.units import Duration, Share


def down(start: int, end: int, place: int = 0) -> FaultWindow[CloudFault]:
    return FaultWindow(start, end, place, CloudOutage(at="0 s", duration=Duration(1)))


def slow(start: int, end: int, factor: float, place: int = 0) -> FaultWindow[CloudFault]:
    return FaultWindow(start, end, place, CloudSlowdown(at="0 s", duration=Duration(1), factor=factor))


@pytest.mark.parametrize(
    ("begin", "service", "windows", "outcome"),
    [
        (5, 10, [], (5, 15)),
        (5, 10, [down(15, 30)], (5, 15)),  # done the moment it goes down
        (5, 10, [down(14, 30)], (30, 40)),  # it is begun anew
        (20, 10, [down(14, 30)], (30, 40)),
        (30, 10, [down(14, 30)], (30, 40)),  # it is up again
        (5, 10, [down(10, 20), down(25, 40)], (40, 50)),  # twice anew
        (5, 10, [down(10, 20), down(12, 18)], (20, 30)),
        (5, 10, [slow(0, 6, 3.0)], (5, 35)),
        (6, 10, [slow(0, 6, 3.0)], (6, 16)),
        (5, 10, [slow(0, 9, 3.0), slow(5, 9, 2.0)], (5, 65)),
        (5, 10, [slow(0, 9, 3.0), down(20, 50)], (50, 60)),  # not slow any more
        (5, 0, [down(5, 9)], (9, 9)),
        (5, 0, [], (5, 5)),
    ],
)
def test_when_a_report_is_done(
    begin: int, service: int, windows: list[FaultWindow[CloudFault]], outcome: tuple[int, int]
) -> None:
    assert service_interval(begin, service, windows) == outcome


def tried(begin: int, service: int, windows: list[FaultWindow[CloudFault]]) -> tuple[int, int]:
    """Try every beginning, moment by moment: the first from which the cloud stays up until it is done."""
    while True:
        needed = service
        for window in windows:
            if isinstance(window.fault, CloudSlowdown) and window.start_ns <= begin < window.end_ns:
                needed = int(needed * window.fault.factor)
        downs = [window for window in windows if isinstance(window.fault, CloudOutage)]
        is_up = not any(window.start_ns <= begin < window.end_ns for window in downs)
        stays_up = not any(begin <= window.start_ns < begin + needed for window in downs)
        if is_up and stays_up:
            return begin, begin + needed
        # A report that is broken off waits for the end of what broke it off; one that finds it down as well.
        if is_up:
            broken = min(window.start_ns for window in downs if begin <= window.start_ns < begin + needed)
            begin = broken
        else:
            begin += 1


spans = st.tuples(st.integers(0, 60), st.integers(1, 25))
windows = st.lists(
    spans.map(lambda span: down(span[0], sum(span)))
    | st.tuples(spans, st.sampled_from([0.5, 2.0, 5.0])).map(lambda s: slow(s[0][0], sum(s[0]), s[1])),
    max_size=6,
).map(lambda found: sorted(found, key=lambda window: window[:2]))


@given(st.integers(0, 80), st.integers(0, 20), windows)
def test_it_is_the_first_try_that_is_not_broken_off(
    begin: int, service: int, windows: list[FaultWindow[CloudFault]]
) -> None:
    assert service_interval(begin, service, windows) == tried(begin, service, windows)


def test_a_window_begins_at_its_start_and_is_over_at_its_end() -> None:
    window = down(5, 9)
    assert [t for t in range(12) if window.is_active(t)] == [5, 6, 7, 8]


def test_faults_that_make_no_sense_are_refused() -> None:
    second = Duration(10**9)
    with pytest.raises(ValueError, match=r"jitter\(=2 s\) must not exceed delay\(=1 s\)"):
        LatencyFault(at="0 s", duration=second, delay=second, jitter=Duration(2 * second))
    with pytest.raises(ValueError, match=r"duration\(=0 s\) must be > 0"):
        CloudOutage(at="0 s", duration=Duration(0))
    with pytest.raises(ValueError, match=r"at\(='soon!'\) must be a span of time"):
        CloudOutage(at="soon!", duration=second)
    with pytest.raises(ValueError, match=r"share\(=91 %\) must be at most 90 %"):
        CorruptionFault(at="0 s", duration=second, share=Share(0.91))
    with pytest.raises(ValueError, match=r"delay\(=0 s\) must be > 0"):
        ReorderingFault(at="0 s", duration=second, share=Share(0.1), delay=Duration(0))
