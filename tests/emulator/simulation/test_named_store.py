"""A scenario may name a trained store: nothing is trained, and the run is that of the model inside."""

from pathlib import Path

import pytest

from emulator.runner.resolved_scenario import resolve_scenario
from emulator.simulation.model_cache import ModelSource, PreparedModel, prepare_model
from emulator.sweep.runs import list_runs
from scenarios.language.load import load, parse
from scenarios.language.sweep_expansion import load_plan
from tests.emulator.scenarios import TINY
from wire.errors import InputError


@pytest.fixture
def trained(tmp_path: Path) -> PreparedModel:
    scenario = parse(TINY, "tiny.yaml")
    return prepare_model(scenario.data, scenario.model, tmp_path / "cache", lambda *_: None)


def without_model(text: str) -> str:
    """Return *text* without its key ``model``, which a named store must not meet."""
    lines, kept, inside = text.splitlines(), [], False
    for line in lines:
        inside = line.startswith("model:") or (inside and line.startswith((" ", "#")))
        kept += [] if inside else [line]
    return "\n".join(kept) + "\n"


def test_a_named_store_is_taken_as_it_is(trained: PreparedModel) -> None:
    text = without_model(TINY)
    scenario = parse(text, "tiny.yaml", [f"model.store={trained.folder}"])
    named = prepare_model(scenario.data, scenario.model, Path("/nowhere"), lambda *_: None)
    assert (named.store.version, named.source, named.trained, named.cache) == (
        trained.store.version, ModelSource.NAMED, False, Path("/nowhere"),
    )  # fmt: skip


def test_a_store_of_other_data_is_refused(trained: PreparedModel) -> None:
    overrides = [f"model.store={trained.folder}", "data.seed=99"]
    scenario = parse(without_model(TINY), "tiny.yaml", overrides)
    with pytest.raises(InputError) as caught:
        prepare_model(scenario.data, scenario.model, None, lambda *_: None)
    assert str(caught.value) == (
        f"model.store(='{trained.folder}') was trained with other data (synthetic), "
        "not with the scenario's synthetic"
    )


def test_a_folder_without_a_store_is_refused(tmp_path: Path) -> None:
    scenario = parse(without_model(TINY), "tiny.yaml", [f"model.store={tmp_path / 'none'}"])
    with pytest.raises(InputError, match="none"):
        prepare_model(scenario.data, scenario.model, None, lambda *_: None)


@pytest.mark.parametrize(("more", "key"), [("layers=8", "layers"), ("training.seed=3", "training")])
def test_a_store_stands_alone(more: str, key: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(without_model(TINY), "tiny.yaml", ["model.store=x", f"model.{more}"])
    assert str(caught.value) == (
        f"--set model.store=x: model.store (='x') must be the only key of model: it decides {key}, too"
    )


def test_a_rollout_needs_a_model_that_is_trained() -> None:
    with pytest.raises(
        InputError, match=r"rollout: its version is trained, so model\.store must be left out"
    ):
        parse(without_model(TINY), "tiny.yaml", ["model.store=x", "rollout={at: 10 s, seed: 7}"])


def test_a_store_lies_beside_its_scenario(trained: PreparedModel, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    trained.folder.rename(folder / "store")
    (folder / "tiny.yaml").write_text(without_model(TINY) + "model: {store: store}\n")
    resolved = resolve_scenario(load(folder / "tiny.yaml"), None)
    assert resolved.model.store == str(folder / "store")


def test_a_run_of_a_sweep_knows_the_version_of_its_store(trained: PreparedModel, tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text(without_model(TINY) + f"model: {{store: {trained.folder}}}\nsweep: {{seeds: [1]}}\n")
    (first,) = list_runs(load_plan(path, []), None)
    manifest = trained.folder / "manifest.json"
    manifest.write_text(manifest.read_text().replace(trained.store.version, "0" * 16))
    (second,) = list_runs(load_plan(path, []), None)
    assert first.digest != second.digest
