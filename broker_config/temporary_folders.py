"""Temporary folders of this process: gone when it ends, and swept out by the next one where it was killed."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

PREFIX = "peelfleet-"
OWNER = "owner.lock"
"""Locked as long as the process lives that the folder belongs to."""


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Give a temporary folder that nobody else can read; it goes with the block.

    What processes that were killed have left behind goes first: it may hold passwords.
    """
    remove_orphaned_folders()
    folder, lock = _owned()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def remove_orphaned_folders() -> None:
    """Remove the temporary folders of processes that are dead."""
    with suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            with suppress(OSError, Timeout):
                _remove_left(folder)


def _remove_left(folder: Path) -> None:
    # Others may write there, too: links and locks of theirs are none of ours. A broker may own the folder.
    lock = (folder / OWNER).lstat()
    ours = stat.S_ISREG(lock.st_mode) and lock.st_uid == os.geteuid() and lock.st_nlink == 1
    if folder.is_symlink() or not ours:
        return
    with FileLock(folder / OWNER, timeout=0):
        shutil.rmtree(folder, ignore_errors=True)


def _owned() -> tuple[Path, FileLock]:
    """Return a new folder and its lock; another process may sweep it out before it is locked."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = FileLock(folder / OWNER)
        with suppress(FileNotFoundError):
            lock.acquire()
            if (folder / OWNER).exists():
                return folder, lock
        lock.release()
