"""Search for the data file in a folder."""

from pathlib import Path
from typing import Final

from cloud.data.readers.text import SUFFIXES, shorten
from wire.errors import InputError

PARTS: Final = ("train", "valid", "test")


def one_file(path: Path, *patterns: str) -> Path:
    """Return *path*, or the one file in that folder, or in a folder of it, that matches one of *patterns*.

    Raises:
        InputError: there is no such file, or more than one.
    """
    if not path.is_dir():
        return path
    for depth in ("", "*/"):
        files = [file for file in matching_files(path, depth, *patterns) if part_of(file) is None]
        if len(files) == 1:
            return files[0]
        if files:
            break
    names = ", ".join(shorten(file.name) for file in files[:12]) or "none"
    raise InputError(f"{path}: found {names}, expected exactly one of {', '.join(patterns)}")


def matching_files(path: Path, depth: str, *patterns: str) -> list[Path]:
    """Return the files of folder *path* that match one of *patterns*, compressed or not.

    Args:
        path: the folder.
        depth: prefix of the patterns: empty, or ``*/`` for the folders in it.
        patterns: of file names.

    Raises:
        InputError: the folder cannot be read.
    """
    try:
        return sorted(
            file
            for pattern in patterns
            for suffix in ("", *SUFFIXES)
            for file in path.glob(f"{depth}{pattern}{suffix}")
        )
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def part_of(file: Path) -> str | None:
    """Return the part of a file such as ``NAME.train.inter``; None for other names."""
    name_parts = file.name.split(".")
    return next((part for part in PARTS if part in name_parts[1:-1]), None)
