"""The clock processes events in the order, and with the ends, of SimPy's own loop."""

from collections.abc import Callable, Generator, Iterator

import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st
from simpy.events import EventPriority

from devices.simulated.clock import Clock

Note = tuple[int, str]


def run_by_steps(clock: Clock) -> None:
    clock.run()


def run_in_turns(clock: Clock) -> None:
    while clock.advance(3):
        pass


RUNS = [run_by_steps, run_in_turns]


def as_processes(waits: list[list[int]]) -> list[Note]:
    """Play *waits* with SimPy's processes, timeouts and loop; after each wait comes a call in 5 ns."""
    env, notes = simpy.Environment(), list[Note]()

    def note(name: str) -> None:
        notes.append((int(env.now), name))

    def live(number: int) -> Generator[simpy.Event, object, None]:
        note(f"{number} begins")
        for wait in waits[number]:
            event = simpy.Event(env)
            event._ok, event._value = True, None
            env.schedule(event, EventPriority(2), wait)
            yield event
            note(f"{number} waited {wait}")
            env.timeout(5).callbacks.append(lambda _: note(f"{number} called"))

    for number in range(len(waits)):
        env.process(live(number))
    env.run()
    return notes


def as_calls(waits: list[list[int]], run: Callable[[Clock], None]) -> list[Note]:
    """Play them with the calls and the loop of the clock."""
    clock, notes = Clock(), list[Note]()

    def note(name: str) -> None:
        notes.append((clock.now_ns, name))

    def live(number: int) -> Iterator[int]:
        note(f"{number} begins")
        for wait in waits[number]:
            yield wait
            note(f"{number} waited {wait}")
            clock.after(5, f"{number} called", note)

    for number in range(len(waits)):
        clock.follow(live(number), EventPriority(2))
    run(clock)
    return notes


@pytest.mark.parametrize("run", RUNS)
@given(waits=st.lists(st.lists(st.integers(0, 7), max_size=5), max_size=4))
def test_calls_run_in_the_order_of_simpys_processes(
    run: Callable[[Clock], None], waits: list[list[int]]
) -> None:
    assert as_calls(waits, run) == as_processes(waits)


@pytest.mark.parametrize("run", RUNS)
def test_simpys_own_events_fail_and_stop_among_calls(run: Callable[[Clock], None]) -> None:
    clock, notes = Clock(), list[Note]()

    def fail() -> Generator[simpy.Event, object, None]:
        yield clock.timeout(4)
        raise ValueError("the process failed")

    def stop(t_ns: int) -> None:
        raise simpy.core.StopSimulation(t_ns)

    clock.process(fail())
    for t_ns in (1, 3, 4, 9):
        clock.after(t_ns, f"at {t_ns}", lambda name: notes.append((clock.now_ns, name)))
    clock.after(2, 2, stop)
    if run is run_by_steps:
        assert clock.run() == 2
    else:
        with pytest.raises(simpy.core.StopSimulation):
            run(clock)
    with pytest.raises(ValueError, match="the process failed"):
        run(clock)
    assert notes == [(1, "at 1"), (3, "at 3"), (4, "at 4")]
    run(clock)
    assert notes[3:] == [(9, "at 9")]
