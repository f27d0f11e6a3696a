"""Locks between processes: a lock ends with the process that holds it."""

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout


class Lock:
    """The lock of a file, held by this process until the end of a block.

    The locked file is empty and lies beside the resource: some systems cannot read a locked file.
    """

    def __init__(self, path: Path, lock: FileLock, *, keep_file: bool) -> None:
        self._path = path
        self._lock = lock
        self._keep_file = keep_file

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._keep_file:
            with suppress(OSError):  # Windows cannot remove an open file; filelock removes it later
                self._path.unlink()
        self._lock.release()


def acquire_lock(path: Path, on_wait: Callable[[], None] | None = None, *, keep_file: bool = False) -> Lock:
    """Return the lock of *path*, once this process holds it.

    Args:
        path: the file to lock.
        on_wait: called once if another process holds the lock, before this process waits for it; None: do
            not wait.
        keep_file: True to keep the file when the lock is released; else it is removed.

    Raises:
        BlockingIOError: another process holds the lock, and *on_wait* is None.
        OSError: the file cannot be locked.
    """
    lock = FileLock(path)
    while True:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if on_wait is None:
                raise BlockingIOError(errno.EAGAIN, "another process has locked it", str(path)) from None
            on_wait()
            lock.acquire(timeout=-1)
        except NotImplementedError:  # a file system without locks
            raise OSError(errno.ENOLCK, "its file system has no locks", str(path)) from None
        if path.exists():
            return Lock(path, lock, keep_file=keep_file)
        lock.release()  # the previous holder has removed the file
