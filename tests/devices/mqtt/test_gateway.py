"""Behaviour of devices in real time only: to resume budgets and connectivity at a later time."""

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from devices.simulated.budget_trajectory import resume_from
from devices.timeline.connectivity import ConnectivityCause, ConnectivityChange, resume_at

Steps = list[tuple[int, int]]


def course(steps: Steps) -> Iterator[tuple[int, int, int]]:
    return ((0 if not index else wait, value, value // 2) for index, (wait, value) in enumerate(steps))


def moments(start_ns: int, waits: Iterator[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    steps_from_start, now = [], start_ns
    for wait, free, budget in waits:
        now += wait
        steps_from_start.append((now, free, budget))
    return steps_from_start


@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9)), min_size=1, max_size=30),
    st.integers(0, 100),
    st.integers(1, 1000),
)
def test_a_course_that_is_followed_from_later_on_is_the_rest_of_it(
    steps: Steps, start_ns: int, since_ns: int
) -> None:
    complete = moments(start_ns, course(steps))
    rest, begins_ns = resume_from(course(steps), start_ns, since_ns)
    resumed = moments(begins_ns, rest)
    if start_ns >= since_ns:
        assert resumed == complete
        return
    before = [moment for moment in complete if moment[0] <= since_ns]
    assert resumed == [(since_ns, *before[-1][1:]), *complete[len(before) :]]


@given(st.lists(st.integers(1, 50), max_size=20), st.integers(0, 600))
def test_presence_that_is_followed_from_later_on_begins_with_what_holds_then(
    gaps: list[int], since_ns: int
) -> None:
    now, changes = 0, []
    for index, gap in enumerate(gaps):
        now += gap
        changes.append(ConnectivityChange(now, index % 2 == 0, ConnectivityCause.CHURN))
    resumed = list(resume_at(changes, since_ns))
    before = [toggle for toggle in changes if toggle.t_ns <= since_ns]
    online = bool(before) and before[-1].online
    assert (
        resumed
        == [ConnectivityChange(since_ns, True, ConnectivityCause.RESUMED)] * online + changes[len(before) :]
    )
