"""``make bench-sample``: how often the intervals of a sample hold the figures of the whole fleet.

One fleet is simulated as a whole, so its true figures are known. What a device does depends on the seed and
its id only, never on which others are simulated: so a sample's devices do in it what they do in a run of the
sample. Samples are drawn and estimated as in a run, once for each of many seeds.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from benchmarks.figures import verdict, write
from devices.simulated.roster import FleetGroup
from devices.simulated.sample import draw_sample, sample_size
from emulator.metrics.device_sums import DeviceSums
from emulator.metrics.device_table import DeviceTable
from emulator.metrics.frame import Frame
from emulator.metrics.inputs import MetricInputs
from emulator.metrics.row_index import IntArray
from emulator.metrics.sample_sums import SampleSums
from emulator.metrics.scales import scan
from emulator.metrics.slices import Slices
from emulator.metrics.strata import Strata
from emulator.metrics.summary import encode_tables
from emulator.metrics.timeline import RunTimeline
from emulator.run_directory.event_reader import read_tables
from emulator.run_directory.layout import DEVICES as DEVICE_FILE
from emulator.run_directory.layout import EVENTS
from emulator.run_directory.run_files import RunFiles
from emulator.runner.observer import RunObserver
from emulator.runner.runner import RunOptions, run
from scenarios.catalogue.metrics import METRICS, Kind
from scenarios.catalogue.summary_keys import ESTIMATED
from scenarios.language.load import parse

DEVICES, SHARE, SAMPLES = 100_000, 0.01, 100
LEAST_HELD = 93
"""Promise: so many of 100 samples hold each figure."""
FLEET = """
version: 1
name: sized
clock: virtual
stop_time: 4 min
data: {type: synthetic, users: 120, items: 80, interactions_per_user: 12, user_groups: 2, item_kinds: 4}
model:
  layers: 16
  training: {dim: 8, epochs: 6, user_groups: 2, item_groups: 4}
networks:
  flaky:
    uplink: {latency: 80 ms, deviation: 30 ms, loss: 2 %}
    downlink: {latency: 80 ms, deviation: 30 ms, loss: 2 %, bandwidth: 100 kbps}
updates: {local_eviction: false}
fleet:
  - name: phone
    count: 10
    network: flaky
    memory: {type: bounded_walk, min: 1 KiB, max: 1200 KiB, max_step: 300 KiB, step_every: 1 min}
    budget: {share: 0.1 %}
  - name: tvbox
    count: 10
    memory: {type: square_wave, low: 50 KiB, high: 1 MiB, low_for: 1 min, high_for: 2 min, phase: random}
    budget: {share: 0.1 %}
  - name: hub
    count: 10
    network: flaky
    memory: {type: bounded_walk, min: 1 KiB, max: 1200 KiB, max_step: 300 KiB, step_every: 30 s}
    budget: {share: 0.1 %}
"""
"""Two large groups and a small one, which is drawn coarsely; lost messages make some totals skewed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate the fleet, draw the samples, print how many hold each figure; return 1 if too few do."""
    parser = argparse.ArgumentParser(description="How often a sample's intervals hold the fleet's figures.")
    parser.add_argument("--devices", type=int, default=DEVICES)
    parser.add_argument("--share", type=float, default=SHARE)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    parser.add_argument("--store", type=Path, help="folder in which trained models are cached")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        fleet = WholeFleet.simulated(Path(folder), given.store, given.devices)
    held = fleet.count_held(range(given.samples), given.share)
    write("sample", {f"{name}: of {given.samples} samples hold it": count for name, count in held.items()})
    least = LEAST_HELD * given.samples // 100
    return verdict(
        [
            f"{name}: {count} of {given.samples}, promised {least}"
            for name, count in held.items()
            if count < least
        ]
    )


class WholeFleet:
    """A fleet that was simulated as a whole.

    Args:
        folder: its run directory.
    """

    def __init__(self, folder: Path) -> None:
        files = RunFiles(folder)
        scenario = parse(files.scenario, str(folder))
        table = DeviceTable.read(pq.read_table(folder / DEVICE_FILE))
        tables = encode_tables(table, read_tables(folder / EVENTS))
        timeline = RunTimeline.from_scenario(scenario)
        slices = Slices(scan(tables, table, timeline).scales(), timeline)
        inputs = MetricInputs(Frame(table, timeline, tables["quality"], slices), tables, 0)
        self.groups: Sequence[FleetGroup] = scenario.fleet
        self._numbers = {name: number for number, name in enumerate(table.names)}
        count = len(table.names)
        everything = Strata([""] * count, np.full(count, count), np.full(count, count))
        self._all = SampleSums.from_devices(everything, DeviceSums(inputs, count))
        self.summary = files.summary

    @classmethod
    def simulated(cls, folder: Path, store: Path | None, devices: int) -> "WholeFleet":
        """Simulate `FLEET` with so many devices."""
        small = max(devices // 100, 10)
        counts = {"phone": devices * 6 // 10, "tvbox": devices - devices * 6 // 10 - small, "hub": small}
        changes = [f"fleet[{name}].count={count}" for name, count in counts.items()]
        options = RunOptions(folder, store=store, report=False)
        return cls(run(parse(FLEET, "sized", changes), options, RunObserver()).folder)

    def truth(self, name: str) -> float:
        """Return a figure of the fleet, from its summary."""
        value = self.summary[ESTIMATED[name]]
        if METRICS[ESTIMATED[name]].kind is Kind.TREND:
            assert isinstance(value, dict)
            value = value["mean"]
        assert isinstance(value, int | float)
        return float(value)

    def sample(self, seed: int, share: float) -> SampleSums:
        """Return the sums of the sample that is drawn with *seed*."""
        numbers, names, fleet, sizes = list[int](), list[str](), list[int](), list[int]()
        for group in self.groups:
            drawn = draw_sample(group.name, group.count, seed, share).tolist()
            numbers += [self._numbers[f"{group.name}-{at:05d}"] for at in drawn]
            names += [group.name] * len(drawn)
            fleet += [group.count] * len(drawn)
            sizes += [sample_size(group.count, share)] * len(drawn)
        chosen: IntArray = np.array(numbers)
        strata = Strata(names, np.array(fleet), np.array(sizes))
        return SampleSums(strata, self._all.above[chosen], self._all.below[chosen])

    def count_held(self, seeds: Sequence[int], share: float) -> Mapping[str, int]:
        """Return the number of samples of *seeds* whose interval holds the figure, by figure."""
        held = dict.fromkeys(ESTIMATED, 0)
        for seed in seeds:
            for name, each in self.sample(seed, share).estimates().items():
                if each.low is not None and each.high is not None:
                    held[name] += each.low <= self.truth(name) <= each.high
        return held


if __name__ == "__main__":
    sys.exit(main())
