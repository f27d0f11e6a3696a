"""The shards of a run as processes: they begin together, and are started again when they are killed."""

import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from emulator.metrics.live_status import LiveStatus, merge_statuses
from emulator.metrics.realtime_measurements import ShardMeasurements, read_measurements
from wire.errors import RunError, first_error

READY = b"ready\n"
"""What a shard prints when its devices are there."""
MEASURED = "measured.json"
START_AFTER_S = 0.5
"""From when all shards are ready until simulated time begins."""
LOOK_EVERY_S = 0.5
LOG_TAIL_BYTES = 2000
END_S = 10.0


@dataclass(frozen=True)
class ShardCommand:
    """How to start a shard."""

    words: Sequence[str]
    """The command line but for the shard's place and folder."""
    environment: Mapping[str, str] = field(repr=False)
    first_seq: int | None
    """Where the reports of devices that live for the first time are counted from; None: from the clock."""
    may_resume: bool
    """Whether a shard that was killed can go on: not where all devices live by what the others do."""


class ShardProcess:
    """One shard, in as many lives as it takes.

    Args:
        command: how to start it.
        place: which of how many it is, from 0.
        folder: where the draft journals of its lives go.
        log: where it writes what it has to say.
    """

    def __init__(self, command: ShardCommand, place: tuple[int, int], folder: Path, log: IO[bytes]) -> None:
        self.ready = asyncio.Event()
        self.pulse: LiveStatus | None = None
        self.folders: list[Path] = []
        self._command = command
        self._place = place
        self._folder = folder
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return len(self.folders) - 1

    @property
    def pid(self) -> int | None:
        """The process that lives, if one does."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process is not None else None

    async def live(self, begin: "asyncio.Future[float]", told: Callable[[], None]) -> ShardMeasurements:
        """Run the shard to its end; start it again when it is killed.

        Args:
            begin: when simulated time was 0, in seconds since the epoch; set when all shards are ready.
            told: called whenever it has told something.

        Raises:
            RunError: it failed.
        """
        while True:
            status = await self._once(begin, told)
            if status == 0:
                return read_measurements(self.folders[-1] / MEASURED)
            if status > 0 or not self._command.may_resume or not begin.done():
                raise RunError(self._failure(status))

    async def end(self) -> None:
        """End the process, if one lives."""
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

    async def _once(self, begin: "asyncio.Future[float]", told: Callable[[], None]) -> int:
        life = len(self.folders)
        folder = self._folder.with_name(f"{self._folder.name}{f'-life-{life + 1}' if life else ''}")
        self.folders.append(folder)
        words = [*self._command.words, "--shard", f"{self._place[0] + 1}/{self._place[1]}"]
        words += ["--out", str(folder)]
        if begin.done():
            words += ["--start-at", repr(begin.result())]
        elif self._command.first_seq is not None:
            words += ["--first-seq", str(self._command.first_seq)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "emulator.cli", "devices", *words,
            env=self._command.environment, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            stderr=self._log, start_new_session=True,
        )  # fmt: skip
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        while line := await process.stdout.readline():
            if line != READY:
                self.pulse = msgspec.json.decode(line, type=LiveStatus)
            elif not begin.done():
                self.ready.set()
                process.stdin.write(f"{await asyncio.shield(begin)!r}\n".encode())
            told()
        return await process.wait()

    def _failure(self, status: int) -> str:
        size = os.fstat(self._log.fileno()).st_size
        tail = os.pread(self._log.fileno(), LOG_TAIL_BYTES, max(0, size - LOG_TAIL_BYTES))
        lines = tail.decode("utf-8", errors="replace").strip().splitlines() or ["(it said nothing)"]
        last = lines[-1].removeprefix("peelfleet: ")
        how = f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
        return last if status in (1, 2) else f"shard {self._place[0] + 1} {how}: {last}"


async def run_shards(
    shards: Sequence[ShardProcess], told: Callable[[LiveStatus], None], check: Callable[[], None]
) -> list[ShardMeasurements]:
    """Run all shards to their ends.

    Args:
        shards: not yet started.
        told: told what the fleet is doing whenever a shard says so.
        check: called now and then; raises when something that the run needs has died.

    Raises:
        RunError: a shard failed.
    """
    begin: asyncio.Future[float] = asyncio.get_running_loop().create_future()

    def heard() -> None:
        pulses = [shard.pulse for shard in shards if shard.pulse is not None]
        if len(pulses) == len(shards):
            told(merge_statuses(pulses))

    async def start() -> None:
        for shard in shards:
            await shard.ready.wait()
        begin.set_result(time.time() + START_AFTER_S)

    async def look() -> None:
        while True:
            check()
            await asyncio.sleep(LOOK_EVERY_S)

    try:
        async with asyncio.TaskGroup() as tasks:
            lives = [tasks.create_task(shard.live(begin, heard)) for shard in shards]
            beside = [tasks.create_task(start()), tasks.create_task(look())]
            await asyncio.wait(lives, return_when=asyncio.FIRST_EXCEPTION)
            for task in beside:
                task.cancel()
    except ExceptionGroup as group:
        raise first_error(group) from group
    finally:
        await asyncio.gather(*(shard.end() for shard in shards))
    return [life.result() for life in lives]
