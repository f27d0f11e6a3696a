"""The disk and the memory that are free for a run, where the operating system says it."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
CGROUPS: Final = Path("/sys/fs/cgroup")
_KIB: Final = 1024


def free_disk_bytes(folder: Path) -> int | None:
    """Return the free bytes of the disk of *folder*, which need not exist; None: unknown."""
    for existing in (folder.absolute(), *folder.absolute().parents):
        try:
            return shutil.disk_usage(existing).free
        except OSError:
            continue
    return None


def free_memory_bytes(proc: Path = PROC, cgroups: Path = CGROUPS) -> int | None:
    """Return the bytes of memory that processes can take, swap included; None: unknown.

    The limits of the control groups of this process count, such as those of a container. Without ``/proc``,
    as on macOS, it is all memory of the machine.

    Args:
        proc: the file system of processes.
        cgroups: the file system of control groups.
    """
    known = [free for free in (_machine_bytes(proc), *_group_bytes(proc, cgroups)) if free is not None]
    return min(known, default=None)


def _machine_bytes(proc: Path) -> int | None:
    """Return the memory of the machine that is available."""
    try:
        lines = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines())
        sizes = (int(lines[name].removesuffix("kB")) * _KIB for name in ("MemAvailable", "SwapFree"))
        return sum(sizes)
    except (OSError, ValueError, KeyError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has no such function
        return None


def _group_bytes(proc: Path, cgroups: Path) -> Iterator[int]:
    """Yield what each control group of this process leaves below its limit, in version 1 or 2 of them."""
    try:
        entries = [line.split(":", 2) for line in (proc / "self" / "cgroup").read_text().splitlines()]
    except OSError:
        return
    for entry in entries:
        if len(entry) != 3:
            continue
        _, controllers, path = entry
        if not controllers:
            top, limit, used = cgroups, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            top, limit, used = cgroups / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        own = top / path.strip("/")
        # In a container the path of the host may not exist: the container's own group is the top then.
        for group in dict.fromkeys((own, *own.parents, top)):
            if group == top or top in group.parents:
                yield from _left_bytes(group, limit, used)


def _left_bytes(group: Path, limit: str, used: str) -> Iterator[int]:
    """Yield what a control group leaves; its caches of files can be given up."""
    try:
        most, now = int((group / limit).read_text()), int((group / used).read_text())
        words = (line.split() for line in (group / "memory.stat").read_text().splitlines())
        caches = {name: int(size) for name, size in words}
    except (OSError, ValueError):  # no limit is the word ``max``
        return
    files = caches.get("total_inactive_file", caches.get("inactive_file", 0))
    yield max(most - now + files, 0)
