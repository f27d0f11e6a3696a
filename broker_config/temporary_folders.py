"""Temporary folders that go with their process; those of killed processes are removed by the next one."""

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
"""Lock file that the owner of the folder holds as long as it lives."""


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a temporary folder that only this user can read; it is removed after the block.

    Folders of killed processes are removed first: they may hold passwords.
    """
    remove_orphaned_folders()
    folder, lock = _new_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)  # Windows cannot remove a locked file


def remove_orphaned_folders() -> None:
    """Remove the temporary folders of processes that are dead."""
    with suppress(OSError):
        for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            with suppress(OSError, Timeout):
                _remove_orphan(folder)


def _remove_orphan(folder: Path) -> None:
    # Other users may write there: ignore their links and locks. A broker may own the folder.
    lock = (folder / OWNER).lstat()
    user = os.geteuid() if hasattr(os, "geteuid") else lock.st_uid  # Windows: the folder is of one user
    own = stat.S_ISREG(lock.st_mode) and lock.st_uid == user and lock.st_nlink == 1
    if folder.is_symlink() or not own:
        return
    with FileLock(folder / OWNER, timeout=0):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)  # Windows cannot remove a locked file


def _new_folder() -> tuple[Path, FileLock]:
    """Return a new folder and its lock; another process may remove the folder before it is locked."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        lock = FileLock(folder / OWNER)
        with suppress(FileNotFoundError):
            lock.acquire()
            if (folder / OWNER).exists():
                return folder, lock
        lock.release()
