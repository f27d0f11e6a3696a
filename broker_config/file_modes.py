"""Files for all users, and files for the owner only, whatever the umask is."""

import os
from pathlib import Path

SECRET, OPEN = 0o600, 0o644


def is_root() -> bool:
    """Tell if this process is root's; there is no root on Windows."""
    return hasattr(os, "geteuid") and os.geteuid() == 0


def write_secret(path: Path, content: str | bytes) -> None:
    """Write *content* (text as UTF-8) so that only the owner can read it, at any time."""
    _write(path, content, SECRET)


def write_open(path: Path, content: str | bytes) -> None:
    """Write *content* (text as UTF-8) so that all users can read it and only the owner can write it."""
    _write(path, content, OPEN)


def _write(path: Path, content: str | bytes, mode: int) -> None:
    # O_NOFOLLOW: another user may have put a link there. O_BINARY: Windows changes the ends of lines else.
    of_the_system = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | of_the_system
    with os.fdopen(os.open(path, flags, SECRET), "wb") as file:
        if hasattr(os, "fchmod"):  # on Windows, a folder's rights are those of the files in it
            os.fchmod(file.fileno(), mode)
        file.write(content.encode() if isinstance(content, str) else content)
