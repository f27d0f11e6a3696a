"""The memory that Linux control groups allow a process: a container may use less than the machine has.

Supports version 1, version 2, and both together. A group may use memory up to its limit; pages of files that
are not in use can be reclaimed. Groups are nested, and the lowest limit counts.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

MOST_BYTES: Final = 2**20
"""The most bytes that are read of a file of the kernel; these files are short."""


class MemoryLimit(NamedTuple):
    """The memory that one group allows its processes."""

    limit_bytes: int
    free_bytes: int
    """The limit minus the memory that is in use and cannot be reclaimed."""


class _Version(NamedTuple):
    """The names of the files and keys of one version of control groups."""

    limits: tuple[str, ...]
    usage: str
    inactive: tuple[str, ...]
    """Keys of ``memory.stat``; the first that exists counts."""


V1: Final = _Version(
    ("memory.limit_in_bytes",), "memory.usage_in_bytes", ("total_inactive_file", "inactive_file")
)
V2: Final = _Version(("memory.max", "memory.high"), "memory.current", ("inactive_file",))


def memory_limits(proc: Path, root: Path) -> Iterator[MemoryLimit]:
    """Yield the limit of each control group of this process.

    Args:
        proc: the folder of the kernel's files; its ``self/cgroup`` names the groups.
        root: the root of the file systems that its ``self/mountinfo`` names.
    """
    groups = _groups(proc)
    for mounted, point, version in _mounts(proc):
        group = groups.get("memory" if version is V1 else "")
        if group is None:
            continue
        top = root / point.lstrip("/")
        # In a container only a part of the tree is mounted; a group outside of it is the top of that part.
        inner = PurePosixPath(group)
        below = inner.relative_to(mounted) if inner.is_relative_to(mounted) else PurePosixPath()
        folder = top / (below if ".." not in below.parts else "")
        for parent in (folder, *folder.parents):
            limit = _limit_of(parent, version)
            if limit is not None:
                yield limit
            if parent == top:
                break


def _groups(proc: Path) -> dict[str, str]:
    """Return the path of each group of this process by controller; version 2 has an empty name."""
    groups: dict[str, str] = {}
    for line in _read(proc / "self" / "cgroup").splitlines():
        fields = line.split(":", 2)
        if len(fields) == 3:
            groups |= dict.fromkeys(fields[1].split(","), fields[2])
    return groups


def _mounts(proc: Path) -> Iterator[tuple[str, str, _Version]]:
    """Yield (part of the tree, mount point, version) of each tree of groups that counts memory."""
    for line in _read(proc / "self" / "mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) < 6 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            yield _unescape(fields[3]), _unescape(fields[4]), V2
        elif kind[0] == "cgroup" and "memory" in kind[2].split(","):
            yield _unescape(fields[3]), _unescape(fields[4]), V1


def _unescape(path: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, char)
    return path


def _limit_of(folder: Path, version: _Version) -> MemoryLimit | None:
    """Return the limit of the group at *folder*; None if it has none."""
    limits = [limit for name in version.limits if (limit := _number(folder / name)) is not None]
    usage = _number(folder / version.usage)
    if not limits or usage is None:
        return None
    stats = dict(line.split(" ", 1) for line in _read(folder / "memory.stat").splitlines() if " " in line)
    inactive = next((stats[key] for key in version.inactive if key in stats), "0").strip()
    reclaimable = int(inactive) if inactive.isdecimal() else 0
    return MemoryLimit(min(limits), max(min(limits) - max(usage - reclaimable, 0), 0))


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdecimal() and len(text) < 20 else None  # "max": none


def _read(path: Path) -> str:
    """Return the text of a file of the kernel; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
