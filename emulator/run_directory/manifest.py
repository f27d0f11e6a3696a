"""The manifest: rows, bytes and SHA-256 of each file, from the process that wrote it."""

import errno
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import msgspec

from wire.errors import InputError
from wire.input_files import decode_json, open_regular, read_at_most
from wire.output_files import naming, os_error_text, write_atomically

MANIFEST = "manifest.json"
FORMAT = 1
MOST_BYTES = 2**24


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Rows, bytes and checksum of one file."""

    rows: int | None = None
    """None for a file that is not a table."""
    bytes: int
    sha256: str


Entries = Mapping[str, FileEntry]
"""Entries by the table's name, or by the file's path inside its folder."""


class _Manifest(msgspec.Struct, frozen=True, kw_only=True):
    format: int
    files: dict[str, FileEntry]


class CountedFile:
    """A file that is written once, from start to end, while its bytes are counted and hashed.

    Args:
        path: of the file. It is opened here, not by a library, so that its folder may have any name.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._failed = False

    @property
    def closed(self) -> bool:
        """True if the file is closed."""
        return self._file.closed

    def write(self, data: bytes) -> int:
        """Write *data*, all of it.

        Raises:
            OSError: the disk is full, or was full before, so that bytes are missing in the file.
        """
        self._digest.update(data)
        with self._naming():
            if self._failed:
                raise OSError(errno.EIO, "an earlier write has failed")
            written = self._file.write(data)
        self._bytes += written
        return written

    def flush(self) -> None:
        """Pass all bytes to the operating system, so that they survive the end of this process."""
        with self._naming():
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        with self._naming():
            self._file.close()

    @contextmanager
    def closing(self) -> Iterator[None]:
        """Close the file at the end of the block, even if the disk is full."""
        try:
            yield
        finally:
            self._file.close()

    @contextmanager
    def _naming(self) -> Iterator[None]:
        try:
            with naming(self._path):
                yield
        except OSError:
            self._failed = True
            raise

    def entry(self, rows: int) -> FileEntry:
        """Return what was written, which is a table of so many rows."""
        return FileEntry(rows=rows, bytes=self._bytes, sha256=self._digest.hexdigest())


def write_entries(path: Path, entries: Entries) -> None:
    """Write *entries* as a file."""
    content = msgspec.json.encode(_Manifest(format=FORMAT, files=dict(entries)))
    write_atomically(path, msgspec.json.format(content, indent=2) + b"\n")


def add_files(folder: Path, rows: Mapping[str, int | None]) -> None:
    """Add files to the manifest in *folder*.

    Args:
        folder: of a run.
        rows: number of rows of each table, None for other files, by the path inside the folder.
    """
    files = dict(read_entries(folder / MANIFEST) or {})
    for name, count in rows.items():
        with (folder / name).open("rb") as file:
            files[name] = _count(file, count)
    write_entries(folder / MANIFEST, files)


def add_entries(path: Path, contents: Mapping[str, bytes]) -> None:
    """Add files with these contents to the manifest *path*; do nothing if there is no manifest."""
    entries = read_entries(path)
    if entries is not None:
        write_entries(path, {**entries, **{name: _entry_of(content) for name, content in contents.items()}})


def read_entries(path: Path) -> Entries | None:
    """Return the entries of the manifest *path*; None without a manifest, as in older versions.

    Raises:
        InputError: the manifest is damaged.
    """
    try:
        return decode_json(read_at_most(path, MOST_BYTES, "a manifest"), _Manifest).files
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {os_error_text(error)}") from None
    except ValueError as error:
        raise InputError(f"{path}: is damaged: {error}") from None


def read_table_entry(path: Path, name: str) -> FileEntry | None:
    """Return the entry of the table *name* in the manifest *path*; None without a manifest.

    Raises:
        InputError: the manifest is damaged, or has no entry for it, or one without its number of rows.
    """
    entries = read_entries(path)
    if entries is None:
        return None
    if name not in entries:
        raise InputError(f"{path}: is damaged: says nothing of {name}")
    if entries[name].rows is None:
        raise InputError(f"{path}: is damaged: does not say how many rows {name} has")
    return entries[name]


def check_file(path: Path, expected: FileEntry, what: str = "the run directory") -> None:
    """Check that the file at *path* was not changed since it was written.

    Args:
        path: the file.
        expected: its entry.
        what: name of the damaged thing in an error.

    Raises:
        InputError: it was changed; the error has the expected and the actual size or checksum.
    """
    try:
        with open_regular(path, "a table of a run") as file:
            found = _count(file, expected.rows)
    except OSError as error:
        raise InputError(f"{path}: {what} is damaged: {os_error_text(error)}") from None
    _check_equal(path, found, expected, what)


def check_content(
    folder: Path,
    name: str,
    content: bytes,
    manifest: str = MANIFEST,
    what: str = "the run directory",
) -> None:
    """Check that *content*, read from the file *name* in *folder*, was not changed since it was written.

    A manifest of an older version has entries for tables only.

    Args:
        folder: of a run or a shard.
        name: of the file.
        content: of the file.
        manifest: the name of the manifest in *folder*.
        what: name of the damaged thing in an error.

    Raises:
        InputError: it was changed, or the manifest is damaged.
    """
    expected = (read_entries(folder / manifest) or {}).get(name)
    if expected is not None:
        _check_equal(folder / name, _entry_of(content), expected, what)


def _check_equal(path: Path, found: FileEntry, expected: FileEntry, what: str) -> None:
    if found.bytes != expected.bytes:
        rows = "" if expected.rows is None else f" ({expected.rows:,} rows)"
        raise InputError(
            f"{path}: {what} is damaged: {expected.bytes:,} bytes{rows} were written, "
            f"{found.bytes:,} bytes are there"
        )
    if found.sha256 != expected.sha256:
        raise InputError(
            f"{path}: {what} is damaged: SHA-256 {expected.sha256[:16]}... was written, "
            f"{found.sha256[:16]}... is there"
        )


def list_unchecked(folders: Iterable[Path]) -> list[str]:
    """Return a warning for each run directory without a manifest, whose tables cannot be checked."""
    return [
        f"{folder}: has no {MANIFEST}: it was written by an older version, and damage to its tables may show "
        "nowhere"
        for folder in folders
        if not (folder / MANIFEST).exists()
    ]


def _entry_of(content: bytes) -> FileEntry:
    return FileEntry(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _count(file: IO[bytes], rows: int | None) -> FileEntry:
    digest = hashlib.file_digest(file, "sha256")  # type: ignore[arg-type]  # typeshed wants a readinto
    return FileEntry(rows=rows, bytes=file.tell(), sha256=digest.hexdigest())
