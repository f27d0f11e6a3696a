"""Files for all users, and files for the owner only, whatever the umask is."""

import os
from pathlib import Path

SECRET, OPEN = 0o600, 0o644


def write_secret(path: Path, content: str | bytes) -> None:
    """Write *content* (text as UTF-8) so that only the owner can read it, at any time."""
    _write(path, content, SECRET)


def write_open(path: Path, content: str | bytes) -> None:
    """Write *content* (text as UTF-8) so that all users can read it and only the owner can write it."""
    _write(path, content, OPEN)


def _write(path: Path, content: str | bytes, mode: int) -> None:
    # O_NOFOLLOW: another user may have put a link there.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, SECRET), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content.encode() if isinstance(content, str) else content)
