"""The results of a run: its tables, its manifest and its summary."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from emulator.metrics.by_dimension import metrics_table
from emulator.metrics.costs import summarize_costs
from emulator.metrics.device_table import build_device_table
from emulator.metrics.realtime_measurements import (
    empty_measurements,
)
from emulator.metrics.summary import RunInfo, compute_metrics, judge_rules, sample_keys, summarize
from emulator.metrics.timeline import RunTimeline
from emulator.run_directory.event_log import (
    logical_sha256,
    merge_shards,
    with_descriptions,
    write_table,
    write_tables,
)
from emulator.run_directory.layout import DEVICES, EVENTS, METRICS, SCENARIO, write_summary
from emulator.run_directory.manifest import write_manifest
from emulator.simulation.cloud_setup import make_responder
from emulator.simulation.evaluation import qualities_by_user
from emulator.simulation.job import Job, build_timeline
from emulator.simulation.simulation import Outcome
from scenarios.catalogue.event_columns import DEVICE_COLUMNS, METRIC_COLUMNS, SAMPLE_COLUMNS, meanings_of
from scenarios.language.scenario import Scenario
from scenarios.language.thresholds import rules_of
from wire.units import NS_PER_S


def write_results(
    folder: Path,
    scenario: Scenario,
    job: Job,
    outcome: Outcome,
    shards: Sequence[Path],
    names: Sequence[str] | None = None,
) -> dict[str, object]:
    """Write the tables, the manifest and the summary of a run from its event logs, and return the summary.

    Args:
        folder: of the run.
        scenario: of the run.
        job: the devices to measure, and their model.
        outcome: of the simulation.
        shards: the folders of the event logs.
        names: device ids by device number, if the fleet has more devices than are measured.
    """
    tables = merge_shards(shards, names or [device.name for device in job.devices])
    write_tables(tables, folder / EVENTS)
    devices = _table_of_devices(job)
    write_table(
        with_descriptions(devices, meanings_of({**DEVICE_COLUMNS, **SAMPLE_COLUMNS})), folder / DEVICES
    )
    aborted = outcome.aborted_ns is not None
    ends = (outcome.aborted_ns, outcome.unfinished_ns, int(scenario.stop_time))
    stop_ns = next(end for end in ends if end is not None)
    identity = RunInfo(scenario.name, scenario.seed, scenario.clock, job.store.version, stop_ns, aborted)
    timeline, rules = RunTimeline.from_scenario(scenario).until(stop_ns), rules_of(scenario.thresholds)
    metrics = compute_metrics(tables, devices, timeline, rules)
    splits = metrics_table(metrics)
    write_table(with_descriptions(splits, meanings_of(METRIC_COLUMNS)), folder / METRICS)
    rows = {f"{EVENTS}/{name}.parquet": table.num_rows for name, table in tables.items()}
    write_manifest(folder, {**rows, DEVICES: devices.num_rows, METRICS: splits.num_rows, SCENARIO: None})
    summary = summarize(identity, metrics, logical_sha256(tables), outcome.wall_seconds)
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
    write_summary(folder, summary)
    return summary


def _retained_bytes(job: Job) -> int:
    """Return the payload of the retained messages: each layer of each model version, once."""
    if job.scenario.updates.delivery != "shared":
        return 0
    stores = [job.store] if job.newer is None else [job.store, job.newer]
    responders = [make_responder(job.scenario, store) for store in stores]
    return sum(
        len(responder.layer_part(group, layer))
        for responder in responders
        for group, layer, _ in responder.layer_sizes()
    )


def _table_of_devices(job: Job) -> pa.Table:
    """Return one row per device: its properties, and the quality of the whole ranking for its first user.

    Columns that end in ``_by_version`` have a value for each model version, in the order of ``version``
    in the quality table.
    """
    stores = [job.store] if job.newer is None else [job.store, job.newer]
    versions = [qualities_by_user(store, job.quality_of(store)) for store in stores]
    full = {user: quality.full for user, quality in versions[0].items()}
    devices, groups = job.devices, job.store.groups
    table = build_device_table(devices, job.store, build_timeline(job.scenario), job.scenario.sample)
    columns = {
        "full_bytes": [groups[job.store.user_groups[device.user]].layers.bytes[-1] for device in devices],
        "full_ndcg_at_10": [full[device.user].ndcg_at_10 for device in devices],
        "full_recall_at_20": [full[device.user].recall_at_20 for device in devices],
        "full_hit_rate_at_10": [full[device.user].hit_rate_at_10 for device in devices],
        "user_group_by_version": [[of[device.user].user_group for of in versions] for device in devices],
        "full_bytes_by_version": [
            [of[device.user].layers.bytes[-1] for of in versions] for device in devices
        ],
        "full_ndcg_at_10_by_version": [
            [of[device.user].full.ndcg_at_10 for of in versions] for device in devices
        ],
    }
    for name, values in columns.items():
        table = table.append_column(name, [values])
    return table
