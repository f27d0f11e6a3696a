"""Atomic replacement of files and folders: they appear completely or not at all.

A library that writes a file is given a Python file object, not a name: some libraries take names for UTF-8
text, but a folder's name may have other bytes.
"""

import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wire.errors import InputError

FILE_MODE = 0o644
FOLDER_MODE = 0o755
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}


@contextmanager
def atomic_file(path: Path, *, sync: bool = True) -> Iterator[Path]:
    """Yield a temporary file that replaces *path* when the block succeeds, and is removed when it fails.

    Only a regular file is replaced; a link is followed, and the file at its end is replaced.

    Args:
        path: the file.
        sync: True to write the file to the disk first. If False, a power cut may leave a damaged file:
            only for files whose readers detect that.

    Raises:
        InputError: *path* cannot be written; raised before the block begins.
    """
    target = resolve_output(path)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {os_error_text(error)}") from None
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        draft.chmod(FILE_MODE)
        if sync:
            _sync(draft)
        draft.replace(target)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes *path* when the block succeeds, and is removed when it fails.

    Raises:
        OSError: it cannot be made, or a folder that is not empty is at *path* when the block ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        draft.chmod(FOLDER_MODE)
        yield draft
        draft.rename(path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write *content* to *path*; readers see the old file or the new one.

    Raises:
        InputError: *path* cannot be written.
        OSError: the disk is full.
    """
    with atomic_file(path) as draft, naming(path):
        draft.write_bytes(content)


def write_with_folder(path: Path, text: str) -> None:
    """Write *text* to *path*, whole or not at all; its folder is made if it is missing.

    Raises:
        InputError: *path* cannot be written.
        OSError: the disk is full, or the folder cannot be made.
    """
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode())


def resolve_output(path: Path) -> Path:
    """Return the file that *path* leads to: a regular file, or one that does not exist yet.

    Raises:
        InputError: it is something else, or its folder does not exist.
    """
    try:
        target = Path(os.path.realpath(path))
        kind = stat.S_IFMT(target.stat().st_mode)
    except FileNotFoundError:
        kind = stat.S_IFREG
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {os_error_text(error)}") from None
    if kind != stat.S_IFREG:
        raise InputError(f"{path}: is {_KINDS.get(kind, 'no regular file')}, not a file to write")
    try:
        folder = target.parent.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {os_error_text(error)}") from None
    if not stat.S_ISDIR(folder.st_mode):
        raise InputError(f"{path}: cannot be written: {os.strerror(errno.ENOTDIR)}")
    return target


def check_overwritable(path: Path, is_own: Callable[[bytes], bool], what: str) -> None:
    """Check that *path* may be replaced: it does not exist, is empty, or was written by peelfleet.

    Args:
        path: the file.
        is_own: tells by the first bytes of a file whether peelfleet wrote it.
        what: the kind of file, for the error.

    Raises:
        InputError: it is a file of another program, or cannot be written.
    """
    target = resolve_output(path)
    try:
        with target.open("rb") as file:
            head = file.read(2**16)
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {os_error_text(error)}") from None
    if head and not is_own(head):
        raise InputError(f"{path}: is no {what}, and is not overwritten: name another file")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of the system in the block name *path*: that of a full disk names no file."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, os_error_text(error), str(path)) from None


def os_error_text(error: OSError) -> str:
    """Return the text of an error of the operating system, without its number."""
    return error.strerror or str(error)


def error_text(error: Exception) -> str:
    """Return *error* as text for people; of an `OSError` without its number."""
    return os_error_text(error) if isinstance(error, OSError) else str(error)


def with_name(error: OSError) -> str:
    """Return why a file cannot be used, after its name if *error* has it."""
    return (
        os_error_text(error)
        if error.filename is None
        else f"{os.fsdecode(error.filename)}: {os_error_text(error)}"
    )


def _sync(path: Path) -> None:
    """Write a file to the disk, so that a power cut leaves the old file or the new one."""
    handle = os.open(path, os.O_RDWR)  # Windows syncs only writable files
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_oldest(folder: Path, most_bytes: int) -> None:
    """Remove the files of a cache beyond *most_bytes*, oldest first, with those that killed processes left.

    Locks stay: another process may hold them.
    """
    files = [path for path in folder.iterdir() if path.suffix != ".lock"]
    room = most_bytes
    for path in sorted(files, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        room -= path.stat().st_size
        if room < 0:
            path.unlink(missing_ok=True)
