"""A second opinion: every figure of a run computed again by DuckDB from its tables, and equal.

The SQL is written from docs/metrics.md, so that the page is enough to compute a figure, and calls none of
the code that it checks. The scenarios are random: whatever can happen to a fleet happens.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from scenarios.catalogue.summary_keys import key_of
from tests.emulator.scenarios import Runner
from tests.second_opinion.conservation import broken_laws
from tests.second_opinion.figures import ALL_FIGURES, Opinion, nobody
from tests.second_opinion.plan import plan_of
from tests.second_opinion.scenarios import scenario_of
from tests.second_opinion.summary import summary_of, verdicts
from tests.second_opinion.tables import Tables

QUICK = (11, 19, 25)
MANY = tuple(range(40))
VISITED = """
version: 1
name: visited
seed: 4
clock: virtual
stages: [{name: week, duration: 4 d}, {name: weekend, duration: 2 d}]
warmup: 12 h
data: {type: synthetic, users: 90, items: 60, interactions_per_user: 15, user_groups: 3, item_kinds: 4}
model: {layers: 12, training: {dim: 8, epochs: 3, user_groups: 3, item_groups: 4}}
interactions: {type: drift, visits_per_day: 2, newcomers: 0.5, recommender: {type: RECOMMENDER}}
fleet:
  - name: phone
    count: 25
    labels: {os: x}
    memory: {type: bounded_walk, min: 1 KiB, max: 1200 KiB, max_step: 300 KiB, step_every: 8 h}
    budget: {share: 0.1 %}
    churn: {uptime_mean: 5 h, downtime_mean: 3 h}
  - name: tvbox
    count: 10
    memory: {type: square_wave, low: 20 KiB, high: 1 MiB, low_for: 9 h, high_for: 8 h}
    budget: {share: 0.1 %}
thresholds:
  prequential_ndcg_at_10: [value>0.01]
  prequential_hit_rate_at_10{newcomer=yes}: [value<0.9]
  visits{age=below_3d,group=phone}: [count>10]
  recommender_bytes_down: [value<1MB]
  recommender_age_seconds{stage=week}: [p(90)<345600s, max<432000s]
"""
OTHERS = ("learning", "frozen", "list", "cloud_refit")
MEASURED = {"wall_seconds", "device_hours_per_wall_minute", "model_version", "aborted_at_seconds"}
"""What the tables cannot tell."""


@pytest.fixture(scope="module")
def store_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


@pytest.fixture
def runner(store_root: Path, tmp_path: Path) -> Runner:
    return Runner(store_root, tmp_path)


@pytest.mark.parametrize("number", QUICK)
def test_every_figure_computed_again_is_equal(number: int, runner: Runner, tmp_path: Path) -> None:
    assert list(differences(scenario_of(number, tmp_path / "traces"), runner)) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [number for number in MANY if number not in QUICK])
def test_every_figure_of_many_runs_is_equal(number: int, runner: Runner, tmp_path: Path) -> None:
    assert list(differences(scenario_of(number, tmp_path / "traces"), runner)) == []


@pytest.mark.parametrize(
    "recommender", ["list_updates", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)]
)
def test_every_figure_of_visits_computed_again_is_equal(recommender: str, runner: Runner) -> None:
    assert list(differences(VISITED.replace("RECOMMENDER", recommender), runner)) == []


def differences(text: str, runner: Runner) -> Iterator[object]:
    """Yield where the figures of a run differ from those computed again."""
    finished = runner.run(text)
    plan = plan_of(finished.folder)
    stop_ns = round(float(str(finished.summary["simulated_seconds"])) * 1e9)
    tables = Tables(finished.folder, plan.stages, stop_ns)
    yield from _rows(finished.folder, Opinion(tables))
    expected = summary_of(finished.folder, tables, plan)
    late = Tables(finished.folder, plan.stages, stop_ns, min(plan.warmup_ns, stop_ns))
    expected["thresholds"] = verdicts(late, plan, expected)
    theirs = {
        key: value
        for key, value in finished.summary.items()
        if key not in MEASURED and (key in expected or value is not None)
    }
    theirs.pop("cloud_egress_bytes")  # what the cloud leaves on shared topics is in no table
    yield from unequal("", expected, theirs)
    yield from broken_laws(tables, plan)
    yield from (f"{key} is not documented" for key in keys_of(finished.summary) if key_of(key) is None)


def _rows(folder: Path, opinion: Opinion) -> Iterator[object]:
    found = {name: opinion.found(name) for name in opinion.names}
    there = set()
    for row in pq.read_table(folder / "metrics.parquet").to_pylist():
        name, key = row["metric"], (row["dimension"], row["value"])
        there.add((name, *key))
        mine = found[name].get(key, nobody(ALL_FIGURES[name], row["dimension"]))[row["statistic"]]
        if not equal(mine, row["number"]):
            yield name, *key, row["statistic"], mine, row["number"]
    for name, each in found.items():
        for key in each:
            if (name, *key) not in there and key[1] is not None:
                yield "not in metrics.parquet", name, *key


def keys_of(value: object, prefix: str = "") -> Iterator[str]:
    """Yield the dotted keys of all that is in a summary, but for verdicts."""
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from keys_of(each, f"{prefix}{key}.") if key != "thresholds" else ()
    elif isinstance(value, list) and value:
        for at, each in enumerate(value):
            yield from keys_of(each, f"{prefix}{at}.")
    else:
        yield prefix.removesuffix(".")


def unequal(path: str, mine: Any, theirs: Any) -> Iterator[object]:  # Any: JSON
    """Yield where two summaries differ: by the dotted key."""
    if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
        for key in mine.keys() | theirs.keys():
            yield from unequal(f"{path}.{key}", mine.get(key, "missing"), theirs.get(key, "missing"))
    elif isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        for at, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            yield from unequal(f"{path}.{at}", one, other)
    elif not equal(mine, theirs):
        yield path, mine, theirs


def equal(mine: Any, theirs: Any) -> bool:  # Any: JSON
    """Tell whether two figures are equal: whole numbers exactly."""
    if isinstance(mine, float) and isinstance(theirs, int | float):
        return math.isclose(mine, theirs, rel_tol=1e-9, abs_tol=1e-12)
    return bool(mine == theirs)
