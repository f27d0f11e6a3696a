"""The cost of five thousand devices, each with its own connection, on one machine; nothing may be lost.

All devices of `scenarios/live-squeeze.yaml` connect before simulated time begins, as fast as `CONNECT_RATE`
allows. They request their first PEEs at one instant, and two minutes later all budgets shrink at one instant.
Broker, cloud and fleet share the cores of the machine. Memory per device is the peak of two shards with all
devices minus that of two shards with one device each.

    python -m benchmarks.sessions [--devices 5000]
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from benchmarks import handshakes
from benchmarks.figures import verdict, write
from benchmarks.memory import Sampler
from emulator.run_directory.event_reader import read_tables
from emulator.runner.observer import RunObserver
from emulator.runner.runner import RunOptions, RunResult, run
from scenarios.language.load import load, shipped
from wire.units import NS_PER_S

SHARDS = 2
CONNECT_RATE = 1000
"""Connections that each shard begins in a second, at most."""
SAMPLE_EVERY_S = 0.5


@dataclass(frozen=True)
class RunCost:
    """A run and the cost of its processes."""

    finished: RunResult
    max_bytes: Mapping[str, int]
    cpu_s: Mapping[str, float]

    def bytes_of(self, part: str) -> int:
        """Return the most memory of all processes of a part together."""
        return sum(size for name, size in self.max_bytes.items() if name.startswith(part))

    def cpu_s_of(self, part: str) -> float:
        """Return the processor time of all processes of a part together."""
        return sum(spent for name, spent in self.cpu_s.items() if name.startswith(part))


def run_devices(devices: int, folder: Path, *overrides: str) -> RunCost:
    """Run the scenario with *devices* devices."""
    path = next(each for each in shipped() if each.stem == "live-squeeze")
    changed = [f"fleet[phone].count={devices}", "fleet[phone].start_within=0 s"]
    scenario = load(path, [*changed, f"realtime.connect_rate={CONNECT_RATE}", *overrides])
    with Sampler(SAMPLE_EVERY_S) as sampler:
        finished = run(scenario, RunOptions(folder, shards=SHARDS, report=False), RunObserver())
    most = {name: max(size for _, size in found) for name, found in sampler.samples.items()}
    return RunCost(finished, most, sampler.cpu_s)


def busiest_second(folder: Path) -> int:
    """Return the most answers that were complete within one second; at speed 1 simulated time is real."""
    left_ns = read_tables(folder / "events")["update"]["left_ns"].to_numpy()
    return int(np.bincount(left_ns[left_ns >= 0] // NS_PER_S).max())


def measure(devices: int) -> list[str]:
    """Run, write ``sessions.json``; return the limits that are exceeded."""
    with tempfile.TemporaryDirectory() as folder:
        alone = run_devices(SHARDS, Path(folder), "stop_time=5 s", "stages=[]", "actions=[]", "thresholds={}")
        crowded = run_devices(devices, Path(folder))
        busiest = busiest_second(crowded.finished.folder)
    summary = crowded.finished.summary
    trips = summary["round_trip_seconds"]
    assert isinstance(trips, dict)

    keys = (
        "devices", "shards", "connections_made", "connections_failed", "connections_broken",
        "connections_per_second", "connect_seconds", "round_trips_per_second", "round_trip_seconds",
        "update_latency_seconds", "schedule_lag_seconds", "budget_changes", "budget_reports",
        "updates_applied", "updates_confirmed", "updates_superseded", "updates_lost", "updates_rejected",
        "over_budget_share", "broker_messages_dropped",
    )  # fmt: skip
    figures: dict[str, object] = {key: summary[key] for key in keys}
    figures |= {
        "cores": psutil.cpu_count(),
        "round_trips_in_the_busiest_second": busiest,
        "cloud_bytes_at_most": crowded.bytes_of("cloud"),
    }
    for part in ("shard", "broker"):
        grown = crowded.bytes_of(part) - alone.bytes_of(part)
        figures[f"{part}_bytes_per_device"] = round(grown / devices)
    for part in ("shard", "broker", "cloud"):
        spent_s = crowded.cpu_s_of(part) - alone.cpu_s_of(part)
        figures[f"{part}_cpu_seconds_per_thousand_round_trips"] = 1000 * spent_s / trips["count"]
    figures |= handshakes.measure()
    write("sessions", figures)
    promises = {
        "every device connects": summary["connections_made"] == devices,
        "no connection fails": summary["connections_failed"] == 0,
        "no connection breaks": summary["connections_broken"] == 0,
        "no update is lost": summary["updates_lost"] == 0,
        "the broker drops nothing": summary["broker_messages_dropped"] == 0,
        "no device is over its budget": summary["over_budget_share"] == 0,
    }
    return [f"sessions: {promise}" for promise, held in promises.items() if not held]


def main() -> int:
    """Run the benchmark; return the exit status."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--devices", type=int, default=5000)
    return verdict(measure(arguments.parse_args().devices))


if __name__ == "__main__":
    sys.exit(main())
