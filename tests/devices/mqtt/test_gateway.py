"""What devices do in real time beside what they do under every clock: waits, resuming, sessions."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from devices.simulated.budget_trajectory import resume_from
from devices.timeline.connectivity import ConnectivityCause, ConnectivityChange, resume_at

Steps = list[tuple[int, int]]


def course(steps: Steps) -> Iterator[tuple[int, int, int]]:
    return ((0 if not place else wait, value, value // 2) for place, (wait, value) in enumerate(steps))


def moments(start_ns: int, waits: Iterator[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    found, now = [], start_ns
    for wait, free, budget in waits:
        now += wait
        found.append((now, free, budget))
    return found


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9)), min_size=1, max_size=30),
    st.integers(0, 100),
    st.integers(1, 1000),
)
def test_a_course_that_is_followed_from_later_on_is_the_rest_of_it(
    steps: Steps, start_ns: int, since_ns: int
) -> None:
    whole = moments(start_ns, course(steps))
    rest, begins_ns = resume_from(course(steps), start_ns, since_ns)
    found = moments(begins_ns, rest)
    if start_ns >= since_ns:
        assert found == whole
        return
    before = [each for each in whole if each[0] <= since_ns]
    assert found == [(since_ns, *before[-1][1:]), *whole[len(before) :]]


@given(st.lists(st.integers(1, 50), max_size=20), st.integers(0, 600))
def test_presence_that_is_followed_from_later_on_begins_with_what_holds_then(
    gaps: list[int], since_ns: int
) -> None:
    now, whole = 0, []
    for place, gap in enumerate(gaps):
        now += gap
        whole.append(ConnectivityChange(now, place % 2 == 0, ConnectivityCause.CHURN))
    found = list(resume_at(whole, since_ns))
    before = [toggle for toggle in whole if toggle.t_ns <= since_ns]
    there = bool(before) and before[-1].online
    assert (
        found
        == [ConnectivityChange(since_ns, True, ConnectivityCause.RESUMED)] * there + whole[len(before) :]
    )
