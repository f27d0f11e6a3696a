"""Stores that appear in a watched folder, vanish from it, or are damaged."""

import shutil
from pathlib import Path

from cloud.blocks.store import MANIFEST, load_store, save_store
from cloud.service.responder import Responder
from cloud.service.store_folder import StoreChange, StoreFolder
from tests.rollouts import NEWER, OLDER


def watched(folder: Path) -> StoreFolder:
    """Return a folder of which the store of the older model is served already."""
    return StoreFolder(folder, lambda path: Responder(load_store(path)), {folder / "a": OLDER.version})


def versions(change: StoreChange) -> tuple[list[str], tuple[str, ...]]:
    assert change.problems == ()
    return [responder.store.version for responder in change.come], change.gone


def test_a_store_that_appears_is_served_once_and_no_more_when_it_has_gone(tmp_path: Path) -> None:
    save_store(OLDER, tmp_path / "a")
    (tmp_path / "notes.txt").write_text("no store")
    folder = watched(tmp_path)
    assert versions(folder.look()) == ([], ())
    save_store(NEWER, tmp_path / "b")
    save_store(NEWER, tmp_path / "c")
    assert versions(folder.look()) == ([NEWER.version], ())
    assert versions(folder.look()) == ([], ())
    shutil.rmtree(tmp_path / "b")
    assert versions(folder.look()) == ([], ())  # its copy is there
    shutil.rmtree(tmp_path / "c")
    assert versions(folder.look()) == ([], (NEWER.version,))
    shutil.rmtree(tmp_path / "a")
    assert versions(folder.look()) == ([], ())  # it was named for itself
    shutil.rmtree(tmp_path)
    assert versions(folder.look()) == ([], ())


def test_a_store_that_is_still_copied_is_refused_once_and_served_when_it_is_whole(tmp_path: Path) -> None:
    save_store(NEWER, tmp_path / "whole")
    (tmp_path / "stores" / "b").mkdir(parents=True)
    folder = watched(tmp_path / "stores")
    shutil.copy(tmp_path / "whole" / MANIFEST, tmp_path / "stores" / "b")
    (problem,) = folder.look().problems
    assert problem.startswith(f"{tmp_path / 'stores' / 'b'} is not served: ")
    assert folder.look() == StoreChange()
    shutil.copytree(tmp_path / "whole", tmp_path / "stores" / "b", dirs_exist_ok=True)
    assert versions(folder.look()) == ([NEWER.version], ())
