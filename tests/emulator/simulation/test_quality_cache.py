"""Layers are evaluated once: all fleets and processes of a model find them beside its store."""

import os
from pathlib import Path

import numpy as np
import pytest

from devices.recommender.quality import HeldOut, QualityTable
from emulator.simulation import evaluation
from emulator.simulation.evaluation import evaluate, look_up_or_evaluate, qualities_by_user
from emulator.simulation.model_cache import PreparedModel, prepare_model
from emulator.simulation.quality_cache import FOLDER, QualityCache
from scenarios.language.load import parse
from tests.emulator.scenarios import TINY


@pytest.fixture(scope="module")
def model(store_root: Path) -> PreparedModel:
    scenario = parse(TINY, "x.yaml", ())
    return prepare_model(scenario.data, scenario.model, store_root, lambda *_: None)


def truth_of(model: PreparedModel) -> HeldOut:
    return HeldOut(model.interactions.known, model.interactions.test)


def same(one: QualityTable, other: QualityTable) -> bool:
    return (
        np.array_equal(one.users, other.users)
        and np.array_equal(one.groups, other.groups)
        and one.by_group.keys() == other.by_group.keys()
        and all(np.array_equal(values, other.by_group[group]) for group, values in one.by_group.items())
    )


def test_a_model_is_evaluated_once_and_read_by_every_fleet(model: PreparedModel, tmp_path: Path) -> None:
    first = look_up_or_evaluate(model.store, truth_of(model), [3], tmp_path)
    (file,) = (tmp_path / FOLDER).iterdir()
    written = file.stat().st_ino
    second = look_up_or_evaluate(model.store, truth_of(model), [5, 8], tmp_path)
    measurable = np.flatnonzero(truth_of(model).test.counts()).tolist()
    assert same(first, evaluate(model.store, truth_of(model), measurable))
    assert same(second, first)
    assert [path.stat().st_ino for path in (tmp_path / FOLDER).iterdir()] == [written]


def test_of_many_users_those_of_the_fleet_are_evaluated(
    model: PreparedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "EVALUATED_SCORES", 0)
    truth = truth_of(model)
    few = look_up_or_evaluate(model.store, truth, [8, 3], tmp_path)
    more = look_up_or_evaluate(model.store, truth, [3, 5, 8], tmp_path)
    assert (few.users.tolist(), more.users.tolist()) == ([3, 8], [3, 5, 8])
    quality, wider = qualities_by_user(model.store, few), qualities_by_user(model.store, more)
    assert [quality[8].at(layer) for layer in range(quality[8].top + 1)] == [
        wider[8].at(layer) for layer in range(wider[8].top + 1)
    ]


@pytest.mark.parametrize("at", [0, 40, -1])
def test_a_damaged_file_is_found_and_evaluated_again(model: PreparedModel, tmp_path: Path, at: int) -> None:
    first = look_up_or_evaluate(model.store, truth_of(model), [3], tmp_path)
    (file,) = (tmp_path / FOLDER).iterdir()
    good = file.read_bytes()
    damaged = bytearray(good)
    damaged[at] ^= 1
    for content in (bytes(damaged), good[:20], b""):
        file.write_bytes(content)
        assert same(look_up_or_evaluate(model.store, truth_of(model), [3], tmp_path), first)
        assert file.read_bytes() == good


def test_other_items_to_find_are_another_file(model: PreparedModel, tmp_path: Path) -> None:
    truth = truth_of(model)
    look_up_or_evaluate(model.store, truth, [3], tmp_path)
    swapped = look_up_or_evaluate(model.store, HeldOut(truth.test, truth.known), [3], tmp_path)
    assert len(list((tmp_path / FOLDER).iterdir())) == 2
    assert same(swapped, evaluate(model.store, HeldOut(truth.test, truth.known), swapped.users.tolist()))


def test_the_least_recently_used_files_go_first(model: PreparedModel, tmp_path: Path) -> None:
    table = evaluate(model.store, truth_of(model), [3, 5])
    QualityCache(tmp_path).store("a", table)
    size = QualityCache(tmp_path).file("a").stat().st_size
    cache = QualityCache(tmp_path, 2 * size)
    for at, key in enumerate(("a", "b", "c"), start=1):
        cache.store(key, table)
        os.utime(cache.file(key), (at, at))
    cache.store("d", table)
    assert sorted(path.stem for path in cache.folder.iterdir()) == ["c", "d"]
    QualityCache(tmp_path, size - 1).store("e", table)
    assert sorted(path.stem for path in cache.folder.iterdir()) == ["c", "d"]
