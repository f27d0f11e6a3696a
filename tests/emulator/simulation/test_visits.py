"""From the data, or from a drifting world, to what the devices of a run meet."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from emulator.simulation.job import Job, prepare
from emulator.simulation.visits import newcomer_start
from scenarios.language.load import parse
from tests.emulator.scenarios import Runner
from tests.worlds import a_store
from wire.errors import InputError
from wire.units import NS_PER_S

MODEL = """
model:
  layers: 8
  training:
    dim: 4
    slice_width: 2
    user_groups: 2
    item_groups: 2
    ials: {epochs: 2}
    refine: {enabled: false}
    controller: {enabled: false}
"""
REPLAY = f"""
version: 1
name: replay
seed: 2
clock: virtual
stop_time: 1000 s
data: {{type: table, path: DATA, time: time, split: {{type: cut, warm_up: 60 %}}}}
interactions: {{type: replay}}
{MODEL}
fleet:
  - name: phone
    count: 40
    memory: {{type: bounded_walk, min: 1 KiB, max: 2 MiB, max_step: 1 MiB, step_every: 200 s}}
    budget: {{share: 0.1 %}}
"""
DRIFT = (
    REPLAY.replace(
        "{type: table, path: DATA, time: time, split: {type: cut, warm_up: 60 %}}",
        "{type: synthetic, users: 40, items: 60, interactions_per_user: 12, user_groups: 2, item_kinds: 4}",
    )
    .replace(
        "interactions: {type: replay}", "interactions: {type: drift, visits_per_day: 10, newcomers: 0.25}"
    )
    .replace("stop_time: 1000 s", "stop_time: 1 d")
    .replace("step_every: 200 s", "step_every: 1 h")
)


def history(seed: int, later_seed: int) -> list[tuple[str, str, int]]:
    """600 interactions, one a second, that are other ones with *later_seed* from the cut at 360 on."""

    def draw(seed: int, times: Sequence[int], users: int, items: int) -> list[tuple[str, str, int]]:
        rng = np.random.default_rng(seed)
        pairs = rng.permutation(users * items)[: len(times)]
        return [
            (f"u{pair % users}", f"i{pair // users}", time) for pair, time in zip(pairs, times, strict=True)
        ]

    before = draw(seed, range(360), 30, 40)
    met = {row[:2] for row in before}
    after = [row for row in draw(later_seed, range(3000), 40, 80) if row[:2] not in met][:240]
    return before + [(user, item, 360 + at) for at, (user, item, _) in enumerate(after)]


def a_job(text: str, folder: Path, root: Path, rows: list[tuple[str, str, int]] | None = None) -> Job:
    folder.mkdir()
    file = folder / "data.csv"
    lines = [f"{user},{item},{time}" for user, item, time in rows or history(1, 2)]
    file.write_text("\n".join(["user,item,time", *lines]))
    scenario = parse(text.replace("DATA", str(file)), "x.yaml")
    return prepare(scenario, root, folder, on_training=lambda *_: None).job


def test_nothing_after_the_cut_decides_anything_about_the_model(tmp_path: Path, store_root: Path) -> None:
    one, other = (a_job(REPLAY, tmp_path / str(seed), store_root, history(1, seed)) for seed in (2, 3))
    assert one.visits is not None
    assert other.visits is not None
    assert one.visits.items.tolist() != other.visits.items.tolist()
    assert one.visits.newcomers.sum() == other.visits.newcomers.sum() == 10
    assert one.store.version == other.store.version


def test_a_replay_fills_the_run_and_every_user_has_a_device(tmp_path: Path, store_root: Path) -> None:
    job = a_job(REPLAY, tmp_path / "x", store_root)
    visits = job.visits
    assert visits is not None
    assert (len(visits.items), visits.n_items) == (240, 40)
    assert (visits.times_ns.min(), visits.times_ns.max()) == (0, 1000 * NS_PER_S - 1)
    assert sorted(device.user for device in job.devices) == visits.users.tolist() == list(range(40))
    for device in job.devices:
        joins_ns = (
            max(visits.first_ns(device.user) - 60 * NS_PER_S, 0) if visits.newcomers[device.user] else 0
        )
        assert device.start_ns == joins_ns
    assert any(device.start_ns for device in job.devices)
    starts = {(int(job.store.user_groups[u]), job.store.user_vectors[u].tobytes()) for u in range(30, 40)}
    assert len(starts) == 1  # nothing is known of a newcomer
    assert [job.truth.test[user].tolist() for user in (0, 39)] == [
        visits.met[user].tolist() for user in (0, 39)
    ]


def test_a_speed_of_its_own_and_a_fleet_of_another_size(tmp_path: Path, store_root: Path) -> None:
    text = REPLAY.replace("{type: replay}", "{type: replay, speed: 0.2}").replace("count: 40", "count: 100")
    job = a_job(text, tmp_path / "x", store_root)
    assert job.visits is not None
    # 1000 s of the run are 200 s of the data; the interactions of the other 40 s do not come.
    assert (len(job.visits.items), job.visits.times_ns.max()) == (200, 995 * NS_PER_S)
    counts = np.bincount([device.user for device in job.devices], minlength=40)[job.visits.users]
    assert (len(job.devices), counts.min(), counts.max()) == (100, 2, 3)


@pytest.mark.parametrize("text", [DRIFT])
def test_a_drifting_world_runs_the_same_each_time(runner: Runner, text: str) -> None:
    one, other = runner.run(text), runner.run(text)
    assert one.summary["event_log_sha256"] == other.summary["event_log_sha256"]
    assert (
        one.summary["event_log_sha256"] != runner.run(text, "interactions.seed=1").summary["event_log_sha256"]
    )


def test_the_start_of_newcomers_is_the_mean_of_the_group_whose_list_is_worth_most() -> None:
    store = a_store(users=6, groups=2)
    group, vector = newcomer_start(store, np.arange(12)[::-1])
    members = store.user_vectors[store.user_groups == group]
    assert vector.tolist() == members.mean(axis=0, dtype=np.float64).tolist()


def test_a_world_in_which_nothing_happens_is_refused(tmp_path: Path, store_root: Path) -> None:
    with pytest.raises(InputError, match="synthetic: no interaction comes before stop_time"):
        a_job(
            DRIFT.replace("visits_per_day: 10, newcomers: 0.25", "visits_per_day: 0.0001, newcomers: 0"),
            tmp_path / "x",
            store_root,
        )
