"""Users that meet items while a fleet runs: ranked first with what is held, logged, and only then known."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from devices.event_log import COLUMNS, WALL, InteractionEvent
from devices.recommender.scoring import ItemTable
from devices.simulated.roster import DeviceSpec
from emulator.simulation.evaluation import full_prefixes
from emulator.simulation.job import Job, prepare
from emulator.simulation.simulation import Simulation
from scenarios.language.load import parse
from tests.emulator.scenarios import TINY, Runner
from wire.units import TIME_UNITS

LIVING = TINY.replace("stop_time: 20 min", "stop_time: 4 d\ninteractions: {type: drift}").replace(
    "step_every: 20 s", "step_every: 8 h"
).replace("low_for: 1 min, high_for: 2 min", "low_for: 9 h, high_for: 8 h")  # fmt: skip
CHURN = "fleet[0].churn={uptime_mean: 5 h, downtime_mean: 3 h}"
RECOMMENDERS = ("learning", "frozen", "list", "list_updates", "cloud_refit")
DAY_NS = TIME_UNITS["d"]
Rows = NDArray[Any]  # Any: a structured type


def job_of(recommender: str, store_root: Path, folder: Path, *overrides: str) -> Job:
    chosen = (f"interactions.recommender.type={recommender}", *overrides)
    scenario = parse(LIVING, "living.yaml", chosen)
    return prepare(scenario, store_root, folder, on_training=lambda *_: None).job


def rows_of(job: Job, devices: list[DeviceSpec] | None = None) -> Rows:
    """Return the rows about interactions of some devices that live together, by device and order."""
    specs = list(job.devices) if devices is None else devices
    log = Simulation(job, lambda _: None).simulate_in_simpy(specs)
    rows = log.tables["interaction"].drain()
    return rows[np.lexsort((rows["order"], rows["device"]))]


def logical(rows: Rows) -> list[tuple[Any, ...]]:
    """Return the columns of rows that do not depend on the machine."""
    columns = [column for column in COLUMNS["interaction"] if column != WALL]
    return [tuple(row) for row in rows[columns].tolist()]


def test_a_frozen_vector_ranks_each_visit_with_the_layer_held_then(store_root: Path, tmp_path: Path) -> None:
    """Each row again from the model alone: the row's layer, the user's vector, and the items known so far."""
    job = job_of("frozen", store_root, tmp_path)
    assert job.visits is not None
    prefixes, rows = full_prefixes(job.store), rows_of(job)
    assert len(rows) == sum(len(job.visits.of(spec.user).times_ns) for spec in job.devices)
    assert set(rows["event"]) == {InteractionEvent.VISIT}
    assert not any(rows[column].any() for column in ("down_bytes", "up_bytes", "learning_bytes"))
    for row in rows:
        user, visits = int(row["user"]), job.visits.of(int(row["user"]))
        visit = visits.times_ns.tolist().index(row["t_ns"])
        met = visits.items[visits.starts[visit] : visits.starts[visit + 1]].tolist()
        known = {*job.visits.known[user].tolist(), *visits.items[: visits.starts[visit]].tolist()}
        assert (row["items"], row["known"]) == (len(met), len(known))
        assert row["newcomer"] == (not len(job.visits.known[user]))
        prefix = prefixes[int(row["user_group"])]
        table = ItemTable(prefix)
        table.hold(prefix.layers.blocks[row["layer"]])
        scores = table.scores(job.store.user_vectors[user][None])[0].astype(np.float32)
        order = sorted((each for each in range(80) if each not in known), key=lambda each: -scores[each])
        gain = sum(1 / math.log2(place + 2) for place, each in enumerate(order[:10]) if each in met)
        ideal = sum(1 / math.log2(place + 2) for place in range(min(len(met), 10)))
        expected = gain / ideal if row["layer"] else 0.0
        assert math.isclose(row["ndcg_at_10"], expected, abs_tol=1e-12)


def test_lists_are_made_at_intervals_from_what_was_reported(store_root: Path, tmp_path: Path) -> None:
    """A device that stays connected reports what was met and fetches a list each day, two bytes an item."""
    job = job_of("list_updates", store_root, tmp_path)
    assert job.visits is not None
    for spec in list(job.devices)[:5]:
        visits, rows = job.visits.of(spec.user), rows_of(job, [spec])
        exchanges = rows[rows["event"] == InteractionEvent.EXCHANGE]
        times = np.arange(spec.start_ns, 4 * DAY_NS, DAY_NS)
        assert exchanges["t_ns"].tolist() == times.tolist()
        counts = visits.starts[np.searchsorted(visits.times_ns, times)]
        assert exchanges["up_bytes"].tolist() == (2 * np.diff(counts, prepend=0)).tolist()
        known = len(job.visits.known[spec.user]) + counts
        assert exchanges["down_bytes"].tolist() == (2 * (80 - known)).tolist()
        ages = rows["t_ns"] - times[np.searchsorted(times, rows["t_ns"], side="right") - 1]
        assert rows["age_ns"].tolist() == ages.tolist()


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.sampled_from(["0.003 %", "0.02 %", "0.1 %", "1 %"]), history=st.integers(1, 64))
def test_what_is_kept_to_learn_and_the_blocks_never_exceed_the_budget(
    share: str, history: int, store_root: Path, tmp_path: Path
) -> None:
    """At every row, blocks and two bytes for each item remembered are within the rule of the group."""
    chosen = (f"fleet[0].budget.share={share}", f"interactions.recommender.history={history}")
    job = job_of("learning", store_root, tmp_path, *chosen)
    specs = list(job.devices)[:20]
    log = Simulation(job, lambda _: None).simulate_in_simpy(specs)
    budgets, states, visits = (log.tables[name].drain() for name in ("budget", "quality", "interaction"))
    rule, most = specs[0].group.budget.of, 0
    for spec in specs:
        own_budgets, own_states = (rows[rows["device"] == spec.number] for rows in (budgets, states))
        for row in visits[visits["device"] == spec.number]:
            allowed = rule(int(own_budgets[own_budgets["order"] < row["order"]][-1]["free_bytes"]))
            resident = int(own_states[own_states["order"] < row["order"]][-1]["resident_bytes"])
            assert resident + row["learning_bytes"] <= allowed
            assert row["learning_bytes"] <= min(2 * history, allowed // 8)
            most = max(most, int(row["learning_bytes"]))
    assert most > 0 or share == "0.003 %"


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(recommender=st.sampled_from(RECOMMENDERS), share=st.floats(0.05, 0.95), cut=st.integers(1, 11))
def test_rows_depend_on_earlier_visits_of_their_own_device_only(
    recommender: str, share: float, cut: int, store_root: Path, tmp_path: Path
) -> None:
    """No row changes with later moments, or with other devices in the environment."""
    job = job_of(recommender, store_root, tmp_path, CHURN)
    assert job.visits is not None
    specs, until_ns = list(job.devices)[14:26], int(share * 4 * DAY_NS)
    whole = rows_of(job, specs)
    apart = np.concatenate([rows_of(job, specs[:cut]), rows_of(job, specs[cut:])])
    assert logical(apart) == logical(whole)
    users = np.repeat(np.arange(len(job.visits.known)), np.diff(job.visits.user_starts))
    early = job.visits.times_ns < until_ns
    cut_off = type(job.visits).of_events(
        users[early],
        job.visits.times_ns[early],
        job.visits.items[early],
        job.visits.known,
        int((~job.visits.newcomers).sum()),
        job.visits.n_items,
    )
    before = rows_of(replace(job, visits=cut_off), specs)
    assert logical(before[before["t_ns"] < until_ns]) == logical(whole[whole["t_ns"] < until_ns])


@pytest.mark.slow
@pytest.mark.parametrize("recommender", RECOMMENDERS)
def test_the_log_is_the_same_under_each_clock_and_shard_count(recommender: str, runner: Runner) -> None:
    """In memory, with four shards, and through a broker with a cloud behind it."""
    chosen = (f"interactions.recommender.type={recommender}", CHURN)
    found = [
        runner.run(LIVING, *chosen),
        runner.run(LIVING, *chosen, shards=4),
        runner.run(LIVING, *chosen, "clock=lockstep", broker="amqtt"),
    ]
    assert len({run.summary["event_log_sha256"] for run in found}) == 1
    assert found[0].summary["visits"]
