"""Shards of a run as processes: they start together, and are restarted when they are killed."""

import asyncio
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

import msgspec

from emulator.metrics.live_status import LiveStatus, merge_statuses
from emulator.metrics.realtime_measurements import ShardMeasurements, read_measurements
from wire.errors import RunError, first_error
from wire.input_files import read_tail

READY = b"ready\n"
"""Line that a shard prints when its devices are connected."""
MEASURED = "measured.json"
START_DELAY_S = 0.5
"""Seconds from when all shards are ready until simulated time starts."""
CHECK_EVERY_S = 0.5
STEER_EVERY_S = 0.1
LOG_TAIL_BYTES = 2000
END_S = 10.0


@dataclass(frozen=True)
class ShardCommand:
    """Command that starts a shard."""

    arguments: Sequence[str]
    """The command line without the shard's index and folder."""
    environment: Mapping[str, str] = field(repr=False)
    first_seq: int | None
    """First report number of new devices; None: from the clock."""
    may_resume: bool
    """True if a killed shard can resume: not if its devices depend on the devices of other shards."""


class Steering(Protocol):
    """Deeds by hand on all shards."""

    def begin(self, began_s: float) -> None:
        """Take commands from now on; simulated time is 0 at *began_s*, in seconds since 1970."""

    def due(self) -> Sequence[bytes]:
        """Return new deeds, each as a line for the shards; a shard that starts later finds them itself."""


class ShardProcess:
    """One shard, restarted as often as needed.

    Args:
        command: starts it.
        shard: its index, from 0, and the number of shards.
        folder: name of the folders of its incarnations.
        log: file for its standard error.
    """

    def __init__(self, command: ShardCommand, shard: tuple[int, int], folder: Path, log: IO[bytes]) -> None:
        self.ready = asyncio.Event()
        self.status: LiveStatus | None = None
        self.folders: list[Path] = []
        self._command = command
        self._shard = shard
        self._folder = folder
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def restarts(self) -> int:
        """Number of restarts."""
        return len(self.folders) - 1

    @property
    def pid(self) -> int | None:
        """The id of the running process; None if there is none."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process is not None else None

    async def run(self, begin: "asyncio.Future[float]", on_status: Callable[[], None]) -> ShardMeasurements:
        """Run the shard to its end; restart it when it is killed.

        Args:
            begin: seconds since the epoch when simulated time was 0; set when all shards are ready.
            on_status: called after each message of the shard.

        Raises:
            RunError: the shard failed.
        """
        while True:
            status = await self._once(begin, on_status)
            if status == 0:
                return read_measurements(self.folders[-1] / MEASURED)
            if status > 0 or not self._command.may_resume or not begin.done():
                raise RunError(self._failure(status))

    def send(self, lines: Sequence[bytes]) -> None:
        """Send *lines* to the process, if it is running."""
        if self.pid is not None and self._process is not None and self._process.stdin is not None:
            self._process.stdin.writelines(lines)

    async def stop(self) -> None:
        """Stop the process, if it is running."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _once(self, begin: "asyncio.Future[float]", on_status: Callable[[], None]) -> int:
        incarnation = len(self.folders)
        suffix = f"-life-{incarnation + 1}" if incarnation else ""
        folder = self._folder.with_name(f"{self._folder.name}{suffix}")
        self.folders.append(folder)
        arguments = [*self._command.arguments, "--shard", f"{self._shard[0] + 1}/{self._shard[1]}"]
        arguments += ["--out", str(folder)]
        if begin.done():
            arguments += ["--start-at", repr(begin.result())]
        elif self._command.first_seq is not None:
            arguments += ["--first-seq", str(self._command.first_seq)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "emulator.cli", "devices", *arguments,
            env=self._command.environment, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=self._log, start_new_session=True,
        )  # fmt: skip
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        while line := await process.stdout.readline():
            if line != READY:
                self.status = msgspec.json.decode(line, type=LiveStatus)
            elif not begin.done():
                self.ready.set()
                process.stdin.write(f"{await asyncio.shield(begin)!r}\n".encode())
            on_status()
        return await process.wait()

    def _failure(self, status: int) -> str:
        lines = read_tail(self._log, LOG_TAIL_BYTES).splitlines() or ["(it said nothing)"]
        last = lines[-1].removeprefix("peelfleet: ")
        how = f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
        return last if status in (1, 2) else f"shard {self._shard[0] + 1} {how}: {last}"


async def run_shards(
    shards: Sequence[ShardProcess],
    on_status: Callable[[LiveStatus], None],
    check: Callable[[], None],
    steering: Steering | None = None,
) -> list[ShardMeasurements]:
    """Run all shards to their ends.

    Args:
        shards: not started yet.
        on_status: called with the status of the fleet after each message of a shard.
        check: called now and then; raises if a process of the run has died.
        steering: deeds by hand, if somebody may do any.

    Raises:
        RunError: a shard failed.
    """
    begin: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def report_status() -> None:
        statuses = [shard.status for shard in shards if shard.status is not None]
        if len(statuses) == len(shards):
            on_status(merge_statuses(statuses))
            for shard, status in zip(shards, statuses, strict=True):  # a latency is counted once
                shard.status = msgspec.structs.replace(status, latency={})

    async def start() -> None:
        for shard in shards:
            await shard.ready.wait()
        begin.set_result(time.time() + START_DELAY_S)
        if steering is not None:
            steering.begin(begin.result())
            while True:
                lines = steering.due()
                for shard in shards if lines else ():
                    shard.send(lines)
                await asyncio.sleep(STEER_EVERY_S)

    async def watch() -> None:
        while True:
            check()
            await asyncio.sleep(CHECK_EVERY_S)

    try:
        async with asyncio.TaskGroup() as tasks:
            runs = [tasks.create_task(shard.run(begin, report_status)) for shard in shards]
            beside = [tasks.create_task(start()), tasks.create_task(watch())]
            await asyncio.wait(runs, return_when=asyncio.FIRST_EXCEPTION)
            for task in beside:
                task.cancel()
    except ExceptionGroup as group:
        raise first_error(group) from group
    finally:
        await asyncio.gather(*(shard.stop() for shard in shards))
    return [run.result() for run in runs]
