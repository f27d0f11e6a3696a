"""A finished run cut into ranges of devices, and its figures from the merged sums of the ranges."""

import json
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from emulator.metrics.by_dimension import metrics_table
from emulator.metrics.compute import RunMetrics
from emulator.metrics.device_table import DeviceTable
from emulator.metrics.measure import measure, selections_of
from emulator.metrics.row_index import Columns
from emulator.metrics.run_sums import RunSums, merge_sums
from emulator.metrics.scales import ScaleSums, scan
from emulator.metrics.summary import RunInfo, encode_tables, judge_rules, summarize
from emulator.metrics.timeline import RunTimeline
from emulator.run_directory.event_reader import read_tables
from emulator.run_directory.layout import DEVICES, EVENTS
from emulator.run_directory.run_files import RunFiles
from scenarios.language.load import parse
from scenarios.language.thresholds import rules_of
from wire.units import NS_PER_S

Figures = tuple[str, pa.Table]
"""The summary as JSON, and the metrics by dimension."""


class CutRun:
    """A finished run.

    Args:
        folder: the run directory.
    """

    def __init__(self, folder: Path) -> None:
        files = RunFiles(folder)
        self._events, self._devices = read_tables(folder / EVENTS), pq.read_table(folder / DEVICES)
        self._scenario = parse(files.scenario, str(folder))
        self.stop_ns = round(float(str(files.summary["simulated_seconds"])) * NS_PER_S)

    def figures(self, size: int, *, pairwise: bool = False) -> Figures:
        """Return the figures from ranges of *size* devices, merged one by one or in pairs of pairs."""
        timeline = RunTimeline.from_scenario(self._scenario).until(self.stop_ns)
        rules = rules_of(self._scenario.thresholds)
        ranges = [self._range(first, size) for first in range(0, self._devices.num_rows, size)]
        scanned = [scan(tables, devices, timeline) for devices, tables in ranges]
        scales = reduce(ScaleSums.merged, scanned).scales()
        sums = [
            measure(tables, devices, timeline, scales, selections_of(rules)) for devices, tables in ranges
        ]
        metrics = RunMetrics(_in_pairs(sums) if pairwise else merge_sums(sums), scales, timeline)
        info = RunInfo(self._scenario.name, self._scenario.seed, self._scenario.clock, "", self.stop_ns)
        summary = summarize(info, metrics, "", 1.0)
        summary["rollout"] = metrics.sums.rollout.summary()
        summary |= metrics.sums.egress.summary(0)
        summary["thresholds"] = judge_rules(rules, metrics, summary)
        return json.dumps(summary), metrics_table(metrics)

    def _range(self, first: int, size: int) -> tuple[DeviceTable, dict[str, Columns]]:
        devices = self._devices.slice(first, size)
        own = {
            name: table.filter(pc.is_in(table["device"], value_set=devices["device"].combine_chunks()))
            for name, table in self._events.items()
        }
        table = DeviceTable.read(devices)
        return table, encode_tables(table, own)


def _in_pairs(sums: Sequence[RunSums]) -> RunSums:
    while len(sums) > 1:
        sums = [merge_sums(sums[at : at + 2]) for at in range(0, len(sums), 2)]
    return sums[0]


def assert_equal_from_any_ranges(folder: Path) -> None:
    """Check that the figures of a run are equal to the last bit however it is cut into ranges."""
    run = CutRun(folder)
    whole = run.figures(1_000_000)
    for size, pairwise in ((1, False), (7, False), (7, True), (64, False)):
        assert run.figures(size, pairwise=pairwise) == whole, size
