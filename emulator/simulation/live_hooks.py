"""The hooks of those who watch a simulation in one process: its status once a second, and its pause."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from devices.event_log import FleetLog
from emulator.live.pause import Pause
from emulator.metrics.live_status import LiveCounters, LiveStatus
from emulator.run_directory.event_log import EventLogWriter
from emulator.simulation.job import Job

STATUS_EVERY_S = 1.0


@dataclass(frozen=True)
class LiveHooks:
    """The hooks of those who watch."""

    on_status: Callable[[LiveStatus], None] | None = None
    """Receives the live status once a second."""
    pause: Pause | None = None
    """Tells whether to wait."""


NOT_WATCHED = LiveHooks()


def status_updates(
    job: Job, writer: EventLogWriter, log: FleetLog, on_status: Callable[[LiveStatus], None]
) -> Callable[[int], None]:
    """Return a callback for the simulated time after a turn: once a second it reports the live status.

    Args:
        job: of the simulation.
        writer: writes the rows, which are counted then.
        log: has the rows that are not written yet.
        on_status: receives the status.
    """
    counters = LiveCounters({spec.number: spec.group.name for spec in job.devices})
    writer.on_rows = counters.add_rows
    started_s = last_s = time.monotonic()
    stop_ns = int(job.scenario.stop_time)

    def after_turn(now_ns: int) -> None:
        nonlocal last_s
        now_s = time.monotonic()
        if now_s - last_s >= STATUS_EVERY_S:
            last_s = now_s
            writer.flush(log, at_least=1)
            on_status(counters.snapshot(min(now_ns, stop_ns), now_s - started_s, connections=1))

    return after_turn
