"""The interface of executors, of the shape of `concurrent.futures`.

A call that is submitted is a function of a module, and its arguments can be pickled. It may run more than
once: if its worker dies, it runs again, at most `MAX_RESTARTS` times. So it must be pure, or replace what an
earlier run of it has left.
"""

from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar, runtime_checkable

from wire.errors import RunError

Value = TypeVar("Value", covariant=True)
Result = TypeVar("Result")
Content = TypeVar("Content")

MAX_RESTARTS = 2
"""Number of times that a call runs again after the death of its worker."""


class WorkerDiedError(RunError):
    """The worker of a call died, and again each time that the call was run again."""


@runtime_checkable
class SharedValue(Protocol[Value]):
    """A value for many calls: it is sent once to a worker or to a node, not with each call."""

    @property
    def key(self) -> str:
        """Its name, which no other value of the executor has."""
        ...

    def get(self) -> Value:
        """Return the value, in a worker."""
        ...


class Executor(Protocol):
    """Runs calls; `submit` and `shutdown` are those of `concurrent.futures.Executor`."""

    @property
    def workers(self) -> int:
        """The number of calls that can run at the same time."""
        ...

    def submit(self, call: Callable[..., Result], /, *arguments: object) -> Future[Result]:
        """Start *call*, or let it wait for a worker, and return the future of its result.

        The future has a `WorkerDiedError` if the call kills its worker.
        """
        ...

    def share(self, value: Content) -> SharedValue[Content]:
        """Return *value* as an argument for many calls."""
        ...

    def check_folder(self, folder: Path) -> None:
        """Check that all workers can write into *folder* of this machine.

        Raises:
            InputError: some cannot.
        """
        ...

    def shutdown(self, *, cancel: bool = False) -> None:
        """Wait for all calls, or *cancel* and interrupt them; then end the workers."""
        ...


def death_text(call: Callable[..., object], arguments: tuple[object, ...]) -> str:
    """Return a line that names the call that has killed its workers, without what it shares with others."""
    while isinstance(call, partial):
        call = call.func
    own = (argument for argument in arguments if not isinstance(argument, SharedValue))
    name = f"{call.__name__}({', '.join(map(_short_text, own))})"
    times = MAX_RESTARTS + 1
    return f"{name}: its process died {times} times: killed for want of memory?"


def _short_text(argument: object) -> str:
    text = str(argument)
    return text if len(text) <= 80 else f"{text[:77]}..."
