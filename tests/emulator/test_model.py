"""One training serves every codec, selection and number of layers, and leaves the stores of a fresh one."""

from pathlib import Path

import pytest

from cloud.config import Data
from cloud.store import BlockStore
from emulator.model import TRAINED, prepare_model
from scenarios.load import parse
from scenarios.schema import Model
from tests.emulator.scenarios import TINY

SELECTIONS = ("peel", "weight", "popularity", "prefix", "random")


def scenario(*overrides: str) -> tuple[Data, Model]:
    found = parse(TINY, "x.yaml", overrides)
    return found.data, found.model


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "overrides",
    [("model.selection=random",), ("model.codec=int8", "model.selection=popularity"), ("model.layers=8",)],
)
def test_a_store_from_a_kept_model_is_the_one_of_a_fresh_training(
    overrides: tuple[str, ...], tmp_path: Path
) -> None:
    stages: list[str] = []
    prepare_model(*scenario(), tmp_path / "swept", lambda *_: None)
    swept = prepare_model(*scenario(*overrides), tmp_path / "swept", lambda stage, *_: stages.append(stage))
    fresh = prepare_model(*scenario(*overrides), tmp_path / "fresh", lambda *_: None)
    assert (swept.trained, set(stages), fresh.trained) == (False, {"encode"}, True)
    assert swept.folder.name == fresh.folder.name
    assert contents(swept.folder) == contents(fresh.folder)
    assert contents(tmp_path / "swept" / TRAINED) == contents(tmp_path / "fresh" / TRAINED)


def test_a_kept_model_that_is_damaged_is_trained_again(tmp_path: Path) -> None:
    told: list[str] = []
    prepare_model(*scenario(), tmp_path, lambda *_: None)
    (kept,) = (tmp_path / TRAINED).iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    again = prepare_model(*scenario("model.layers=8"), tmp_path, lambda *words: told.append(words[-1]))
    assert again.trained
    assert told[0].startswith(f"checkpoint {kept.name} is not used: ")
    assert not prepare_model(*scenario("model.layers=9"), tmp_path, lambda *_: None).trained


def test_selections_rank_the_same_blocks_each_in_its_way(store_root: Path) -> None:
    """Two user groups at least, which draw different random orders; the whole table is the same."""

    def store(selection: str) -> BlockStore:
        asked = scenario(f"model.selection={selection}", "model.training.slice_width=2")
        return prepare_model(*asked, store_root, lambda *_: None).store

    stores = {selection: store(selection) for selection in SELECTIONS}
    assert len({each.version for each in stores.values()}) == len(SELECTIONS)
    peel = stores["peel"]
    for each in stores.values():
        for number, group in enumerate(each.groups):
            assert sorted(group.ranking()) == sorted(peel.groups[number].ranking())
            assert group.layers.bytes[-1] == peel.groups[number].layers.bytes[-1]
    first, second = (group.ranking() for group in stores["random"].groups[:2])
    cells = [[peel.geometry.cell(block) for block in ranking] for ranking in (first, second)]
    assert cells[0] != cells[1]
