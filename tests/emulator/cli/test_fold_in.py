"""``peelfleet fold-in``: a store with users more, and mistakes in one line."""

from pathlib import Path

import pytest

from cloud.blocks.store import load_store, save_store
from tests.emulator.cli.test_main import peelfleet
from tests.worlds import a_store

STORE = a_store(items=60)


def test_users_are_added_to_a_store_and_named_by_their_numbers(tmp_path: Path) -> None:
    save_store(STORE, tmp_path / "old")
    (tmp_path / "met.csv").write_text("anna,3\nben,7\nanna,5\n")
    done = peelfleet("fold-in", "old", "--interactions", "met.csv", "-o", "new", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    later = load_store(tmp_path / "new")
    groups = later.user_groups[-2:].tolist()
    assert done.stdout.splitlines() == [
        f"new: version {later.version}, {STORE.users + 2} users, 2 of them new",
        f"user {STORE.users}: anna, group {groups[0]}, 2 items",
        f"user {STORE.users + 1}: ben, group {groups[1]}, 1 items",
    ]
    again = peelfleet("fold-in", "old", "--interactions", "met.csv", "-o", "new", folder=tmp_path)
    refusal = "peelfleet: new: exists already, and a store is never changed\n"
    assert (again.returncode, again.stderr) == (2, refusal)


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        ("", "has no interactions"),
        ("anna,3\nben\n", ", line 2: 'ben' must be a user and the number of an item below 60"),
        ("anna,60\n", ", line 1: 'anna,60' must be a user and the number of an item below 60"),
        ("anna,x\n", ", line 1: 'anna,x' must be a user and the number of an item below 60"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, content: str, mistake: str) -> None:
    save_store(STORE, tmp_path / "old")
    (tmp_path / "met.csv").write_text(content)
    done = peelfleet("fold-in", "old", "--interactions", "met.csv", "-o", "new", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert mistake in done.stderr
    assert not (tmp_path / "new").exists()
