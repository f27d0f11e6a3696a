"""The scenario files that come with peelfleet, and what is generated beside them."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import yaml

from devices.fleet import FleetGroup
from scenarios import metrics_page, reference
from scenarios.json_schema import schema_text
from scenarios.kinds import documentation, sections
from scenarios.load import dump, load, parse, question, shipped
from scenarios.schema import Scenario
from tests.scenarios.conformity import problems

# name -> (devices, budget changes, 5 % of the fp32 item table: bytes in which coded planes rank as well)
SHIPPED = {
    "ml-100k": (500, 24_000, 21_530),
    "ml-1m": (2_000, 103_000, 46_438),
    "quickstart": (200, 24_000, 12_800),
    "squeeze": (1_000, 10_000, 12_800),
}

paths = pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)


def test_all_are_known() -> None:
    assert [path.stem for path in shipped()] == sorted(SHIPPED)


@paths
def test_each_loads_reads_back_and_obeys_the_schema(path: Path) -> None:
    scenario = load(path)
    assert scenario.name == path.stem
    assert parse(dump(scenario)) == scenario
    assert problems(yaml.safe_load(path.read_text(encoding="utf-8"))) == []


@paths
def test_each_asks_a_question_and_says_how_to_run_it(path: Path) -> None:
    assert question(path).endswith("?")
    assert f"peelfleet run scenarios/{path.name}" in path.read_text(encoding="utf-8")


@paths
def test_each_is_as_large_as_it_says(path: Path) -> None:
    scenario = load(path)
    devices, changes, _ = SHIPPED[path.stem]
    assert sum(group.count for group in scenario.fleet) == devices
    found = sum(
        group.count * float(np.mean([len(budgets(scenario, group, at)) for at in range(20)]))
        for group in scenario.fleet
    )
    assert math.isclose(found, changes, rel_tol=0.1)


@pytest.mark.parametrize("name", ["quickstart", "ml-1m", "ml-100k"])
def test_budgets_reach_from_about_the_floor_to_what_ranks_as_well_as_the_whole_table(name: str) -> None:
    scenario = load(next(path for path in shipped() if path.stem == name))
    table = SHIPPED[name][2]
    shares = np.array(
        [
            budget / table
            for group in scenario.fleet
            for at in range(group.count // 10)
            for budget in budgets(scenario, group, at)
        ]
    )
    assert np.quantile(shares, 0.02) < 0.04
    assert 0.25 < np.quantile(shares, 0.5) < 0.5
    assert np.quantile(shares, 0.99) > 1


def budgets(scenario: Scenario, group: FleetGroup, at: int) -> list[int]:
    """Return the budgets of a device, those that follow each other equal told once."""
    now, found = 0, [-1]
    for wait, free in group.memory.changes(np.random.default_rng([5, at])):  # type: ignore[union-attr]
        now += wait
        if now >= scenario.stop_time:
            break
        if group.budget.of(free) != found[-1]:
            found.append(group.budget.of(free))
    return found[1:]


def test_the_schema_file_is_fresh() -> None:
    stale = "stale: run python -m scenarios.reference"
    assert reference.SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), stale
    json.loads(schema_text())


def test_the_page_is_fresh() -> None:
    stale = "stale: run python -m scenarios.reference"
    assert reference.PAGE_FILE.read_text(encoding="utf-8") == reference.page(), stale


def test_the_page_of_metrics_is_fresh() -> None:
    stale = "stale: run python -m scenarios.reference"
    assert reference.METRICS_FILE.read_text(encoding="utf-8") == metrics_page.page(), stale


def test_every_field_is_documented() -> None:
    for kind, where in sections(Scenario):
        assert set(documentation(kind.cls)) == {field.name for field in kind.fields}, where


def test_every_link_of_the_page_leads_to_a_heading() -> None:
    page = reference.page()
    links = {part.split(")")[0] for part in page.split("](#")[1:]}
    headings = {
        reference.slug(line.removeprefix("## ")) for line in page.splitlines() if line.startswith("## ")
    }
    assert links <= headings


@pytest.mark.parametrize(
    "text",
    [
        "{version: 1, name: a, stop_time: 5, fleet: []}",
        "{version: 1, name: a, stop_time: 1 h, fleet: [{name: p}]}",
        "{version: 1, name: a, stop_time: 1 h, fleet: [], sead: 1}",
        "{version: 1, name: a, stop_time: 1 h, fleet: [], data: {type: lightgcn}}",
        "{version: 1, name: a, stop_time: 1 h, fleet: [], clock: fast}",
    ],
)
def test_the_schema_refuses_what_is_wrong(text: str) -> None:
    assert problems(yaml.safe_load(text)) != []
