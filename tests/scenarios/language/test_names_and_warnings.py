"""Scenarios by name from any folder, and what is said of one before it runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scenarios.language.load import load, located, parse, shipped
from scenarios.language.scenario import Scenario
from scenarios.language.sweep_expansion import load_plan
from scenarios.language.warnings import estimate_events, scenario_warnings
from wire.errors import InputError

BEGIN = "version: 1\nname: x\nstop_time: 1 h\nfleet: [{name: a, count: 10, start_within: 5 min}]\n"


def test_a_scenario_that_comes_with_peelfleet_is_found_by_its_name_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for path in shipped():
        assert load(Path(path.stem)) == load(path)
        assert located(Path(path.name)) == path
    assert load_plan(Path("thrash")).base == load_plan(located(Path("thrash"))).base
    (tmp_path / "squeeze").mkdir()  # a folder, such as one with runs, is none
    assert load(Path("squeeze")).name == "squeeze"
    (tmp_path / "quickstart").write_text(BEGIN)  # a file of that name wins
    assert load(Path("quickstart")).name == "x"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("squeze", "squeze: no such file, .*; did you mean 'squeeze'?"),
        ("quickstrat.yaml", "quickstrat.yaml: no such file, .*; did you mean 'quickstart'?"),
        ("folder/squeeze", "folder/squeeze: no such file"),
        ("zzz", "zzz: no such file"),
    ],
)
def test_a_name_that_is_none_is_refused(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        load(Path(name))


def test_each_verb_takes_a_name(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[3])
    listed = subprocess.run(
        [sys.executable, "-m", "emulator.cli", "scenarios"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert [line for line in listed.splitlines() if line[0] != " "] == [path.stem for path in shipped()]


def test_what_has_no_end_is_no_scenario() -> None:
    with pytest.raises(InputError, match="/dev/zero: is no regular file, and cannot be a scenario"):
        load(Path("/dev/zero"))


def doubts_of(more: str, begin: str = BEGIN) -> list[str]:
    return list(scenario_warnings(parse(begin + more)))


def test_a_first_stage_without_a_ramp_is_doubted_since_devices_come_over_all_of_it() -> None:
    (text,) = doubts_of("stages: [{name: steady, duration: 15 min}, {name: b, duration: 1 min}]")
    assert text == (
        "stages[0].ramp: is left out, so devices connect one after the other over all 15 min of "
        "'steady', besides start_within of a; ramp: 0 s connects them at once"
    )
    assert doubts_of("stages: [{name: steady, duration: 15 min, ramp: 0 s}]") == []
    assert doubts_of("stages: [{name: steady, duration: 15 min, ramp: 15 min}]") == []
    assert doubts_of("") == []


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_no_shipped_scenario_is_doubted(path: Path) -> None:
    assert list(scenario_warnings(load(path))) == []


def a_fleet(count: int, step_every: str) -> Scenario:
    memory = f"{{type: bounded_walk, step_every: {step_every}}}"
    return parse(BEGIN.replace("count: 10, start_within: 5 min", f"count: {count}, memory: {memory}"))


def test_a_run_that_takes_hours_says_so_first() -> None:
    assert estimate_events(a_fleet(1000, "1 s")) == 1000 * 3600
    assert list(scenario_warnings(a_fleet(1000, "1 s"))) == []
    (text,) = scenario_warnings(a_fleet(1_000_000, "100 ms"))
    assert (
        text == "fleet: makes about 3.6e+10 events until stop_time: at 50,000 a second that takes about 200 h"
    )
    (text,) = scenario_warnings(a_fleet(10_000_000, "1 min"))
    assert text.startswith("fleet: makes about 6e+08 events")


def test_a_fleet_that_no_machine_has_memory_for_is_refused() -> None:
    assert len(parse(BEGIN.replace("count: 10", "count: 9000000")).fleet) == 1
    with pytest.raises(InputError, match="have 10,000,001 devices in all, and must have at most 10,000,000"):
        parse(BEGIN.replace("[{", "[{name: b, count: 9999991}, {"))


def test_labels_that_no_summary_could_be_split_by_are_refused() -> None:
    def labelled(count: int) -> str:
        labels = ", ".join(f"k{at}: v" for at in range(count))
        return BEGIN.replace("count: 10", f"count: 10, labels: {{{labels}}}")

    assert len(parse(labelled(1000)).fleet[0].labels) == 1000
    with pytest.raises(InputError, match="have 1,001 different labels, and must have at most 1,000"):
        parse(labelled(1001))
