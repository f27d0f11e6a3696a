"""An hour of real time at sixty times its speed: does the memory of any process grow?

A fleet whose devices come and go lives through sixty hours; the resident memory of every process is sampled:
broker, cloud service, shards, and the run itself. In the first half caches fill: parts of updates that are
sent again and again, and their headers. From then on it must be flat: the mean of the last quarter may be at
most 2 % or 4 MiB above that of the third.

    python -m benchmarks.hour [--minutes 60]
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import plotly.graph_objects as go

from benchmarks.figures import OUT, verdict, write
from benchmarks.memory import Sampler
from emulator.runner.observer import RunObserver
from emulator.runner.runner import RunOptions, run
from scenarios.language.load import parse
from scenarios.language.scenario import Scenario

SPEED = 60
SAMPLE_EVERY_S = 5.0
MOST_GROWTH, MOST_GROWTH_BYTES = 0.02, 4 * 2**20

SCENARIO = """
version: 1
name: hour
clock: realtime
realtime: {speed: 60, connections: per_device, max_lag: 10 s}
stop_time: 1 h
data: {type: synthetic}
updates: {retry_after: 1 min}
fleet:
  - name: device
    count: 150
    start_within: 2 min
    memory: {type: bounded_walk, min: 64 MiB, max: 2 GiB, max_step: 512 MiB, step_every: 2 min}
    budget: {share: 0.002 %}
    churn: {uptime_mean: 20 min, downtime_mean: 2 min}
"""


def growth(samples: Sequence[tuple[float, int]]) -> dict[str, float]:
    """Return the mean memory of the third quarter, of the last quarter, and how they differ."""
    sizes = [size for _, size in samples]
    quarter = max(len(sizes) // 4, 1)
    early, late = statistics.fmean(sizes[-2 * quarter : -quarter]), statistics.fmean(sizes[-quarter:])
    return {"early_bytes": early, "late_bytes": late, "growth": late / early - 1, "max_bytes": max(sizes)}


def plot(samples: Mapping[str, Sequence[tuple[float, int]]], path: Path) -> None:
    """Draw memory over time, a line for each process."""
    figure = go.Figure(
        [
            go.Scatter(x=[t / 60 for t, _ in found], y=[size / 2**20 for _, size in found], name=name)
            for name, found in samples.items()
        ]
    )
    figure.update_layout(
        title="Resident memory of each process",
        xaxis_title="minutes of the wall clock",
        yaxis_title="MiB",
        yaxis_rangemode="tozero",
    )
    figure.write_html(path, include_plotlyjs=True)


def scenario(minutes: float) -> Scenario:
    """Return the scenario that takes so many minutes."""
    return parse(SCENARIO, "hour.yaml", [f"stop_time={round(minutes * 60 * SPEED)} s"])


def measure(minutes: float) -> list[str]:
    """Run, write ``hour.json`` and ``hour.html``; return the limits that are exceeded."""
    with tempfile.TemporaryDirectory() as folder, Sampler(SAMPLE_EVERY_S) as sampler:
        options = RunOptions(Path(folder), shards=2, report=False)
        summary = run(scenario(minutes), options, RunObserver()).summary
    # Tables and the summary are made when the fleet has ended: the run's own memory counts until then.
    ended_s = max(t for name, found in sampler.samples.items() if name.startswith("shard") for t, _ in found)
    samples = {
        name: [(t, size) for t, size in found if t <= ended_s] for name, found in sampler.samples.items()
    }
    found = {name: growth(each) for name, each in samples.items()}
    OUT.mkdir(parents=True, exist_ok=True)
    plot(samples, OUT / "hour.html")
    keys = (
        "devices", "wall_seconds", "simulated_seconds", "budget_reports", "updates_lost", "connects",
        "round_trips_per_second", "round_trip_seconds", "schedule_lag_seconds", "connections_broken",
    )  # fmt: skip
    figures: dict[str, object] = {key: summary[key] for key in keys}
    for name, each in found.items():
        figures |= {f"{name.replace(' ', '_')}_{key}": round(value, 4) for key, value in each.items()}
    write("hour", figures)
    return [
        f"hour: the memory of {name} grew by {each['growth']:.1%}, from {each['early_bytes'] / 2**20:.1f} MiB"
        for name, each in found.items()
        if each["growth"] > MOST_GROWTH and each["late_bytes"] - each["early_bytes"] > MOST_GROWTH_BYTES
    ]


def main() -> int:
    """Run the benchmark; return the exit status."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--minutes", type=float, default=60.0, help="of the wall clock")
    return verdict(measure(arguments.parse_args().minutes))


if __name__ == "__main__":
    sys.exit(main())
