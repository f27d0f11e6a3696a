"""Runs with a plug-in of every kind."""

import json
from pathlib import Path

import pytest

from devices.traces.importers.importer import ImportOptions
from emulator.cli.trace.import_trace import write_import
from emulator.compare.run_sets import read_run_set
from emulator.report.page import write_report
from emulator.run_directory.layout import read_scenario, read_summary
from emulator.simulation.engines import unsupported
from emulator.sweep.runs import list_runs
from scenarios.language.load import parse
from scenarios.language.plugin_types import codec_plugins, training_plugins
from scenarios.language.sweep_expansion import load_plan
from tests.emulator.scenarios import Runner, number
from tests.plugin_objects import ALL, Narrow
from wire.errors import InputError
from wire.plugins.installed import use_plugins
from wire.plugins.plugin import source_sha256

PLUGGED = """
version: 1
name: plugged
seed: 5
clock: virtual
stop_time: 20 min
data: {type: twins, users: 80}
model:
  codec: big_endian
  selection: cheapest
  layers: 16
  training:
    backbone: {type: drawn, scale: 0.5}
    dim: 8
    user_groups: 2
    item_groups: 4
fleet:
  - {name: phone, count: 6, memory: {type: steps, high: 1 MiB, every: 1 min}, budget: {share: 0.1 %}}
actions: [{type: halving, at: 10 min}]
faults: [{type: fog, at: 5 min, duration: 10 min, delay: 2 s}]
metrics: [budget_falls]
"""


def test_a_run_with_a_plugin_of_every_kind_keeps_their_names_and_is_replayed(runner: Runner) -> None:
    with use_plugins(ALL):
        done = runner.run(PLUGGED)
        replayed = runner.replay(done.folder)
        assert read_summary(done.folder)["event_log_sha256"] == done.summary["event_log_sha256"]
    assert replayed.summary["replay_log_equal"]
    falls = done.summary["budget_changes_by_direction"]
    assert isinstance(falls, dict)
    assert number(done, "budget_falls") == falls["down"] > 0
    faults, actions = done.summary["faults"], done.summary["actions"]
    assert isinstance(faults, list)
    assert isinstance(actions, list)
    assert [span["devices_affected"] for span in (*faults, *actions)] == [6, 6]
    plugins = json.loads((done.folder / "plugins.json").read_text())
    assert plugins == done.summary["plugins"] == replayed.summary["plugins"]
    assert [(use["kind"], use["name"]) for use in plugins] == [
        ("loaders", "twins"), ("backbones", "drawn"), ("codecs", "big_endian"), ("policies", "cheapest"),
        ("memory", "steps"), ("actions", "halving"), ("faults", "fog"), ("metrics", "budget_falls"),
    ]  # fmt: skip
    version = plugins[0]["version"]
    line = f"was run with the reader of data 'twins' of tests {version}, which is not installed"
    for read in (read_scenario, write_report, runner.replay, lambda folder: read_run_set(str(folder))):
        with pytest.raises(InputError) as refused:
            read(done.folder)
        assert str(refused.value) == f"{done.folder}: {line}"
    (done.folder / "plugins.json").write_text("[]")
    with pytest.raises(InputError, match=r"plugins\.json: the run directory is damaged"):
        read_scenario(done.folder)


def test_a_run_without_plugins_is_what_it_was(runner: Runner) -> None:
    with use_plugins(ALL):
        done = runner.run()
    assert not (done.folder / "plugins.json").exists()
    assert not {"plugins", "budget_falls"} & done.summary.keys()


def test_a_change_of_the_code_of_plugins_changes_the_keys_of_all_that_they_decide(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, file = tmp_path / "peel_plugins.py", tmp_path / "plugged.yaml"
    monkeypatch.syspath_prepend(tmp_path)
    module.write_text("from tests.plugin_objects import *\n")
    file.write_text(PLUGGED + "sweep: {grid: {model.layers: [8, 16]}}\n")
    names = {"backbones": "Drawn", "codecs": "BigEndian", "policies": "order_cheapest", "memory": "Steps"}
    moved = {kind: dict.fromkeys(ALL[kind], f"peel_plugins:{name}") for kind, name in names.items()}

    def keys() -> list[tuple[object, ...]]:
        source_sha256.cache_clear()
        with use_plugins({**ALL, **moved}):
            return [
                (run.digest, run.model, training_plugins(model.training), codec_plugins(model.codec))
                for run in list_runs(load_plan(file), None)
                for model in [run.scenario.model]
            ]

    before = keys()
    assert keys() == before
    module.write_text("from tests.plugin_objects import *  # better\n")
    assert not [key for one, other in zip(before, keys(), strict=True) for key in one if key in other]


def test_the_compiled_engine_runs_memory_of_plugins_and_not_their_faults() -> None:
    with use_plugins(ALL):
        scenario = parse(PLUGGED)
        calm = parse(PLUGGED.replace("faults: [{type: fog, at: 5 min, duration: 10 min, delay: 2 s}]\n", ""))
    assert unsupported(scenario) == "faults[0] is of type fog, which it does not know"
    assert unsupported(calm) is None


@pytest.mark.parametrize(
    ("kind", "name", "value", "change", "line"),
    [
        ("policies", "twice", "tests.plugin_objects:order_twice", ("selection: cheapest", "selection: twice"),
         "must return the numbers of 4 blocks once"),
        ("backbones", "narrow", Narrow, ("{type: drawn, scale: 0.5}", "narrow"),
         "backbone 'narrow': the vectors of users, of shape (80, 1), must be finite numbers of shape "
         "(80, 8): one vector for each user, each of model.training.dim numbers"),
    ],
)  # fmt: skip
def test_what_a_plugin_returns_is_checked(
    kind: str, name: str, value: object, change: tuple[str, str], line: str, runner: Runner
) -> None:
    with use_plugins({**ALL, kind: {name: value}}), pytest.raises(InputError) as refused:
        runner.run(PLUGGED.replace(*change))
    assert line in str(refused.value)


def test_an_importer_of_a_plugin_writes_a_trace(tmp_path: Path) -> None:
    source, out = tmp_path / "number.txt", tmp_path / "trace.csv"
    source.write_text("4096")
    with use_plugins(ALL):
        write_import("number", source, out, ImportOptions(name="phone"))
    assert out.read_text().splitlines()[1:] == ['"phone",0,4096']
