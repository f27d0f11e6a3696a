"""The scenario files that come with peelfleet, and what is generated beside them."""

import json
import math
import re
import shlex
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from devices.simulated.budget_trajectory import budget_trajectory as course
from devices.simulated.budget_trajectory import memory_process, scale_factors
from devices.simulated.roster import DeviceSpec, build_roster
from devices.timeline.actions import budget_factors
from emulator.cli.verbs import load_verb
from emulator.simulation.job import build_timeline
from emulator.simulation.trace_files import read_trace_files
from scenarios.language.load import dump, headline, load, parse, shipped
from scenarios.language.scenario import Scenario
from scenarios.language.sweep_expansion import load_plan
from scenarios.language.types import documentation, sections
from scenarios.reference import events_page, metrics_page, scenario_page
from scenarios.reference.json_schema import schema_text
from tests.scenarios.conformity import problems
from wire.layers import Layers

# name -> (devices, budget changes, 5 % of the fp32 item table: bytes in which coded planes rank as well)
SHIPPED = {
    "broker-restart": (800, 11_800, 12_800),
    "cadence": (288, 3_600, 5_120),
    "cloud-outage": (400, 18_600, 12_800),
    "day-in-the-life": (250, 25_500, 12_800),
    "flaky-network": (240, 6_000, 12_800),
    "flash-crowd": (800, 10_200, 12_800),
    "heterogeneous-fleet": (400, 19_900, 12_800),
    "live-squeeze": (5_000, 45_500, 12_800),
    "list-or-table": (300, 8_700, 12_800),
    "ml-100k": (500, 24_000, 21_530),
    "ml-1m": (2_000, 103_000, 46_438),
    "month-100k": (301, 97_000, 20_685),
    "playground": (60, 5_800, 12_800),
    "policy-matrix": (280, 12_000, 12_800),
    "quickstart": (200, 24_000, 12_800),
    "reconnect-storm": (600, 10_600, 12_800),
    "rollout-under-pressure": (300, 13_300, 12_800),
    "squeeze": (1_000, 10_000, 12_800),
    "thrash": (300, 16_300, 12_800),
    "trace-replay": (200, 37_300, 12_800),
}

TABLE = Layers.above_zero(range(1, 65), np.geomspace(330, 36_864, 64).astype(int).tolist())
"""About the sizes of a PEE in these scenarios, for budgets that swing around one of them."""

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
    assert headline(path).endswith("?")
    assert f"peelfleet run scenarios/{path.name}" in path.read_text(encoding="utf-8")


@paths
def test_each_command_of_a_header_is_one_that_the_scenario_can_be_run_with(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    commands = re.findall(rf"peelfleet (run|sweep) scenarios/{re.escape(path.name)}([^()\n]*)", text)
    assert commands
    for command, rest in commands:
        given = arguments(command, [str(path), *shlex.split(rest)])
        overrides = given["set_"] or []
        if command == "run":
            assert load(path, overrides) != load(path) or not overrides
        else:
            assert load_plan(path, overrides, given["over"] or [], given["seeds"]).combinations


def arguments(command: str, words: list[str]) -> dict[str, Any]:  # Any: of every type that an option has
    """Return what the command line itself reads in *words*."""
    params: dict[str, Any] = load_verb(command).make_context(command, list(words)).params
    return params


@paths
def test_each_is_as_large_as_it_says(path: Path) -> None:
    scenario = load(path)
    devices, changes, _ = SHIPPED[path.stem]
    counts = {group.name: group.count for group in scenario.fleet}
    assert sum(counts.values()) == devices
    found: dict[str, list[int]] = defaultdict(list)
    for device in samples(scenario):
        found[device.group.name].append(len(budgets(scenario, device)))
    total = sum(counts[name] * float(np.mean(lengths)) for name, lengths in found.items())
    assert math.isclose(total, changes, rel_tol=0.1)


@paths
def test_each_has_as_many_devices_as_its_clock_carries_in_minutes(path: Path) -> None:
    least, most = (60, 5_000) if load(path).clock == "realtime" else (200, 2_000)
    assert least <= SHIPPED[path.stem][0] <= most


@pytest.mark.parametrize("name", ["quickstart", "ml-1m", "ml-100k"])
def test_budgets_reach_from_about_the_floor_to_what_ranks_as_well_as_the_whole_table(name: str) -> None:
    scenario = load(next(path for path in shipped() if path.stem == name))
    table = SHIPPED[name][2]
    shares = np.array(
        [
            budget / table
            for device in build_roster(scenario.fleet, scenario.seed, [0])
            if device.number % 10 == 0
            for budget in budgets(scenario, device)
        ]
    )
    assert np.quantile(shares, 0.02) < 0.04
    assert 0.25 < np.quantile(shares, 0.5) < 0.5
    assert np.quantile(shares, 0.99) > 1


def samples(scenario: Scenario) -> Iterator[DeviceSpec]:
    """Yield up to 20 devices of each group, the first ones."""
    for each in build_roster(scenario.fleet, scenario.seed, [0], build_timeline(scenario)):
        if int(each.name.rpartition("-")[2]) < 20:
            yield each


def budgets(scenario: Scenario, device: DeviceSpec) -> list[int]:
    """Return the budgets of a device, those that follow each other equal told once."""
    group = device.group
    played = read_trace_files([group]).memory.get(group.name, ())
    memory = memory_process(device, scenario.seed, played, TABLE)
    scales = scale_factors(
        budget_factors(build_timeline(scenario).actions_for(device.member)), device.start_ns
    )
    now, found = device.start_ns, [-1]
    for wait, _, budget in course(memory, group.budget.of, scenario.nodes[group.node].memory, scales):
        now += wait
        if now >= scenario.stop_time:
            break
        if budget != found[-1]:
            found.append(budget)
    return found[1:]


def test_the_schema_file_is_fresh() -> None:
    stale = "stale: run python -m scenarios.reference"
    assert scenario_page.SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), stale
    json.loads(schema_text())


def test_the_page_is_fresh() -> None:
    stale = "stale: run python -m scenarios.reference"
    assert scenario_page.PAGE_FILE.read_text(encoding="utf-8") == scenario_page.page(), stale


def test_the_page_of_metrics_is_fresh() -> None:
    stale = "stale: run python -m scenarios.reference"
    assert scenario_page.METRICS_FILE.read_text(encoding="utf-8") == metrics_page.page(), stale


def test_the_page_of_event_tables_is_fresh() -> None:
    stale = "stale: run python -m scenarios.reference"
    assert scenario_page.EVENTS_FILE.read_text(encoding="utf-8") == events_page.page(), stale


def test_every_field_is_documented() -> None:
    for kind, where in sections(Scenario):
        assert set(documentation(kind.cls)) == {field.name for field in kind.fields}, where


def test_every_link_of_the_page_leads_to_a_heading() -> None:
    page = scenario_page.page()
    links = {part.split(")")[0] for part in page.split("](#")[1:]}
    headings = {
        scenario_page.slug(line.removeprefix("## ")) for line in page.splitlines() if line.startswith("## ")
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
