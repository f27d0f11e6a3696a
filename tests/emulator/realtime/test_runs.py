"""Whole runs in real time: the same fleet as in memory, through a real broker, whatever is killed."""

import os
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from broker_config import mosquitto
from emulator.journal import Journal, gather
from emulator.realtime.pulse import Pulse
from emulator.runner import Finished
from tests.emulator.scenarios import TINY, Runner, Silent, number
from wire.errors import InputError, RunError

needs_mosquitto = [
    pytest.mark.broker,
    pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed"),
]
pytestmark = needs_mosquitto

CALM = TINY.replace("    network: flaky\n", "")
"""Nothing is lost by the links: what is lost is ours."""
REAL = ("clock=realtime", "realtime.speed=20", "stop_time=2 min", "realtime.max_lag=30 s")


class Killer(Silent):
    """Kills a process of the run at given moments of simulated time."""

    def __init__(self, *deaths: tuple[int, str]) -> None:
        super().__init__()
        self.killed: list[str] = []
        self._deaths = list(deaths)

    def pulsed(self, pulse: Pulse, stop_ns: int) -> None:
        super().pulsed(pulse, stop_ns)
        if self._deaths and pulse.t_ns >= self._deaths[0][0] * 10**9:
            _, words = self._deaths.pop(0)
            self.killed += kill(words)


def kill(words: str) -> list[str]:
    """Kill our descendants whose command lines have *words*."""
    ours = descendants(os.getpid())
    found = [pid for pid, command in ours.items() if words in command]
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return [words for _ in found]


def descendants(ancestor: int) -> dict[int, str]:
    """Return the command lines of all processes below *ancestor*."""
    parents, commands = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
            commands[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {ancestor}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: commands[pid] for pid in found - {ancestor}}


def last_states(finished: Finished) -> dict[str, tuple[int, int, int, int]]:
    """Return what each device holds at the end: (layer, best layer, resident bytes, budget)."""
    table = pq.read_table(finished.folder / "events" / "quality.parquet")
    names = ("device", "layer", "best_layer", "resident_bytes", "budget_bytes")
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    return {device: (layer, best, resident, budget) for device, layer, best, resident, budget in rows}


def check_exchanges(finished: Finished) -> None:
    """Each report has one end, and what was applied was applied once and in order."""
    table = pq.read_table(finished.folder / "events" / "update.parquet")
    applied: dict[str, list[tuple[int, int]]] = {}
    ends = set()
    for device, seq, result, t_ns in zip(
        *(table[name].to_pylist() for name in ("device", "seq", "result", "applied_ns")), strict=True
    ):
        assert (device, seq) not in ends
        ends.add((device, seq))
        if result in ("applied", "confirmed"):
            applied.setdefault(device, []).append((t_ns, seq))
    for moments in applied.values():
        assert [seq for _, seq in sorted(moments)] == sorted(seq for _, seq in moments)


def check_whole(finished: Finished) -> None:
    """Every device holds the best PEE for its last budget."""
    states = last_states(finished)
    assert len(states) == finished.summary["devices"]
    assert {device: state for device, state in states.items() if state[0] != state[1]} == {}
    assert finished.summary["over_budget_device_seconds"] == 0


@pytest.mark.parametrize(("connections", "shards"), [("per_device", 2), ("pooled", 1)])
def test_the_same_scenario_counts_the_same_as_in_memory(
    runner: Runner, connections: str, shards: int
) -> None:
    real = runner.run(CALM, *REAL, f"realtime.connections={connections}", shards=shards)
    virtual = runner.run(CALM, "stop_time=2 min")
    for key in ("devices", "budget_changes", "budget_reports", "report_bytes", "full_update_bytes"):
        assert real.summary[key] == virtual.summary[key], key
    ends = ("updates_applied", "updates_confirmed", "updates_superseded")
    assert sum(number(real, key) for key in ends) == sum(number(virtual, key) for key in ends)
    assert real.summary["updates_lost"] == real.summary["updates_rejected"] == 0
    assert number(real, "ndcg_at_10") == pytest.approx(number(virtual, "ndcg_at_10"), rel=0.01)
    # Twenty times as fast, a round trip takes twenty times as much of the fleet's time.
    latency = [finished.summary["update_latency_seconds"] for finished in (real, virtual)]
    assert all(isinstance(each, dict) for each in latency)
    assert latency[0] != latency[1]
    assert number(real, "connections_made") == (30 if connections == "per_device" else 1)
    assert real.summary["shards"] == shards
    check_whole(real)
    check_exchanges(real)


@pytest.mark.parametrize("connections", ["per_device", "pooled"])
def test_whoever_is_killed_no_device_is_left_without_its_pee(runner: Runner, connections: str) -> None:
    killer = Killer((20, "--shard 1/2"), (60, "emulator.cli cloud"), (90, "--shard 2/2"))
    finished = runner.run(
        CALM, *REAL, "realtime.speed=10", "stop_time=3 min", "updates.retry_after=5 s",
        f"realtime.connections={connections}", shards=2, watcher=killer,
    )  # fmt: skip
    assert killer.killed == ["--shard 1/2", "emulator.cli cloud", "--shard 2/2"]
    assert (finished.summary["shard_restarts"], finished.summary["cloud_restarts"]) == (2, 1)
    check_whole(finished)
    check_exchanges(finished)
    connects = finished.summary["connects_by_why"]
    assert isinstance(connects, dict)
    assert 15 <= connects["resumed"] <= 30  # who had not started yet starts as usual


def test_every_fault_of_a_scenario_comes_in_real_time_too(runner: Runner) -> None:
    text = (
        CALM
        + """
faults:
  - {type: broker_down, at: 30 s, duration: 10 s}
  - {type: cloud_down, at: 60 s, duration: 10 s}
  - {type: loss, at: 80 s, duration: 20 s, share: 30 %}
  - {type: corruption, at: 80 s, duration: 20 s, share: 30 %}
"""
    )
    finished = runner.run(text, *REAL, "updates.retry_after=5 s", "fleet[0].churn.uptime_mean=30 s")
    disconnections = finished.summary["disconnections_by_why"]
    assert isinstance(disconnections, dict)
    assert disconnections["broker_down"] > 0
    assert disconnections["churn"] > 0
    assert disconnections["broken"] == 0
    assert number(finished, "messages_harmed") > 0
    check_exchanges(finished)
    online = pq.read_table(finished.folder / "events" / "connection.parquet")
    there = dict(zip(online["device"].to_pylist(), online["online"].to_pylist(), strict=True))
    states = last_states(finished)
    assert all(states[device][0] == states[device][1] for device in states if there[device])


def test_a_machine_that_cannot_keep_up_fails_the_run_and_says_so(runner: Runner) -> None:
    with pytest.raises(RunError, match=r"late at .* more than realtime\.max_lag\(=1 us\).*cannot keep up"):
        runner.run(CALM, *REAL, "realtime.max_lag=1 us")
    (left,) = runner.out.iterdir()
    assert left.name.endswith(".partial")


def test_what_must_stay_together_is_not_cut_into_shards(runner: Runner) -> None:
    rollout = CALM + "\nrollout: {at: 30 s, seed: 2}\n"
    with pytest.raises(InputError, match=r"shards\(=2\) must be 1: the rollout is one for all devices"):
        runner.run(rollout, *REAL, shards=2)


def test_a_journal_that_was_cut_short_is_read_up_to_its_last_batch(tmp_path: Path) -> None:
    from devices.log import FleetLog
    from devices.presence import Why

    log, journal = FleetLog(lambda: 0.0), Journal(tmp_path)
    for batch in range(3):
        log.connection(batch, 0.0, 0, batch, True, Why.START)
        journal.take(log, at_least=1)
    journal.close(log)
    path = tmp_path / "connection.arrows"
    whole = path.read_bytes()
    assert gather([tmp_path], ["d"])["connection"].num_rows == 3
    found = []
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        found.append(gather([tmp_path], ["d"])["connection"].num_rows)
    assert found == sorted(found)
    assert set(found) == {0, 1, 2, 3}
