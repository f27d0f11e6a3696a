"""The clocks: how simulated time advances and how bytes travel while it does.

Devices that share nothing live in several SimPy environments, the cells. Under every clock a cell
runs the same events in the same order, because an answer is only stored: the moment at which it takes
effect, the barrier, was scheduled by the device when it sent the report.

- `run_virtual`: the answer is computed in memory when the report is sent.
- `run_lockstep`: the report travels through a broker to a cloud process. A cell may step strictly up to
  its earliest unanswered barrier; when no cell may step, the driver waits for one `asyncio.Event`.
"""

import asyncio
import heapq
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import simpy

from cloud.service.model_versions import ModelVersions
from devices.simulated.clock import Clock
from devices.simulated.exchange import Exchange, Publisher, Transport
from wire.errors import NoAnswerError, RemoteProtocolError, RunError
from wire.no_answer import no_answer_text

STEPS_AT_ONCE = 500
"""Steps of a cell before others, and the network, get their turn."""
LOOK_EVERY_S = 0.5
"""How soon a death is noticed, in wall-clock time."""
SEND_AGAIN_S = 5.0
"""After so long without an answer a report is sent again: it, or the answer, died with something."""
GIVE_UP_S = 60.0

Progress = Callable[[int], None]
"""Told the simulated time in nanoseconds that has been reached."""


class InMemoryTransport:
    """The transport of the virtual clock: the same bytes, answered at once.

    Args:
        versions: the cloud.
    """

    def __init__(self, versions: ModelVersions) -> None:
        self._answer = versions.answer
        self._layer_part = versions.layer_part

    def send_report(self, exchange: Exchange) -> None:
        """Store the answer in the exchange."""
        exchange.parts = self._answer(exchange.report.payload)

    def subscribe(self, exchange: Exchange) -> None:
        """Store the layers' parts in the exchange."""
        exchange.parts = [self._layer_part(layer) for layer in exchange.report.layers]

    def send_damaged(self, device: str, payload: bytes) -> None:
        """Have the cloud refuse the report."""
        try:
            self._answer(payload)
        except RemoteProtocolError:
            return
        raise RunError(f"device {device}: the cloud has answered a damaged report")


class RemoteTransport(Transport, Publisher, Protocol):
    """A transport through a broker, whose answers arrive later."""

    arrived: asyncio.Event

    def send_again(self, older_than_s: float) -> int:
        """Send again every report that has waited longer; return how many."""

    def check(self) -> None:
        """Raise if the connection is gone for good."""

    def notes(self) -> list[str]:
        """Say what was published and what came of it."""


class BarrierTransport:
    """The transport of one cell under lockstep: notes each barrier, passes everything on.

    Args:
        remote: what carries the bytes.
    """

    def __init__(self, remote: RemoteTransport) -> None:
        self._remote = remote
        self._heap: list[tuple[tuple[int, int, int], Exchange]] = []

    def send_report(self, exchange: Exchange) -> None:
        """Note the barrier and send the report."""
        heapq.heappush(self._heap, (exchange.order, exchange))
        self._remote.send_report(exchange)

    def subscribe(self, exchange: Exchange) -> None:
        """Note the barrier and ask for the layers."""
        heapq.heappush(self._heap, (exchange.order, exchange))
        self._remote.subscribe(exchange)

    def send_damaged(self, device: str, payload: bytes) -> None:
        """Pass the damaged report on; nothing waits for it."""
        self._remote.send_damaged(device, payload)

    def earliest(self) -> float:
        """Return the earliest barrier that lacks its answer, infinity if there is none."""
        heap = self._heap
        while heap and heap[0][1].parts is not None:
            heapq.heappop(heap)
        return heap[0][0][0] if heap else math.inf


class Cell:
    """A SimPy environment and the barriers of the devices in it."""

    def __init__(self, env: Clock, barriers: BarrierTransport) -> None:
        self.env = env
        self._barriers = barriers

    def advance(self) -> int:
        """Step as far as causality allows, at most a turn; return the number of steps."""
        env, barriers = self.env, self._barriers
        for steps in range(STEPS_AT_ONCE):
            if env.peek() >= barriers.earliest():  # also when both are infinite: the end
                return steps
            env.step()
        return STEPS_AT_ONCE

    def finished(self) -> bool:
        """Tell whether nothing is left to happen."""
        return self.env.peek() == math.inf and self._barriers.earliest() == math.inf


def run_virtual(envs: Iterable[simpy.Environment], after_turn: Progress) -> None:
    """Run every environment to its end, one after the other.

    Args:
        envs: the cells; each is asked for when the one before it has ended.
        after_turn: called now and then with the time that the cell has reached.
    """
    for env in envs:
        step = env.step
        try:
            while True:
                for _ in range(20 * STEPS_AT_ONCE):
                    step()
                after_turn(int(env.now))
        except simpy.core.EmptySchedule:
            after_turn(int(env.now))


async def run_lockstep(
    cells: Sequence[Cell], remote: RemoteTransport, after_turn: Progress, check: Callable[[], None]
) -> None:
    """Run every cell to its end, all of them side by side.

    Args:
        cells: environments that share nothing.
        remote: what carries their bytes.
        after_turn: called now and then with the time that all cells have reached.
        check: raises when something that the run needs has died.

    Raises:
        SilenceError: no answer came for a long time.
    """
    running = list(cells)
    last_step = time.monotonic()
    while running:
        remote.check()
        steps = sum([cell.advance() for cell in running])
        running = [cell for cell in running if not cell.finished()]
        if steps:
            last_step = time.monotonic()
            after_turn(int(min([cell.env.now_ns for cell in running or cells])))
            await asyncio.sleep(0)
        elif running:
            await _wait(remote, last_step, check)


async def _wait(remote: RemoteTransport, last_step: float, check: Callable[[], None]) -> None:
    """Wait for an answer; send reports again when none comes, and give up in the end."""
    try:
        # Not wait_for: in Python 3.11 it swallows a cancellation that comes together with an answer.
        async with asyncio.timeout(LOOK_EVERY_S):
            await remote.arrived.wait()
    except TimeoutError:
        check()
        if time.monotonic() - last_step > GIVE_UP_S:
            words = no_answer_text(f"no answer from the cloud for {GIVE_UP_S:g} s", *remote.notes())
            raise NoAnswerError(words) from None
        remote.send_again(SEND_AGAIN_S)
    remote.arrived.clear()
