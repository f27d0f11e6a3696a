"""Kills processes of a run at random, and checks that every device ends with the PEE for its last budget.

A fleet of two shards is served by two cloud replicas over a mosquitto that saves once a second. Each process
is killed with SIGKILL in turn, then all of them again and again in a random order, for ten minutes; the last
minute has no kills. Afterwards every device is checked.

    python -m benchmarks.kills [--minutes 10] [--seed 1]
"""

import argparse
import os
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import psutil

from benchmarks.figures import verdict, write
from emulator.metrics.live_status import LiveStatus
from emulator.run_directory.event_reader import read_tables
from emulator.runner.observer import RunObserver
from emulator.runner.runner import RunOptions, run
from scenarios.language.load import parse
from wire.units import NS_PER_S

SPEED = 4
EVERY_S = 15.0
"""Wall-clock time from one death to the next."""
CALM_S = 60.0

SCENARIO = """
version: 1
name: kills
clock: realtime
realtime: {speed: 4, connections: per_device, replicas: 2, max_lag: 30 s}
stop_time: 1 h
data: {type: synthetic}
updates: {retry_after: 10 s}
fleet:
  - name: device
    count: 300
    start_within: 20 s
    memory: {type: bounded_walk, min: 64 MiB, max: 2 GiB, max_step: 512 MiB, step_every: 20 s}
    budget: {share: 0.002 %}
"""

VICTIMS = {
    "broker": "mosquitto -c",
    "cloud 1": "--replica 1",
    "cloud 2": "--replica 2",
    "shard 1": "--shard 1/2",
    "shard 2": "--shard 2/2",
}
"""What the command line of each process has that no other's has."""


class Killer(RunObserver):
    """Kills one process after the other.

    Args:
        deaths: (simulated seconds, victim), rising.
    """

    def __init__(self, deaths: Iterator[tuple[float, str]]) -> None:
        self.killed: Counter[str] = Counter()
        self._deaths = deaths
        self._next = next(deaths, None)

    def on_status(self, pulse: LiveStatus, stop_ns: int) -> None:
        """Kill the processes that are due."""
        while self._next is not None and pulse.t_ns >= self._next[0] * NS_PER_S:
            name = self._next[1]
            self.killed[name] += kill(VICTIMS[name])
            self._next = next(self._deaths, None)


def kill(words: str) -> int:
    """Kill the child processes whose command line has *words*; return their number."""
    found = 0
    for process in psutil.Process().children(recursive=True):
        try:
            line = " ".join(process.cmdline())
        except psutil.NoSuchProcess:
            continue
        if words in line and "guard.py" not in line:
            os.kill(process.pid, signal.SIGKILL)
            found += 1
    return found


def in_turn_then_at_random(minutes: float, rng: np.random.Generator) -> Iterator[tuple[float, str]]:
    """Yield each victim in turn, then victims drawn at random, by simulated time."""
    names = list(VICTIMS)
    count = int((minutes * 60 - CALM_S) // EVERY_S)
    for place in range(count):
        name = names[place] if place < len(names) else names[int(rng.integers(len(names)))]
        yield (place + 1) * EVERY_S * SPEED, name


def faults_of(folder: Path) -> list[str]:
    """Return the faults of the devices of a run, device by device."""
    return [*_not_whole(folder), *_not_in_order(folder)]


def _not_whole(folder: Path) -> Iterator[str]:
    """Yield each device that does not hold the best PEE for its last budget, or has ever held too much."""
    names = ("device", "layer", "best_layer", "resident_bytes", "budget_bytes")
    table = read_tables(folder / "events")["quality"].select(names)
    budgets = read_tables(folder / "events")["budget"].select(["device", "budget_bytes"])
    last_budget = dict(zip(*(budgets[name].to_pylist() for name in ("device", "budget_bytes")), strict=True))
    last: dict[str, tuple[int, int, int]] = {}
    for device, layer, best, resident, budget in zip(
        *(table[name].to_pylist() for name in names), strict=True
    ):
        if resident > budget:
            yield f"{device}: held {resident} B of {budget} B"
        last[device] = layer, best, budget
    for device, (layer, best, budget) in last.items():
        if layer != best or budget != last_budget[device]:
            yield f"{device}: layer {layer} where {best} is best for {last_budget[device]} B"


def _not_in_order(folder: Path) -> Iterator[str]:
    """Yield each report that has two ends, and each update that was applied out of order."""
    names = ("device", "seq", "result", "applied_ns")
    table = read_tables(folder / "events")["update"].select(names)
    ends: set[tuple[str, int]] = set()
    applied: dict[str, list[tuple[int, int]]] = {}
    for device, seq, result, applied_ns in zip(*(table[name].to_pylist() for name in names), strict=True):
        if (device, seq) in ends:
            yield f"{device}: report {seq} has two ends"
        ends.add((device, seq))
        if result in ("applied", "confirmed"):
            applied.setdefault(device, []).append((applied_ns, seq))
    for device, moments in applied.items():
        order = [seq for _, seq in sorted(moments)]
        if order != sorted(set(order)):
            yield f"{device}: applied out of order"


def measure(minutes: float, seed: int) -> list[str]:
    """Run, write ``kills.json``; return the limits that are exceeded."""
    scenario = parse(SCENARIO, "kills.yaml", [f"stop_time={round(minutes * 60 * SPEED)} s"])
    killer = Killer(in_turn_then_at_random(minutes, np.random.default_rng(seed)))
    with tempfile.TemporaryDirectory() as folder:
        finished = run(scenario, RunOptions(Path(folder), shards=2, report=False), killer)
        wrong = faults_of(finished.folder)
    summary = finished.summary
    keys = (
        "devices", "wall_seconds", "budget_changes", "budget_reports", "updates_applied", "updates_lost",
        "updates_superseded", "connections_made", "connections_broken", "answers_stale", "shard_restarts",
        "cloud_restarts", "broker_restarts", "over_budget_device_seconds", "quality_regret",
        "update_latency_seconds", "round_trip_seconds",
    )  # fmt: skip
    figures = {"killed": msgspec.to_builtins(dict(killer.killed))} | {key: summary[key] for key in keys}
    write("kills", {**figures, "devices_wrong": len(wrong)})
    unharmed = [name for name in VICTIMS if not killer.killed[name]]
    return [*(f"kills: {name} was never killed" for name in unharmed), *(f"kills: {each}" for each in wrong)]


def main() -> int:
    """Run the benchmark; return the exit status."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--minutes", type=float, default=10.0, help="of the wall clock")
    arguments.add_argument("--seed", type=int, default=1, help="of the order of deaths")
    given = arguments.parse_args()
    return verdict(measure(given.minutes, given.seed))


if __name__ == "__main__":
    sys.exit(main())
