"""Executors by their names on the command line."""

import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from emulator.executors.executor import Executor
from emulator.executors.in_process import InProcessExecutor
from emulator.executors.processes import ProcessExecutor

IN_PROCESS, PROCESSES, RAY = "in-process", "processes", "ray"
FORMS = "in-process, processes, ray, ray:auto or ray:HOST:PORT"


@dataclass(frozen=True)
class ExecutorName:
    """The kind of an executor, and the address of its cluster."""

    kind: str = PROCESSES
    address: str | None = None
    """None: start one on this machine; ``auto``: the cluster that this machine is a part of."""

    def __str__(self) -> str:
        return self.kind if self.address is None else f"{self.kind}:{self.address}"


LOCAL = ExecutorName()


def read_executor(text: str) -> ExecutorName:
    """Return the executor of a name such as ``processes`` or ``ray:10.0.0.1:6379``.

    Raises:
        ValueError: the text is no such name.
    """
    kind, _, address = text.partition(":")
    host, _, port = address.rpartition(":")
    if text in (IN_PROCESS, PROCESSES, RAY):
        return ExecutorName(text)
    if kind == RAY and (address == "auto" or (host and "/" not in host and port.isdecimal())):
        return ExecutorName(RAY, address)
    raise ValueError(f"{text!r} is not {FORMS}")


@contextmanager
def open_executor(name: ExecutorName = LOCAL, workers: int | None = None) -> Iterator[Executor]:
    """Yield an executor; its calls are cancelled when the block fails or is interrupted.

    Args:
        name: its kind.
        workers: most calls at a time; None: a call for each core of this machine, or of the cluster.

    Raises:
        InputError: the extra is not installed, or there is no cluster at the address.
    """
    executor = _start(name, workers)
    try:
        yield executor
        executor.shutdown()
    except BaseException:
        executor.shutdown(cancel=True)
        raise


def _start(name: ExecutorName, workers: int | None) -> Executor:
    if name.kind == RAY:
        from emulator.executors.ray_executor import RayExecutor  # an extra

        return RayExecutor(name.address, workers)
    # A worker of a pool of `multiprocessing`, the user's for example, may start no process.
    if name.kind == IN_PROCESS or multiprocessing.current_process().daemon:
        return InProcessExecutor()
    return ProcessExecutor(workers or count_cores())


def count_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
