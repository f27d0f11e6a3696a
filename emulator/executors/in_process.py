"""The executor that runs each call at once, in this process."""

import itertools
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from emulator.executors.executor import Content, Result


@dataclass(frozen=True)
class LocalValue(Generic[Content]):
    """A shared value of this process."""

    key: str
    value: Content

    def get(self) -> Content:
        """Return the value."""
        return self.value


class InProcessExecutor:
    """Runs each call when it is submitted."""

    workers = 1

    def __init__(self) -> None:
        self._keys = itertools.count()

    def submit(self, call: Callable[..., Result], /, *arguments: object) -> Future[Result]:
        """Run *call*; return a future that is done. An interrupt passes through."""
        future: Future[Result] = Future()
        try:
            future.set_result(call(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def share(self, value: Content) -> LocalValue[Content]:
        """Return *value* as an argument."""
        return LocalValue(f"{id(self)}-{next(self._keys)}", value)

    def check_folder(self, folder: Path) -> None:
        """Accept every folder: there is one process."""

    def shutdown(self, *, cancel: bool = False) -> None:
        """End: no call runs, and there are no workers."""
