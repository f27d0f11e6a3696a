"""What the control groups of Linux leave a process: in a container free memory of the machine is not its own.

Version 1 and version 2, and both at once. A group may use its limit; what it uses can be reclaimed as far as
it is pages of files that are not in use. Groups lie in one another, and each limit holds: the least counts.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

MOST_BYTES: Final = 2**20
"""Files of the kernel are short; of what is none of them no more is read."""


class MemoryLimit(NamedTuple):
    """What one group leaves its processes."""

    limit_bytes: int
    free_bytes: int
    """The limit less what is in use and cannot be reclaimed."""


class _Version(NamedTuple):
    """Where a version of control groups says what."""

    limits: tuple[str, ...]
    usage: str
    inactive: tuple[str, ...]
    """Keys of ``memory.stat``, the first that is there counts."""


V1: Final = _Version(
    ("memory.limit_in_bytes",), "memory.usage_in_bytes", ("total_inactive_file", "inactive_file")
)
V2: Final = _Version(("memory.max", "memory.high"), "memory.current", ("inactive_file",))


def memory_limits(proc: Path, root: Path) -> Iterator[MemoryLimit]:
    """Yield what each control group that holds this process leaves it.

    Args:
        proc: where the kernel's files are; ``self/cgroup`` there names the groups.
        root: of the file systems that ``self/mountinfo`` there names.
    """
    groups = _groups(proc)
    for mounted, point, version in _mounts(proc):
        group = groups.get("memory" if version is V1 else "")
        if group is None:
            continue
        top = root / point.lstrip("/")
        # In a container only a part of the tree is mounted; a group outside of it is the part's own top.
        inner = PurePosixPath(group)
        below = inner.relative_to(mounted) if inner.is_relative_to(mounted) else PurePosixPath()
        folder = top / (below if ".." not in below.parts else "")
        for each in (folder, *folder.parents):
            room = _room(each, version)
            if room is not None:
                yield room
            if each == top:
                break


def _groups(proc: Path) -> dict[str, str]:
    """Return the path of each group of this process, by controller; of version 2 by no name."""
    found: dict[str, str] = {}
    for line in _read(proc / "self" / "cgroup").splitlines():
        fields = line.split(":", 2)
        if len(fields) == 3:
            found |= dict.fromkeys(fields[1].split(","), fields[2])
    return found


def _mounts(proc: Path) -> Iterator[tuple[str, str, _Version]]:
    """Yield (part of the tree, where it is mounted, version) of each tree of groups that counts memory."""
    for line in _read(proc / "self" / "mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) < 6 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            yield _unescaped(fields[3]), _unescaped(fields[4]), V2
        elif kind[0] == "cgroup" and "memory" in kind[2].split(","):
            yield _unescaped(fields[3]), _unescaped(fields[4]), V1


def _unescaped(path: str) -> str:
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        path = path.replace(code, char)
    return path


def _room(folder: Path, version: _Version) -> MemoryLimit | None:
    """Return what the group at *folder* leaves; None where it has no limit."""
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
    """Return the text of a file of the kernel; nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
