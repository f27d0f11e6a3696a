"""An asyncio program of ours runs where an event loop runs already, and an interruption ends it in order."""

import asyncio
import os
import signal

import pytest

from emulator.processes.event_loop import run_interruptibly


async def add(one: int, other: int) -> int:
    await asyncio.sleep(0)
    return one + other


def test_a_program_runs_inside_a_running_loop_and_outside() -> None:
    async def cell() -> int:
        return run_interruptibly(add(2, 3))

    assert run_interruptibly(add(1, 2)) == 3
    assert asyncio.run(cell()) == 5


def test_an_error_of_the_program_comes_out_of_the_thread() -> None:
    async def fail() -> int:
        raise TimeoutError("the broker does not answer")

    async def cell() -> int:
        return run_interruptibly(fail())

    with pytest.raises(TimeoutError, match="the broker does not answer"):
        asyncio.run(cell())


@pytest.mark.parametrize("handler", ["asyncio.run", "notebook"])
def test_an_interruption_inside_a_running_loop_cancels_the_program_in_order(handler: str) -> None:
    """`asyncio.run` has a handler that only cancels its task; the kernel of a notebook has Python's own."""
    steps: list[str] = []

    async def program() -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            steps.append("cancelled")
            await asyncio.sleep(0)
            steps.append("cleaned up")
            raise

    async def cell() -> None:
        if handler == "notebook":
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            run_interruptibly(program())
        except KeyboardInterrupt:
            steps.append("interrupted")

    asyncio.run(cell())
    assert steps == ["cancelled", "cleaned up", "interrupted"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
