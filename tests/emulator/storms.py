"""Scenarios with every fault, a way to run them in memory only, and what must hold of their logs."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from devices.event_log import COLUMNS
from devices.recommender.quality import HeldOut
from devices.simulated.roster import DeviceSpec
from emulator.run_directory.event_reader import read_tables
from emulator.run_directory.layout import DEVICES, EVENTS
from emulator.simulation.evaluation import look_up_or_evaluate
from emulator.simulation.job import Job, build_fleet
from emulator.simulation.model_cache import PreparedModel, prepare_model
from emulator.simulation.simulation import Simulation
from scenarios.language.scenario import Scenario
from tests.emulator.event_logs import write_drafts

Row = dict[str, Any]  # Any: a row of Parquet

STORM = """
version: 1
name: storm
seed: 5
clock: virtual
data: {type: synthetic, users: 120, items: 3000, interactions_per_user: 20, user_groups: 2, item_kinds: 4}
model:
  layers: 16
  training:
    dim: 8
    epochs: 6
    user_groups: 2
    item_groups: 24
networks:
  flaky:
    uplink: {latency: 80 ms, deviation: 30 ms, loss: 5 %, distribution: pareto}
    downlink: {latency: 80 ms, deviation: 30 ms, loss: 5 %, bandwidth: 100 kbps}
nodes: {slow: {memory: 2 GiB, apply_rate: 100 kB/s}}
stages:
  - {name: connect, duration: 4 min, ramp: 2 min}
  - {name: squeeze, duration: 5 min}
  - {name: storm, duration: 11 min}
  - {name: calm, duration: 10 min}
actions:
  - {type: budget_scale, at: squeeze, factor: 0.4, over: 30 s}
  - {type: budget_scale, at: storm, factor: 1, over: 30 s}
  - {type: disconnect, at: storm + 30 s, reconnect_within: 5 s, select: {share: 90 %}}
  - {type: network, at: storm, to: default, duration: 3 min}
  - {type: new_users, at: squeeze + 1 min, within: 1 min, select: {share: 50 %}}
faults:
  - {type: latency, at: storm, duration: 10 min, delay: 500 ms, jitter: 400 ms}
  - {type: bandwidth, at: storm, duration: 10 min, rate: 20 kbps}
  - {type: loss, at: storm, duration: 10 min, share: 20 %}
  - {type: duplicates, at: storm, duration: 10 min, share: 20 %}
  - {type: reordering, at: storm, duration: 10 min, share: 20 %}
  - {type: corruption, at: storm, duration: 10 min, share: 20 %}
  - {type: broker_down, at: storm + 5 min, duration: 1 min}
  - {type: cloud_down, at: storm + 7 min, duration: 1 min}
  - {type: cloud_slow, at: storm + 8 min, duration: 1 min, factor: 100}
fleet:
  - name: phone
    count: 100
    network: flaky
    node: slow
    memory: {type: bounded_walk, min: 1 KiB, max: 1200 KiB, max_step: 300 KiB, step_every: 20 s}
    budget: {share: 3 %}
    start_within: 1 min
    churn: {uptime_mean: 2 min, downtime_mean: 20 s}
  - name: tvbox
    count: 50
    memory: {type: square_wave, low: 50 KiB, high: 1 MiB, low_for: 1 min, high_for: 2 min}
    budget: {share: 3 %}
updates: {max_payload: 4 KiB}
"""
"""Every fault and every action at once, then ten minutes of calm; stages, churn, two networks, slow nodes."""


@dataclass(frozen=True)
class Log:
    """What a simulation logged."""

    scenario: Scenario
    model: PreparedModel
    devices: Sequence[DeviceSpec]
    tables: dict[str, Any]  # Any: Arrow has no types
    sha256: str

    def rows(self, name: str) -> list[Row]:
        found: list[Row] = self.tables[name].to_pylist()
        return found

    def by_device(self, name: str) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = defaultdict(list)
        for row in self.rows(name):
            found[row["device"]].append(row)
        return found

    def best_layer(self, device: DeviceSpec, size_bytes: int) -> int:
        """Return the highest layer that fits into *size_bytes* for the device's last user."""
        store = self.model.store
        return store.groups[int(store.user_groups[device.users[-1]])].layers.best(size_bytes)


class Storms:
    """Simulates scenarios with one model, without a run directory; small cells show what they share."""

    def __init__(self, store_root: Path, folder: Path) -> None:
        self._store_root = store_root
        self._folder = folder
        self._runs = 0

    def model(self, scenario: Scenario) -> PreparedModel:
        return prepare_model(scenario.data, scenario.model, self._store_root, lambda *_: None)

    def simulate(self, scenario: Scenario, *, shards: int = 1, model: PreparedModel | None = None) -> Log:
        model = model or self.model(scenario)
        devices, users = build_fleet(scenario, model)
        truth = HeldOut(model.interactions.known, model.interactions.test)
        self._runs += 1
        evaluated = look_up_or_evaluate(model.store, truth, users, model.folder.parent)
        job = Job(
            scenario,
            "fleet",
            model.store,
            truth,
            devices,
            users,
            self._folder / f"{self._runs}",
            evaluated={model.store.version: evaluated},
        )
        folders = [job.folder / str(place) for place in range(shards)]
        for place, folder in enumerate(folders):
            part = replace(job, devices=devices[place::shards], folder=folder)
            Simulation(part, lambda _: None).run_virtual()
        names = pa.table({"device": [each.name for each in devices]})
        sha256 = write_drafts(folders, len(devices), job.folder)
        pq.write_table(names, job.folder / DEVICES)
        return Log(scenario, model, devices, read_tables(job.folder / EVENTS), sha256)


def breaches(log: Log) -> Iterator[str]:
    """Yield what of a log must not be, whatever the scenario."""
    yield from _rows_have_gaps(log)
    yield from _budget_is_exceeded(log)
    yield from _exchanges_are_wrong(log)
    yield from _says_something_offline(log)


def _rows_have_gaps(log: Log) -> Iterator[str]:
    orders: dict[str, list[int]] = defaultdict(list)
    for name in COLUMNS:
        for row in log.rows(name):
            orders[row["device"]].append(row["order"])
    for device, found in orders.items():
        if sorted(found) != list(range(1, len(found) + 1)):
            yield f"{device}: its rows are not numbered from 1 without a gap"


def _budget_is_exceeded(log: Log) -> Iterator[str]:
    if not log.scenario.updates.local_eviction:
        return
    for name in ("budget", "quality"):
        for row in log.rows(name):
            if row["resident_bytes"] > row["budget_bytes"]:
                yield f"{row['device']}: {name} at {row['t_ns']}: holds more than its budget"


def _exchanges_are_wrong(log: Log) -> Iterator[str]:
    for device, rows in log.by_device("update").items():
        rows.sort(key=lambda row: int(row["seq"]))
        if [row["seq"] for row in rows] != list(range(1, len(rows) + 1)):
            yield f"{device}: its reports do not end once each: {[row['seq'] for row in rows]}"
        if [row["sent_ns"] for row in rows] != sorted(row["sent_ns"] for row in rows):
            yield f"{device}: its reports are not in the order of their time"
        for row in rows:
            if row["used_bytes"] + row["lost_bytes"] > row["update_bytes"]:
                yield f"{device}: report {row['seq']} uses and loses more than was sent"
            if row["update_bytes"] > row["update_wire_bytes"] and row["result"] != "lost":
                yield f"{device}: report {row['seq']}: more payload than bytes on the wire"
            keys = ("changed_ns", "sent_ns", "arrived_ns", "begun_ns", "left_ns", "received_ns")
            times = [row[key] for key in keys if row[key] >= 0]
            if times != sorted(times):
                yield f"{device}: report {row['seq']}: times are out of order: {times}"


def _says_something_offline(log: Log) -> Iterator[str]:
    updates, qualities = log.by_device("update"), log.by_device("quality")
    for device, rows in log.by_device("connection").items():
        if [row["online"] for row in rows] != [at % 2 == 0 for at in range(len(rows))]:
            yield f"{device}: does not connect and part in turn"
        away = [
            (row["t_ns"], rows[at + 1]["t_ns"] if at + 1 < len(rows) else None)
            for at, row in enumerate(rows)
            if not row["online"]
        ]
        away.insert(0, (-1, rows[0]["t_ns"]))
        for row in updates[device]:
            if any(start < row["sent_ns"] and (end is None or row["sent_ns"] < end) for start, end in away):
                yield f"{device}: reports at {row['sent_ns']} though it is not connected"
        marks = sorted([*rows, *qualities[device]], key=lambda row: int(row["order"]))
        online = False
        for row in marks:
            if "layer" in row and row["online"] != online:
                yield f"{device}: a quality row at {row['t_ns']} is wrong about the connection"
            online = row["online"]


def strays(log: Log, *, exact: bool = True) -> list[str]:
    """Return the devices that are connected at the end and do not hold what they should.

    Args:
        exact: whether reports tell of budgets as they are; else a device is right if it holds the best PEE
            for what it asked for last.
    """
    found = []
    updates, qualities = log.by_device("update"), log.by_device("quality")
    for device in log.devices:
        if not qualities[device.name] or not qualities[device.name][-1]["online"]:
            continue
        last = qualities[device.name][-1]
        if not updates[device.name]:
            found.append(f"{device.name}: never reported")
            continue
        report = max(updates[device.name], key=lambda row: int(row["seq"]))
        asked = last["budget_bytes"] if exact else report["wanted_bytes"]
        wanted = log.best_layer(device, asked)
        if last["layer"] != wanted:
            found.append(f"{device.name}: holds layer {last['layer']}, not {wanted}: {report}")
    return found
