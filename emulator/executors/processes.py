"""The executor that runs calls in processes of this machine.

Each worker is a pool of one process, so its death is that of its call alone, and no other call is disturbed.
"""

import itertools
import pickle
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic

from emulator.executors.executor import MAX_RESTARTS, Content, Result, WorkerDiedError, death_text
from emulator.processes.worker_pool import interruptible, worker_pool
from wire.output_files import naming

_VALUES: dict[str, Any] = {}  # Any: of any type
"""The shared values that this worker has read."""


@dataclass(frozen=True)
class FileValue(Generic[Content]):
    """A shared value in a file, which each worker reads once."""

    key: str
    file: str

    def get(self) -> Content:
        """Return the value."""
        if self.key not in _VALUES:
            _VALUES[self.key] = pickle.loads(Path(self.file).read_bytes())
        value: Content = _VALUES[self.key]
        return value


class _WorkerProcess:
    """A process and what ends it."""

    def __init__(self) -> None:
        self._scope: AbstractContextManager[ProcessPoolExecutor] = worker_pool(1)
        self.pool = self._scope.__enter__()

    def end(self) -> None:
        """End the process after its call."""
        self._scope.__exit__(None, None, None)

    def interrupt(self) -> None:
        """Interrupt the call of the process, and end it."""
        error = KeyboardInterrupt()
        self._scope.__exit__(type(error), error, None)


@dataclass
class _SubmittedCall:
    """A submitted call."""

    call: Callable[..., Any]  # Any: of the type of its future
    arguments: tuple[object, ...]
    future: Future[Any]
    deaths: int = 0


class ProcessExecutor:
    """Runs calls in *workers* processes, which are started when they are needed.

    The processes end with this one. They are interrupted by `shutdown` only, never by a terminal.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._lock = threading.RLock()
        self._waiting: deque[_SubmittedCall] = deque()
        self._idle: list[_WorkerProcess] = []
        self._busy: set[_WorkerProcess] = set()
        self._dead: list[_WorkerProcess] = []
        self._ended = self._cancelled = False
        self._all_done = threading.Condition(self._lock)
        self._folder = tempfile.TemporaryDirectory(prefix="peelfleet-shared-")
        self._keys = itertools.count()

    def submit(self, call: Callable[..., Result], /, *arguments: object) -> Future[Result]:
        """Start *call* in an idle worker, or as soon as there is one."""
        future: Future[Result] = Future()
        with self._lock:
            if self._ended:
                raise RuntimeError("the executor has ended")
            self._waiting.append(_SubmittedCall(call, arguments, future))
        self._start_waiting()
        return future

    def share(self, value: Content) -> FileValue[Content]:
        """Write *value* into a file that exists as long as the executor."""
        name = str(next(self._keys))
        file = Path(self._folder.name) / name
        with naming(file):
            file.write_bytes(pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL))
        return FileValue(f"{self._folder.name}-{name}", str(file))

    def check_folder(self, folder: Path) -> None:
        """Accept every folder: all processes are on this machine."""

    def shutdown(self, *, cancel: bool = False) -> None:
        """Wait for all calls, or cancel and interrupt them; then end the processes."""
        with self._lock:
            self._ended = True
            if cancel:
                self._cancelled = True
                for waiting in self._waiting:
                    waiting.future.cancel()
                self._waiting.clear()
                workers = [*self._idle, *self._busy]
            else:
                self._all_done.wait_for(lambda: not (self._waiting or self._busy))
                workers = list(self._idle)
            workers += self._dead
            self._idle.clear()
            self._dead.clear()
        end = _WorkerProcess.interrupt if cancel else _WorkerProcess.end
        # All at once: each may take some time to clean up.
        threads = [threading.Thread(target=end, args=(worker,)) for worker in workers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._folder.cleanup()

    def _start_waiting(self) -> None:
        """Give calls that wait to idle workers."""
        while True:
            with self._lock:
                if not self._waiting or (not self._idle and len(self._busy) >= self.workers):
                    return
                call = self._waiting.popleft()
                if not call.deaths and not call.future.set_running_or_notify_cancel():
                    continue
                worker = self._idle.pop() if self._idle else _WorkerProcess()
                self._busy.add(worker)
            try:
                running = worker.pool.submit(_run, call.call, call.arguments)
            except BrokenProcessPool:  # it died while it was idle, not by this call
                self._run_again(worker, call)
                continue
            running.add_done_callback(partial(self._on_end, worker, call))

    def _on_end(self, worker: _WorkerProcess, call: _SubmittedCall, running: Future[Any]) -> None:
        """Pass on the end of a call, or run it again if its process has died."""
        error = KeyboardInterrupt() if running.cancelled() else running.exception()
        if isinstance(error, BrokenProcessPool) and not self._cancelled:
            self._run_again(worker, call)
        else:
            with self._lock:
                self._busy.discard(worker)
                self._idle.append(worker)
                self._all_done.notify_all()
            if error is None:
                call.future.set_result(running.result())
            else:
                call.future.set_exception(error)
        self._start_waiting()

    def _run_again(self, worker: _WorkerProcess, call: _SubmittedCall) -> None:
        """Let *call* run again, since its *worker* has died, or give it up."""
        call.deaths += 1
        with self._lock:
            self._busy.discard(worker)
            self._dead.append(worker)
            if call.deaths <= MAX_RESTARTS:
                self._waiting.appendleft(call)
            self._all_done.notify_all()
        if call.deaths > MAX_RESTARTS:
            call.future.set_exception(WorkerDiedError(death_text(call.call, call.arguments)))


def _run(call: Callable[..., Result], arguments: tuple[object, ...]) -> Result:
    with interruptible():
        return call(*arguments)
