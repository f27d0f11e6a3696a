"""``make bench-million``: one day of large fleets, everything included, and what it takes.

Each device changes its budget about 24 times. Printed for each size: wall time, processor time, the largest
sum of the memory of all processes (PSS), and bytes of the event log for a cycle (a change, its exchange and
the states after it). Promised: a million devices in 300 s, 2 GB and 60 B a cycle; and from 100,000 to 300,000
devices at most 3.1 times the processor time and 1.15 times the memory. With loss, jitter and churn
(``--flaky``) time, memory and disk may be 1.5 times those of the calm day.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

SIZES = (100_000, 300_000, 1_000_000)
LONGEST_S, LARGEST_BYTES, CYCLE_BYTES = 300.0, 2 * 10**9, 60.0
CPU_GROWTH, MEMORY_GROWTH = 3.1, 1.15
FLAKY_FACTOR = 1.5
LINK = "{uplink: {latency: 40 ms}, downlink: {latency: 40 ms, bandwidth: 20 Mbps}}"
FLAKY = (
    "{uplink: {latency: 80 ms, deviation: 30 ms, loss: 1 %}, "
    "downlink: {latency: 80 ms, deviation: 30 ms, loss: 1 %, bandwidth: 10 Mbps}}"
)
SCENARIO = """
version: 1
name: day-{devices}
clock: virtual
stop_time: 1 d
networks: {{default: {link}}}
fleet:
  - name: phone
    count: {devices}
    memory: {{type: bounded_walk, min: 64 MiB, max: 2 GiB, max_step: 512 MiB, step_every: 1 h}}
    budget: {{share: 0.002 %}}
    start_within: 1 h
"""
CHURN = "    churn: {uptime_mean: 4 h, downtime_mean: 20 min}\n"


@dataclass(frozen=True)
class Cost:
    """The cost of one run."""

    devices: int
    cycles: int
    wall_s: float
    cpu_s: float
    memory_bytes: int
    events_bytes: int

    def row(self) -> str:
        """Return one line of the table."""
        return (
            f"{self.devices:>9,} {self.cycles:>11,} {self.wall_s:>8.0f} {self.cpu_s:>8.0f} "
            f"{self.cpu_s / self.cycles * 1e6:>8.1f} {self.memory_bytes / 2**20:>8,.0f} "
            f"{self.events_bytes / self.cycles:>8.1f}"
        )


def run_day(devices: int, *, flaky: bool, workers: int | None) -> Cost:
    """Run one day of a fleet, and measure it with all its processes."""
    with tempfile.TemporaryDirectory() as folder:
        text = SCENARIO.format(devices=devices, link=FLAKY if flaky else LINK)
        (Path(folder) / "day.yaml").write_text(text + CHURN if flaky else text)
        command = [
            sys.executable,
            "-m",
            "emulator.cli",
            "run",
            f"{folder}/day.yaml",
            "--out",
            f"{folder}/runs",
        ]
        command += [] if workers is None else ["--workers", str(workers)]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as run:
            largest = 0
            while run.poll() is None:
                largest = max(largest, _memory_bytes(run.pid))
                time.sleep(0.5)
        wall_s, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
        if run.returncode:
            raise SystemExit(f"the run of {devices:,} devices ended with status {run.returncode}")
        (summary,) = Path(folder).glob("runs/*/summary.json")
        events = sum(path.stat().st_size for path in (summary.parent / "events").rglob("*.parquet"))
        cycles = json.loads(summary.read_text())["budget_changes"]
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(devices, cycles, wall_s, cpu_s, largest, events)


def _memory_bytes(pid: int) -> int:
    """Return the memory of a process and its descendants: each shared page counts once (PSS)."""
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            total += process.memory_full_info().pss
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        pass
    return total


def broken_promises(costs: list[Cost], factor: float) -> list[str]:
    """Return a sentence for each promise that does not hold; *factor* is on time, memory and disk."""
    cycle_bytes, longest_s, largest_bytes = (
        factor * each for each in (CYCLE_BYTES, LONGEST_S, LARGEST_BYTES)
    )
    broken = [
        f"{cost.devices:,} devices: {cost.events_bytes / cost.cycles:.1f} B a cycle, promised {cycle_bytes:g}"
        for cost in costs
        if cost.events_bytes / cost.cycles > cycle_bytes
    ]
    by_size = {cost.devices: cost for cost in costs}
    small, large, million = (by_size.get(size) for size in SIZES)
    if small and large:
        cpu, memory = large.cpu_s / small.cpu_s, large.memory_bytes / small.memory_bytes
        if cpu > CPU_GROWTH or memory > MEMORY_GROWTH:
            broken.append(
                f"100,000 to 300,000 devices: {cpu:.2f} times the processor time, {memory:.2f} times the "
                f"memory, promised {CPU_GROWTH} and {MEMORY_GROWTH}"
            )
    if million and (million.wall_s > longest_s or million.memory_bytes > largest_bytes):
        broken.append(f"a million devices: promised {longest_s:g} s and {largest_bytes / 1e9:g} GB")
    return broken


def main() -> int:
    """Run the days, print the table, and return 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("devices", nargs="*", type=int, default=list(SIZES), help="numbers of devices")
    parser.add_argument("--flaky", action="store_true", help="with loss, jitter and churn")
    parser.add_argument("--workers", type=int, default=None, help="processes; all cores by default")
    options = parser.parse_args()
    heads = ("devices", "cycles", "wall s", "CPU s", "us/cycle", "PSS MiB", "B/cycle")
    print(" ".join(f"{head:>{width}}" for head, width in zip(heads, (9, 11, 8, 8, 8, 8, 8), strict=True)))
    costs = []
    for devices in options.devices:
        costs.append(run_day(devices, flaky=options.flaky, workers=options.workers))
        print(costs[-1].row(), flush=True)
    broken = broken_promises(costs, FLAKY_FACTOR if options.flaky else 1)
    for sentence in broken:
        print(f"BROKEN: {sentence}")
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
