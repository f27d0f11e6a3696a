"""One training serves every codec, selection and number of layers, and leaves the stores of a fresh one."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cloud.blocks.store import BlockStore
from cloud.data.sources import Data
from emulator.simulation.model_cache import TRAINED, prepare_model
from scenarios.language.load import parse
from scenarios.language.schema import Model
from tests.emulator.scenarios import TINY
from wire.errors import InputError
from wire.item_lists import read_lists

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


def planes_bytes(store: BlockStore, number: int) -> int:
    """Return the bytes of a group's planes; those of its lists depend on which item group comes first."""
    group = store.groups[number]
    _, lists = read_lists(store.geometry, group.ranking(), group.blocks.data, group.starts)
    return len(group.blocks.data) - sum(lists)


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
            assert planes_bytes(each, number) == planes_bytes(peel, number)
    first, second = (group.ranking() for group in stores["random"].groups[:2])
    cells = [[peel.geometry.cell(block) for block in ranking] for ranking in (first, second)]
    assert cells[0] != cells[1]


def test_a_store_under_the_key_of_another_is_refused(tmp_path: Path) -> None:
    """Copied by hand, by rsync, in a shared folder: the figures would be those of another model."""
    mine = prepare_model(*scenario(), tmp_path, lambda *_: None)
    for override, words in (
        ("model.codec=fp32", r"other settings of model \(codec"),
        ("model.training.seed=9", r"other settings of model \(training\)"),
        ("data.seed=9", "other data"),
    ):
        theirs = prepare_model(*scenario(override), tmp_path, lambda *_: None).folder
        shutil.rmtree(theirs)
        shutil.copytree(mine.folder, theirs)
        with pytest.raises(InputError, match=f"was trained with {words}.*; remove {theirs} to train again"):
            prepare_model(*scenario(override), tmp_path, lambda *_: None)


SMALL_FILES = """
import resource, signal, sys
from pathlib import Path
from emulator.simulation.model_cache import prepare_model
from scenarios.language.load import parse
from tests.emulator.scenarios import TINY
from wire.errors import InputError
from wire.errors import PeelfleetError

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
scenario, told = parse(TINY, "x.yaml"), []
try:
    prepare_model(scenario.data, scenario.model, Path(sys.argv[1]), lambda *words: told.append(words[-1]))
    print("stored")
except PeelfleetError as error:
    print(type(error).__name__, str(error).split(": ", 1)[1])
print(*sorted({words for words in told if "File too large" in words}), sep="\\n")
"""


@pytest.mark.slow
def test_a_disk_that_is_full_costs_checkpoints_first_and_then_one_line(tmp_path: Path) -> None:
    """Files have a largest size here, which a disk says in the same way."""

    def trained(most_bytes: int) -> list[str]:
        command = [sys.executable, "-c", SMALL_FILES, str(tmp_path / str(most_bytes)), str(most_bytes)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]

    notices = [
        "no checkpoints are kept: File too large; training goes on",
        "the trained model is not cached: File too large",
    ]
    assert trained(100) == ["RunError the model cannot be stored: File too large", *notices]
    assert trained(2**30) == ["stored", ""]
