"""Free memory within the limits of control groups: folders as Linux shows them, of versions 1 and 2."""

from pathlib import Path

import pytest

from devices.traces.procfs import Sample, read_proc
from emulator.cli.agent import budget_source
from emulator.cli.trace.record import record
from tests.devices.traces.reading import read_series
from wire.units import NS_PER_S, Bytes, Duration, Share

KIB, MIB = 2**10, 2**20
MEMINFO = f"MemTotal: {4096 * KIB} kB\nMemAvailable: {2048 * KIB} kB\n"
NO_LIMIT_V1 = 9223372036854771712
V1_MOUNT = "33 25 0:28 {part} /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n"
V2_MOUNT = "33 25 0:28 {part} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"


def machine(root: Path, groups: str, mounts: str) -> Path:
    """Make the kernel's files; 4 GiB in all, 2 GiB available."""
    proc = root / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text(MEMINFO)
    (proc / "self" / "cgroup").write_text(groups)
    (proc / "self" / "mountinfo").write_text("21 1 8:1 / / rw - ext4 /dev/sda1 rw\n" + mounts)
    return proc


def v1(
    root: Path, path: str, limit: int, usage: int, inactive: int = 0, stat: str = "total_inactive_file"
) -> None:
    folder = root / "sys/fs/cgroup/memory" / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.limit_in_bytes").write_text(f"{limit}\n")
    (folder / "memory.usage_in_bytes").write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"cache 0\ninactive_file 1\n{stat} {inactive}\n")


def v2(root: Path, path: str, limit: object, usage: int, inactive: int = 0, high: object = "max") -> None:
    folder = root / "sys/fs/cgroup" / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.high").write_text(f"{high}\n")
    (folder / "memory.current").write_text(f"{usage}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {inactive}\nactive_file 7\n")


def read(root: Path) -> tuple[float, float]:
    sample = read_proc(root / "proc", root)
    return sample.available_bytes / MIB, sample.total_bytes / MIB


def test_a_group_of_version_1_leaves_its_limit_less_what_cannot_be_reclaimed(tmp_path: Path) -> None:
    machine(tmp_path, "5:cpu,cpuacct:/x\n4:memory:/docker/abc\n0::/\n", V1_MOUNT.format(part="/"))
    v1(tmp_path, "docker/abc", 200 * MIB, 120 * MIB, 20 * MIB)
    v1(tmp_path, "docker", NO_LIMIT_V1, 900 * MIB)
    v1(tmp_path, "", NO_LIMIT_V1, 900 * MIB)
    assert read(tmp_path) == (100, 200)


def test_a_group_of_version_2_does_too_and_the_least_of_nested_limits_counts(tmp_path: Path) -> None:
    machine(tmp_path, "0::/user.slice/app.scope\n", V2_MOUNT.format(part="/"))
    v2(tmp_path, "user.slice/app.scope", 400 * MIB, 120 * MIB, 20 * MIB)
    assert read(tmp_path) == (300, 400)
    v2(tmp_path, "user.slice", 500 * MIB, 450 * MIB, 10 * MIB)
    assert read(tmp_path) == (60, 400)
    v2(tmp_path, "user.slice", "max", 450 * MIB, high=480 * MIB)
    assert read(tmp_path) == (30, 400)
    v2(tmp_path, "user.slice/app.scope", "max", 120 * MIB)
    v2(tmp_path, "user.slice", "max", 450 * MIB)
    assert read(tmp_path) == (2048, 4096)


@pytest.mark.parametrize(
    ("groups", "part"),
    [
        ("0::/\n", "/"),  # a name space of its own
        ("0::/docker/abc\n", "/docker/abc"),  # only its part of the tree is mounted
        ("0::/docker/abc\n", "/kubepods/of/others"),
        ("0::/../../elsewhere\n", "/"),
    ],
)
def test_a_container_sees_its_own_group_at_the_top(tmp_path: Path, groups: str, part: str) -> None:
    machine(tmp_path, groups, V2_MOUNT.format(part=part))
    v2(tmp_path, "", 200 * MIB, 250 * MIB, 20 * MIB)  # more in use than the limit: nothing is left
    assert read(tmp_path) == (0, 200)
    v2(tmp_path, "", 200 * MIB, 50 * MIB, 90 * MIB)  # less in use than reclaimable: they are read one by one
    assert read(tmp_path) == (200, 200)


def test_both_versions_at_once_and_damaged_files(tmp_path: Path) -> None:
    mounts = V1_MOUNT.format(part="/") + V2_MOUNT.format(part="/").replace(
        "cgroup rw,n", "cgroup/unified rw,n"
    )
    machine(tmp_path, "4:memory:/a\n0::/b\nnonsense\n", mounts + "half a line\n")
    v1(tmp_path, "a", 300 * MIB, 10 * MIB)
    assert read(tmp_path) == (290, 300)
    (tmp_path / "sys/fs/cgroup/memory/a/memory.usage_in_bytes").write_text("much\n")
    assert read(tmp_path) == (2048, 4096)


def test_without_control_groups_the_machine_counts(tmp_path: Path) -> None:
    proc = machine(tmp_path, "", "")
    assert read_proc(proc, tmp_path) == Sample(2048 * MIB, 4096 * MIB, None)
    (proc / "self" / "cgroup").unlink()
    (proc / "self" / "mountinfo").unlink()
    assert read_proc(proc) == Sample(2048 * MIB, 4096 * MIB, None)


def test_recorder_and_agent_count_the_limit_of_their_container(tmp_path: Path) -> None:
    """The mount lies in a folder here, so the command's own root will do."""
    mount = V2_MOUNT.format(part="/").replace("/sys/fs/cgroup", f"{tmp_path}/sys/fs/cgroup")
    proc = machine(tmp_path, "0::/app\n", mount)
    v2(tmp_path, "app", 200 * MIB, 120 * MIB, 20 * MIB)
    assert budget_source(None, Share(0.01), proc)() == MIB
    out = tmp_path / "x.csv"
    record(
        out, every=Duration(NS_PER_S), for_=Duration(10**6), resolution=Bytes(MIB), name="me",
        source="", licence="", notes="", proc=proc, root=Path("/"),
    )  # fmt: skip
    assert read_series(out, "mem_available_bytes", "whole")["me"].values == (100 * MIB,)
    assert read_series(out, "mem_total_bytes", "whole")["me"].values == (200 * MIB,)
