"""Files that others may read, and files that nobody else may: whatever the umask says."""

import os
from pathlib import Path

SECRET, OPEN = 0o600, 0o644


def write_secret(path: Path, content: str | bytes) -> None:
    """Write *content* (text as UTF-8) so that nobody but the owner can read it, at no moment."""
    _write(path, content, SECRET)


def write_open(path: Path, content: str | bytes) -> None:
    """Write *content* (text as UTF-8) so that everybody can read it, and only the owner write."""
    _write(path, content, OPEN)


def _write(path: Path, content: str | bytes, mode: int) -> None:
    # O_NOFOLLOW: a link that somebody has put there leads elsewhere.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, SECRET), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(content.encode() if isinstance(content, str) else content)
