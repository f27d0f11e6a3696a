"""The results of a run: its tables, its manifest and its summary."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import pyarrow as pa

from devices.simulated.roster import DeviceRange, split_ranges
from emulator.executors.executor import Executor
from emulator.metrics.by_dimension import metrics_table
from emulator.metrics.compute import RunMetrics
from emulator.metrics.costs import summarize_costs
from emulator.metrics.device_table import DeviceTable
from emulator.metrics.measure import measure, selections_of
from emulator.metrics.realtime_measurements import (
    empty_measurements,
)
from emulator.metrics.run_sums import RowSelection, RunSums
from emulator.metrics.scales import SCANNED, Scales, ScaleSums, scan
from emulator.metrics.summary import RunInfo, judge_rules, sample_keys, summarize
from emulator.metrics.timeline import RunTimeline
from emulator.ranges.range_reader import RangeReader
from emulator.ranges.range_sums import sum_ranges
from emulator.run_directory.event_hash import log_sha256
from emulator.run_directory.event_parts import Leaf
from emulator.run_directory.layout import DEVICES, EVENTS, METRICS, SCENARIO, write_summary
from emulator.run_directory.manifest import MANIFEST, add_files, write_entries
from emulator.run_directory.plugins_used import PLUGINS, read_plugins
from emulator.run_directory.run_tables import read_checked, with_descriptions, write_table
from emulator.simulation.cloud_setup import make_responder
from emulator.simulation.device_rows import device_rows, write_device_rows
from emulator.simulation.evaluation import qualities_by_user
from emulator.simulation.job import Job, build_timeline
from emulator.simulation.range_simulation import DEVICES as RANGE_DEVICE_ROWS
from emulator.simulation.simulation import Outcome
from scenarios.catalogue.event_columns import METRIC_COLUMNS, meanings_of
from scenarios.language.scenario import Scenario
from scenarios.language.thresholds import Rule, rules_of
from wire.units import NS_PER_S

SCAN_SHARE = 0.15
"""Part of the time of measuring that goes into the scales."""


def write_results(
    folder: Path,
    scenario: Scenario,
    job: Job,
    outcome: Outcome,
    leaves: Sequence[Leaf],
    executor: Executor,
    on_share: Callable[[float], None] = lambda _: None,
) -> dict[str, object]:
    """Write the tables, the manifest and the summary of a run from its event log, and return the summary.

    Args:
        folder: of the run; it has the parts of the event log.
        scenario: of the run.
        job: the devices to measure, and their model.
        outcome: of the simulation.
        leaves: of all ranges of devices.
        executor: measures the ranges.
        on_share: receives the share of the measuring that is done.
    """
    entries = {f"{EVENTS}/{name}": entry for leaf in leaves for name, entry in leaf.files.items()}
    entries[DEVICES] = write_device_rows(_device_rows(folder, job), folder / DEVICES)
    write_entries(folder / MANIFEST, entries)
    aborted = outcome.aborted_ns is not None
    ends = (outcome.aborted_ns, outcome.unfinished_ns, int(scenario.stop_time))
    stop_ns = next(end for end in ends if end is not None)
    identity = RunInfo(scenario.name, scenario.seed, scenario.clock, job.store.version, stop_ns, aborted)
    timeline, rules = RunTimeline.from_scenario(scenario).until(stop_ns), rules_of(scenario.thresholds)
    metrics = measure_run(folder, len(job.devices), timeline, rules, executor, on_share)
    splits = metrics_table(metrics)
    write_table(with_descriptions(splits, meanings_of(METRIC_COLUMNS)), folder / METRICS)
    plugins = read_plugins(folder)
    add_files(folder, {METRICS: splits.num_rows, SCENARIO: None, **({PLUGINS: None} if plugins else {})})
    sha256 = log_sha256(leaf.sha256 for leaf in leaves)
    summary = summarize(identity, metrics, sha256, outcome.wall_seconds)
    summary |= metrics.sums.egress.summary(_retained_bytes(job))
    summary["rollout"] = metrics.sums.rollout.summary()
    summary["reports_sent_again"] = outcome.reports_sent_again
    summary |= outcome.realtime or empty_measurements()
    if scenario.sample is not None:
        summary |= sample_keys(metrics, float(scenario.sample))
    if scenario.prices is not None:
        devices_of_fleet = sum(group.count for group in scenario.fleet)
        summary["costs"] = summarize_costs(scenario.prices, metrics, devices_of_fleet, stop_ns / NS_PER_S)
    summary["thresholds"] = judge_rules(rules, metrics, summary)
    if outcome.unfinished_ns is not None:
        summary["unfinished"] = True
    if plugins:
        summary["plugins"] = msgspec.to_builtins(plugins)
    write_summary(folder, summary)
    return summary


def measure_run(
    folder: Path,
    devices: int,
    timeline: RunTimeline,
    rules: Sequence[Rule],
    executor: Executor,
    on_share: Callable[[float], None],
) -> RunMetrics:
    """Return the metrics of the run in *folder*, read range by range: memory is that of a range.

    The run is read twice: for the scales, and for the sums.

    Args:
        folder: of the run; it has the parts of the event log, and the table of devices.
        devices: the number of devices.
        timeline: the stages, and when the run ended.
        rules: thresholds of the scenario.
        executor: measures the ranges.
        on_share: receives the share of the work that is done.
    """

    def on_measured(share: float) -> None:
        on_share(SCAN_SHARE + (1 - SCAN_SHARE) * share)

    scanned = sum_ranges(
        executor, folder, devices, scan_range, timeline, on_share=lambda share: on_share(SCAN_SHARE * share)
    )
    scales, selections = scanned.scales(), selections_of(rules)
    sums = sum_ranges(
        executor, folder, devices, measure_range, timeline, scales, selections, on_share=on_measured
    )
    return RunMetrics(sums, scales, timeline)


def scan_range(reader: RangeReader, devices: DeviceRange, timeline: RunTimeline) -> ScaleSums:
    """Return the part of a range in the scales of its run."""
    return scan(reader.tables(devices, SCANNED), DeviceTable.read(reader.devices(devices)), timeline)


def measure_range(
    reader: RangeReader,
    devices: DeviceRange,
    timeline: RunTimeline,
    scales: Scales,
    selections: Sequence[RowSelection],
) -> RunSums:
    """Return the sums of a range."""
    table = DeviceTable.read(reader.devices(devices))
    return measure(reader.tables(devices), table, timeline, scales, selections)


def _device_rows(folder: Path, job: Job) -> Iterator[pa.Table]:
    """Yield the rows of devices, a range after the other: as workers have written them, or made here."""
    ranges = split_ranges(len(job.devices))
    written = folder / EVENTS / RANGE_DEVICE_ROWS
    if written.is_dir():
        for devices in ranges:
            yield read_checked(written / f"{devices.index:05d}.parquet", None)
        shutil.rmtree(written)
        return
    versions = [qualities_by_user(store, job.quality_of(store)) for store in job.stores]
    timeline = build_timeline(job.scenario)
    for devices in ranges:
        yield device_rows(
            job.devices[devices.first : devices.stop], job.store, versions, timeline, job.scenario.sample
        )


def _retained_bytes(job: Job) -> int:
    """Return the payload of the retained messages: each layer of each model version, once."""
    if job.scenario.updates.delivery != "shared":
        return 0
    responders = [make_responder(job.scenario, store) for store in job.stores]
    return sum(
        len(responder.layer_part(group, layer))
        for responder in responders
        for group, layer, _ in responder.layer_sizes()
    )
