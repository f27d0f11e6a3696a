"""Runs of several ranges are compared a range after the other, as if their tables were read as a whole."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from emulator.compare.event_log_diff import diff_tables
from emulator.compare.run_diff import diff_runs
from emulator.metrics.per_device import COMPARED_METRICS, MeasuredRun
from emulator.run_directory.event_reader import read_tables
from emulator.run_directory.run_files import RunFiles
from emulator.runner.runner import RunResult
from tests.emulator.scenarios import TINY, Runner

BRIEF = ("fleet[tvbox].count=9", "stop_time=8 s", "fleet[phone].start_within=4 s")


@pytest.fixture
def fleet(runner: Runner) -> RunResult:
    """2,069 devices: the tvboxes have the numbers 2060 to 2068."""
    return runner.run(TINY, "fleet[phone].count=2060", *BRIEF)


@pytest.mark.slow
def test_rows_are_told_apart_in_fleets_of_other_devices(runner: Runner, fleet: RunResult) -> None:
    """In the second fleet fewer devices have other numbers, and other links."""
    other = runner.run(TINY, "fleet[phone].count=2044", "updates.encoding=full", *BRIEF)
    found = diff_runs(RunFiles(fleet.folder), RunFiles(other.folder), 1000)
    before, after = (read_tables(run.folder / "events") for run in (fleet, other))
    whole = diff_tables(before, after, 1000)
    assert found[: len(whole)] == list(whole)
    devices = found[len(whole)]
    assert (devices.name, devices.equal, devices.changed, devices.only_after) == ("devices", 2053, 0, 0)
    assert devices.samples == tuple(f"devices: phone-{at:05d}: only in the first" for at in range(2044, 2060))
    updates = next(table for table in found if table.name == "update")
    assert updates.changed > 0
    back = diff_runs(RunFiles(other.folder), RunFiles(fleet.folder), 1)
    assert [each.only_after for each in back] == [each.only_before for each in found]


def test_sums_and_events_are_those_of_the_whole_log(fleet: RunResult) -> None:
    run, updates = MeasuredRun(fleet.folder), read_tables(fleet.folder / "events")["update"]
    numbers = pc.index_in(updates["device"], value_set=run.ids)
    names = [metric.name for metric in COMPARED_METRICS]
    assert run.users.tolist() == pa.array(RunFiles(fleet.folder).devices().column("user")).to_pylist()
    sent = np.bincount(numbers.to_numpy(), updates["update_bytes"].to_numpy(), 2069)
    assert run.sums[0][:, names.index("update_bytes_per_device_hour")].tolist() == sent.tolist()
    applied = pc.equal(updates["result"], "applied")
    waits = pc.subtract(updates["applied_ns"], updates["changed_ns"])
    assert run.events.device.tolist() == numbers.filter(applied).to_pylist()
    assert run.events.values.tolist() == waits.filter(applied).to_pylist()
