"""The disk and the memory that a run takes are estimated before it starts, and compared with what is free."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from emulator.simulation.model_cache import SHIPPED
from emulator.simulation.trace_files import TraceFiles
from emulator.space.check_space import check_space, describe_size
from emulator.space.fleet_size import FleetSize, estimate_size, recorded_size
from emulator.space.free_space import free_disk_bytes, free_memory_bytes
from emulator.space.space_estimate import Processes, Space, estimate_space
from scenarios.language.load import parse
from scenarios.language.scenario import Scenario
from tests.emulator.cli.test_main import peelfleet
from tests.emulator.scenarios import TINY, RecordingObserver, Runner
from wire.errors import InputError

ROOT = Path(__file__).resolve().parents[3]
KIB, MIB, GIB = 2**10, 2**20, 2**30
ACTIONS = """
actions:
  - {type: budget_scale, at: 2 min, factor: 0.5}
  - {type: disconnect, at: 8 min, duration: 30 s}
faults:
  - {type: broker_down, at: 12 min, duration: 30 s}
"""
DAY = """
version: 1
name: day
clock: virtual
stop_time: 1 d
fleet:
  - name: phone
    count: 2048
    memory: {type: bounded_walk, min: 64 MiB, max: 2 GiB, max_step: 512 MiB, step_every: 1 h}
    budget: {share: 0.002 %}
    start_within: 1 h
"""


LARGEST_MEMORY = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A program that runs a command, and prints its largest memory in KiB."""


def tiny(*overrides: str) -> Scenario:
    return parse(TINY, "tiny.yaml", overrides)


def test_a_run_that_nothing_can_hold_is_refused_before_it_starts(runner: Runner) -> None:
    needs = (
        r"^[\d,]+ devices with about [\d,]+ changes will take about .* of (disk in .*runs|memory), "
        r"and .* are free.*; --force starts it all the same$"
    )
    with pytest.raises(InputError, match=needs):
        runner.run(TINY, "fleet[0].count=9000000", "stop_time=365 d")
    assert not runner.out.exists()


def test_a_sweep_of_such_runs_is_refused_before_its_first(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(TINY)
    options = ("--set", "fleet[0].count=9000000", "--over", "stop_time=365 d,300 d")
    done = peelfleet("sweep", "x.yaml", *options, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("peelfleet: 2 runs, ")
    assert done.stderr.endswith("; --force starts it all the same\n")


def test_what_is_near_is_warned_of_and_what_is_forced_starts(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    (near,) = check_space("9 devices", Space(free, 0), tmp_path, force=False)
    assert near.startswith(f"9 devices will take about {free / GIB:.3g} GiB of disk in {tmp_path}, and ")
    assert list(check_space("9 devices", Space(free // 2, 0), tmp_path, force=False)) == []
    memory = free_memory_bytes()
    assert memory is not None
    too_much = Space(free * 3, memory * 3)
    forced = list(
        check_space("9 devices", too_much, tmp_path, force=True, remedy="fewer --workers need less")
    )
    assert ["of disk" in forced[0], "of memory" in forced[1]] == [True, True]
    assert forced[1].endswith("; fewer --workers need less")
    with pytest.raises(InputError):
        list(check_space("9 devices", Space(0, memory * 3), tmp_path, force=False))


def test_a_run_that_is_forced_starts(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine has no free memory here."""
    monkeypatch.setattr("emulator.space.check_space.free_memory_bytes", lambda: MIB)
    short = ("stop_time=2 min", "fleet[0].count=2", "fleet[1].count=1")
    with pytest.raises(InputError, match=r"will take about 19\d MiB of memory, and 1 MiB are free"):
        runner.run(TINY, *short)
    runner.force, observer = True, RecordingObserver()
    runner.run(TINY, *short, observer=observer)
    assert [each.endswith("of memory, and 1 MiB are free") for each in observer.warnings] == [True]


def test_memory_is_what_the_tightest_control_group_leaves(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable:  4194304 kB\nSwapFree:  1048576 kB\n")
    assert free_memory_bytes(proc, groups) == 5 * GIB
    (proc / "self" / "cgroup").write_text("0::/a/b\n")
    inner = groups / "a" / "b"
    inner.mkdir(parents=True)
    for folder, most, used in ((inner, "max", 0), (groups / "a", str(2 * GIB), GIB)):
        (folder / "memory.max").write_text(f"{most}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 5\ninactive_file {MIB}\n")
    assert free_memory_bytes(proc, groups) == GIB + MIB
    (proc / "self" / "cgroup").write_text("5:cpu:/\n4:memory,x:/gone\n")
    first = groups / "memory"
    first.mkdir()
    (first / "memory.limit_in_bytes").write_text(f"{GIB}\n")
    (first / "memory.usage_in_bytes").write_text(f"{GIB // 2}\n")
    (first / "memory.stat").write_text("total_inactive_file 0\n")
    assert free_memory_bytes(proc, groups) == GIB // 2
    nothing = tmp_path / "nothing"  # as on macOS
    assert free_memory_bytes(nothing, nothing) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_the_disk_of_a_folder_that_is_not_there_yet_is_known(tmp_path: Path) -> None:
    free = free_disk_bytes(tmp_path / "a" / "b")
    assert free is not None
    assert free == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)


@pytest.mark.parametrize("more", ["", ACTIONS])
def test_the_size_and_the_disk_are_near_to_those_of_a_run(runner: Runner, more: str) -> None:
    text, overrides = TINY + more, ("fleet[0].count=60",)
    folder = runner.run(text, *overrides).folder
    size, recorded = estimate_size(parse(text, "x.yaml", overrides), TraceFiles()), recorded_size(folder)
    assert recorded is not None
    assert (size.devices, recorded.devices) == (70, 70)
    assert size.changes == pytest.approx(recorded.changes, rel=0.15)
    assert size.range_changes == size.changes
    assert recorded.range_changes == recorded.changes
    on_disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert 1 / 2 < estimate_space(parse(text, "x.yaml", overrides), size, Processes(1)).disk / on_disk < 2


MEASURED = [
    # Overrides, workers, and the memory in MiB (PSS of all processes) that a run took, as in docs/scale.md.
    (("fleet[0].count=64", "engine=simpy"), 1, 149),
    (("engine=simpy",), 1, 261),
    (("engine=simpy", "stop_time=5 d"), 1, 534),
    (("engine=simpy", "fleet[0].count=4096"), 2, 504),
    (("engine=kernel",), 1, 276),
    (("engine=kernel", "stop_time=10 d"), 1, 830),
    (("engine=kernel", "stop_time=30 d"), 1, 2117),
    (("engine=kernel", "fleet[0].count=4096", "stop_time=10 d"), 2, 2117),
    (("engine=kernel", "fleet[0].count=100000"), 2, 701),
    (("cloud.workers=2000", "fleet[0].count=5000"), 2, 693),
    (("clock=lockstep", "fleet[0].count=1000", "stop_time=6 h"), 1, 201),
    (("clock=realtime", "fleet[0].count=300", "stop_time=1 h"), 1, 309),
]


@pytest.mark.parametrize(("overrides", "workers", "mib"), MEASURED)
def test_the_memory_is_near_to_what_was_measured(overrides: tuple[str, ...], workers: int, mib: int) -> None:
    scenario = parse(DAY, "day.yaml", overrides)
    space = estimate_space(scenario, estimate_size(scenario, TraceFiles()), Processes(workers))
    assert 1 / 1.4 < space.memory / (mib * MIB) < 1.4


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss")
def test_the_memory_is_near_to_that_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(DAY)
    command = [sys.executable, "-m", "emulator.cli", "run", "x.yaml", "--workers", "1"]
    # The model that comes with peelfleet: training takes memory, too, and is not estimated.
    overrides = ("engine=simpy", "fleet[0].count=1000", f"model.store={SHIPPED / 'quickstart'}")
    command += [word for override in overrides for word in ("--set", override)]
    # A small process between: the largest memory of a child is at least that of the process that forks it.
    measured = [sys.executable, "-c", LARGEST_MEMORY, *command]
    run = subprocess.run(
        measured, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, check=True
    )
    largest_kib = int(run.stdout.splitlines()[-1])
    scenario = parse(DAY, "x.yaml", overrides)
    space = estimate_space(scenario, estimate_size(scenario, TraceFiles()), Processes(1))
    assert 1 / 2 < space.memory / (largest_kib * KIB) < 2


def test_the_fullest_range_has_the_busiest_devices() -> None:
    calm = "fleet[1].memory={type: square_wave, low: 50 KiB, high: 1 MiB, low_for: 4 h, high_for: 4 h}"
    size = estimate_size(tiny("fleet[0].count=1024", "fleet[1].count=90000", calm), TraceFiles())
    assert size.devices == 91024
    busy = estimate_size(tiny("fleet[0].count=1024", "fleet[1].count=1", calm), TraceFiles())
    assert size.range_changes == pytest.approx(busy.changes + 1024, rel=0.01)  # the others begin once
    assert describe_size(FleetSize(91024, 1234, 9)) == "91,024 devices with about 1,234 changes"
    sampled = estimate_size(tiny("fleet[0].count=1000", "fleet[1].count=1000", "sample=10 %"), TraceFiles())
    assert sampled.devices == 200
