"""Temporary folders, which may hold passwords, are removed with their process or by the next one."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from broker_config.temporary_folders import remove_orphaned_folders, temporary_folder

OWNER = """
from broker_config.temporary_folders import temporary_folder
with temporary_folder() as folder:
    print(folder, flush=True)
    input()
"""


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def test_a_folder_goes_with_its_block(folders: Path) -> None:
    with temporary_folder() as folder:
        (folder / "credentials.csv").write_text("secret")
        assert (folder.parent, folder.stat().st_mode & 0o777) == (folders, 0o700)
    assert list(folders.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_uses_is_not(folders: Path) -> None:
    (folders / "peelfleet-of-somebody").mkdir()
    (folders / "peelfleet-link").symlink_to(folders / "peelfleet-of-somebody")
    with subprocess.Popen(
        [sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().strip())
        remove_orphaned_folders()
        assert folder.is_dir()
        owner.kill()
        owner.wait()
        assert folder.is_dir()
        with temporary_folder():
            assert not folder.exists()
    assert sorted(path.name for path in folders.iterdir()) == ["peelfleet-link", "peelfleet-of-somebody"]
