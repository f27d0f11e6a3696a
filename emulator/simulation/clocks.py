"""The clocks: how simulated time advances, and how messages travel.

Devices that share nothing are spread over several SimPy environments, the cells. A cell runs the same events
in the same order under every clock, since an answer is only stored when it arrives. The time at which it
takes effect, the barrier, was scheduled by the device when it sent the report.

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

from cloud.service.model_versions import ModelVersions
from devices.simulated.clock import Clock
from devices.simulated.exchange import Exchange, Publisher, Transport
from emulator.live.pause import LOOK_EVERY_S, Pause
from wire.errors import NoAnswerError, RemoteProtocolError, RunError
from wire.no_answer import no_answer_text

STEPS_AT_ONCE = 500
"""Number of steps of a cell before other cells, and the network, get a turn."""
CHECK_EVERY_S = 0.5
"""Interval, in wall-clock time, at which processes are checked."""
SEND_AGAIN_S = 5.0
"""Time without an answer after which a report is sent again: a process may have died with it."""
GIVE_UP_S = 60.0

DECODE_EVERY = 256
"""Under the virtual clock the messages of one device in so many are decoded, not only made."""

Progress = Callable[[int], None]
"""Receives the simulated time reached, in nanoseconds."""


class InMemoryTransport:
    """The transport of the virtual clock: the same messages, answered at once in memory.

    All bytes are made. For some devices the cloud decodes the report, and the device checks the parts of the
    answer, as with a broker between them. The other devices take both as they were made.

    Args:
        versions: the cloud.
        decode_every: one device in so many has its messages decoded.
    """

    def __init__(self, versions: ModelVersions, decode_every: int = DECODE_EVERY) -> None:
        self._answer = versions.answer
        self._seal = versions.seal
        self._layer_part = versions.layer_part
        self._decode_every = decode_every

    def connect(self, device: str) -> None:
        """Do nothing: there is no connection."""

    def disconnect(self, device: str) -> None:
        """Do nothing: there is no connection."""

    def send_report(self, exchange: Exchange) -> None:
        """Store the answer in the exchange."""
        report = exchange.report
        if report.message is None or report.number % self._decode_every == 0:
            exchange.parts = self._answer(report.payload)
        else:
            exchange.parts = self._seal(report.message)

    def subscribe(self, exchange: Exchange) -> None:
        """Store the layers' parts in the exchange."""
        exchange.parts = [self._layer_part(layer) for layer in exchange.report.layers]

    def send_damaged(self, device: str, payload: bytes) -> None:
        """Check that the cloud refuses the report.

        Raises:
            RunError: it does not.
        """
        try:
            self._answer(payload)
        except RemoteProtocolError:
            return
        raise RunError(f"device {device}: the cloud answered a damaged report")


class RemoteTransport(Transport, Publisher, Protocol):
    """A transport through a broker, whose answers arrive later."""

    arrived: asyncio.Event

    def send_again(self, older_than_s: float) -> int:
        """Send every report again that has waited longer; return their number."""

    def check(self) -> None:
        """Raise an error if the connection is lost for good."""

    def notes(self) -> list[str]:
        """Return sentences about what was published and what was answered."""


class BarrierTransport:
    """The transport of one cell under lockstep: it notes each barrier and passes messages on.

    Args:
        remote: the transport that carries the messages.
    """

    def __init__(self, remote: RemoteTransport) -> None:
        self._remote = remote
        self._heap: list[tuple[tuple[int, int, int], Exchange]] = []

    def connect(self, device: str) -> None:
        """Do nothing: all devices share a connection."""

    def disconnect(self, device: str) -> None:
        """Do nothing: all devices share a connection."""

    def send_report(self, exchange: Exchange) -> None:
        """Note the barrier and send the report."""
        heapq.heappush(self._heap, (exchange.order, exchange))
        self._remote.send_report(exchange)

    def subscribe(self, exchange: Exchange) -> None:
        """Note the barrier and subscribe to the layers."""
        heapq.heappush(self._heap, (exchange.order, exchange))
        self._remote.subscribe(exchange)

    def send_damaged(self, device: str, payload: bytes) -> None:
        """Pass the damaged report on, without a barrier."""
        self._remote.send_damaged(device, payload)

    def earliest(self) -> float:
        """Return the earliest barrier without an answer; infinity if there is none."""
        heap = self._heap
        while heap and heap[0][1].parts is not None:
            heapq.heappop(heap)
        return heap[0][0][0] if heap else math.inf


class Cell:
    """A SimPy environment and the barriers of its devices."""

    def __init__(self, env: Clock, barriers: BarrierTransport) -> None:
        self.env = env
        self._barriers = barriers

    def advance(self) -> int:
        """Step up to the earliest open barrier, at most one turn; return the number of steps."""
        env, barriers = self.env, self._barriers
        for steps in range(STEPS_AT_ONCE):
            if env.peek() >= barriers.earliest():  # true at the end, too, when both are infinite
                return steps
            env.step()
        return STEPS_AT_ONCE

    def finished(self) -> bool:
        """Return True if no event is left."""
        return self.env.peek() == math.inf and self._barriers.earliest() == math.inf


def run_virtual(clocks: Iterable[Clock], after_turn: Progress, pause: Pause | None = None) -> None:
    """Run every environment to its end, one after the other.

    Args:
        clocks: of the cells; the next one is made when the one before has ended.
        after_turn: called from time to time with the time that the cell has reached.
        pause: tells whether to wait.
    """
    for clock in clocks:
        while clock.advance(20 * STEPS_AT_ONCE):
            after_turn(clock.now_ns)
            if pause is not None:
                pause.wait()
        after_turn(clock.now_ns)


async def run_lockstep(
    cells: Sequence[Cell],
    remote: RemoteTransport,
    after_turn: Progress,
    check: Callable[[], None],
    pause: Pause | None = None,
) -> None:
    """Run all cells to their end, in turns.

    Args:
        cells: environments that share nothing.
        remote: the transport that carries their messages.
        after_turn: called from time to time with the time that all cells have reached.
        check: raises if a process that the run needs has died.
        pause: tells whether to wait.

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
            while pause is not None and pause.is_on():
                check()
                remote.check()
                await asyncio.sleep(LOOK_EVERY_S)
                last_step = time.monotonic()
        elif running:
            await _wait(remote, last_step, check)


async def _wait(remote: RemoteTransport, last_step: float, check: Callable[[], None]) -> None:
    """Wait for an answer; send reports again if none comes, and give up in the end."""
    try:
        # Not wait_for: in Python 3.11 it swallows a cancellation that comes together with an answer.
        async with asyncio.timeout(CHECK_EVERY_S):
            await remote.arrived.wait()
    except TimeoutError:
        check()
        if time.monotonic() - last_step > GIVE_UP_S:
            text = no_answer_text(f"no answer from the cloud for {GIVE_UP_S:g} s", *remote.notes())
            raise NoAnswerError(text) from None
        remote.send_again(SEND_AGAIN_S)
    remote.arrived.clear()
