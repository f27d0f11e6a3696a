"""The executor that runs calls on a Ray cluster: one on this machine, or an existing one.

A node that is lost takes its calls with it: Ray runs them again on another. Values for many calls are put
into Ray's object store once. Nothing of Ray's own output reaches the terminal; its logs are in its session
folder.
"""

import itertools
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from emulator.executors.executor import MAX_RESTARTS, Content, Result, WorkerDiedError, death_text
from emulator.processes.interrupts import SIGNALS
from wire.errors import InputError, RunError
from wire.extras import needs_extra
from wire.output_files import os_error_text

LOOPBACK = "127.0.0.1"
OBJECT_STORE_BYTES = 256 * 2**20
"""Size of the object store of a cluster that is started here: it holds shared values, results are small."""
PROBE_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 10.0
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    # Else Ray prints 20 lines of a lost node's log, though it is told to print none; its calls run again.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "^",
}
"""Ray's settings, which it reads when it is imported, where the user has not set them."""
_TOKEN_MODE = "RAY_AUTH_MODE"
_TOKEN_PLACES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
_PREFIX = "PEELFLEET_"
_VALUES: dict[str, Any] = {}  # Any: of any type
"""The shared values that this worker has read."""


def _set_environment() -> None:
    """Set the settings of Ray, unless it has read them already."""
    if "ray" in sys.modules:
        return
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    # A cluster that `ray start` makes asks for the user's token if there is one; a client has to be told.
    default = Path("~/.ray/auth_token").expanduser()
    if default.exists() or any(name in os.environ for name in _TOKEN_PLACES):
        os.environ.setdefault(_TOKEN_MODE, "token")


with needs_extra("ray", ["ray"], "the executor ray"), warnings.catch_warnings():
    _set_environment()
    warnings.simplefilter("ignore")
    import ray
    from ray.exceptions import (
        NodeDiedError,
        ObjectLostError,
        OutOfMemoryError,
        RayError,
        RayTaskError,
        TaskCancelledError,
        WorkerCrashedError,
    )
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

_DEATHS = (WorkerCrashedError, NodeDiedError, OutOfMemoryError, ObjectLostError)


@dataclass(frozen=True)
class StoredValue(Generic[Content]):
    """A shared value in the object store, which each worker reads once."""

    key: str
    references: list[Any]
    """The reference, in a list: Ray would replace it by its value in each call."""

    def get(self) -> Content:
        """Return the value."""
        if self.key not in _VALUES:
            _VALUES[self.key] = ray.get(self.references[0])
        value: Content = _VALUES[self.key]
        return value


@dataclass(frozen=True)
class _Place:
    """The working folder and the environment of the command, for a call on another node."""

    folder: str
    variables: dict[str, str]

    def enter(self) -> None:
        """Use them in this process."""
        os.environ.update(self.variables)
        with suppress(OSError):  # paths of the command are absolute where another node must find them
            os.chdir(self.folder)


class RayExecutor:
    """Runs calls on a cluster.

    Args:
        address: None to start a cluster on this machine, bound to the loopback interface; ``auto`` or
            ``HOST:PORT`` to join one that this machine is a node of.
        workers: most calls at a time; None: one for each core of the cluster.

    Raises:
        InputError: there is no cluster at the address.
    """

    def __init__(self, address: str | None, workers: int | None) -> None:
        with _quiet():
            try:
                _connect(address, workers)
            except (RayError, OSError, ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
                first = str(error).strip().splitlines()[:1]
                where = address or "this machine"
                raise InputError(f"the executor ray: no cluster on {where}: {''.join(first)}") from None
        self.workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        variables = {name: value for name, value in os.environ.items() if name.startswith(_PREFIX)}
        self._place = _Place(str(Path.cwd()), variables)
        self._run = ray.remote(num_cpus=1, max_retries=MAX_RESTARTS, retry_exceptions=False)(_run_call)
        self._running: dict[Future[Any], Any] = {}
        self._lock = threading.Lock()
        self._name, self._keys = uuid.uuid4().hex, itertools.count()

    def submit(self, call: Callable[..., Result], /, *arguments: object) -> Future[Result]:
        """Start *call* on a node of the cluster, as soon as one has a free core."""
        future: Future[Result] = Future()
        future.set_running_or_notify_cancel()
        reference = self._run.remote(self._place, call, arguments)
        with self._lock:
            self._running[future] = reference

        def pass_on(done: Future[Any]) -> None:
            with self._lock:
                self._running.pop(future, None)
            error = done.exception()
            if error is None:
                future.set_result(done.result())
            else:
                future.set_exception(_own_error(error, call, arguments))

        reference.future().add_done_callback(pass_on)
        return future

    def share(self, value: Content) -> StoredValue[Content]:
        """Put *value* into the object store."""
        return StoredValue(f"{self._name}-{next(self._keys)}", [ray.put(value)])

    def check_folder(self, folder: Path) -> None:
        """Check that every node reaches *folder* of this machine, by a file that this process writes.

        Raises:
            InputError: one does not.
        """
        folder = folder.resolve()
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".reach-") as file:
            file.write(self._name.encode())
            file.flush()
            for node in (node for node in ray.nodes() if node["Alive"]):
                on_node = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
                probe = ray.remote(num_cpus=0, scheduling_strategy=on_node)(_reads)
                try:
                    reached = ray.get(probe.remote(file.name, self._name), timeout=PROBE_TIMEOUT_S)
                except RayError:
                    reached = "it does not answer"
                if reached is not None:
                    raise InputError(
                        f"{folder}: node {node['NodeManagerAddress']} of the cluster does not reach it: "
                        f"{reached}; use a folder that all nodes share"
                    )

    def shutdown(self, *, cancel: bool = False) -> None:
        """Wait for all calls, or end them; then leave the cluster, or end it if it was started here."""
        with self._lock:
            running = dict(self._running)
        if cancel:
            for reference in running.values():
                with suppress(RayError):
                    ray.cancel(reference, force=True)
        else:
            for future in running:
                future.exception()
        with _quiet():
            ray.shutdown()


def _connect(address: str | None, workers: int | None) -> None:
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    common: dict[str, Any] = {  # Any: options of several types
        "log_to_driver": False,
        "logging_level": logging.CRITICAL,
        "include_dashboard": False,
    }
    if address is None:
        ray.init(
            "local",
            num_cpus=workers,
            object_store_memory=OBJECT_STORE_BYTES,
            _node_ip_address=LOOPBACK,
            **common,
        )
    else:
        del common["include_dashboard"]
        if address != "auto":  # Ray itself would wait for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), CONNECT_TIMEOUT_S).close()
        ray.init(address, **common)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide Ray's warnings and what it writes to standard error; keep our handlers of signals."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    in_main = threading.current_thread() is threading.main_thread()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)  # Ray's C++ code writes there
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
        for number, handler in handlers.items() if in_main else ():
            signal.signal(number, handler)


def _own_error(
    error: BaseException, call: Callable[..., object], arguments: tuple[object, ...]
) -> BaseException:
    """Return the error of *call* as another executor has it, without Ray's tracebacks."""
    if isinstance(error, RayTaskError):
        return error.cause if isinstance(error.cause, Exception) else RunError(str(error.cause))
    if isinstance(error, TaskCancelledError):
        return KeyboardInterrupt()
    if isinstance(error, _DEATHS):
        return WorkerDiedError(death_text(call, arguments))
    first = str(error).strip().splitlines()[:1]
    return RunError(f"{call.__name__}: Ray cannot run it: {type(error).__name__}: {''.join(first)}")


def _run_call(place: _Place, call: Callable[..., Result], arguments: tuple[object, ...]) -> Result:
    place.enter()
    return call(*arguments)


def _reads(file: str, content: str) -> str | None:
    """Return the reason for which this node does not read *content* in *file*, or None."""
    try:
        return None if Path(file).read_text() == content else "it has another file there"
    except OSError as error:
        return os_error_text(error)
