"""Files are replaced atomically, and only regular files are replaced."""

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from wire.errors import InputError
from wire.output_files import atomic_file, atomic_folder, check_overwritable, resolve_output, write_atomically


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        act()
    return str(caught.value)


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"first")
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    with pytest.raises(ZeroDivisionError), atomic_file(path) as draft:  # noqa: PT012
        draft.write_bytes(b"half of the third")
        1 / 0  # noqa: B018
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"second", ["file"])


def test_a_folder_appears_whole_and_only_where_nothing_is(tmp_path: Path) -> None:
    path = tmp_path / "above" / "folder"
    with pytest.raises(ZeroDivisionError), atomic_folder(path) as draft:  # noqa: PT012
        (draft / "half").touch()
        1 / 0  # noqa: B018
    assert os.listdir(path.parent) == []
    with atomic_folder(path) as draft:
        (draft / "first").touch()
        assert not path.exists()
    assert path.stat().st_mode & 0o777 == 0o755
    with pytest.raises(OSError, match="folder"), atomic_folder(path) as draft:
        (draft / "second").touch()
    assert (os.listdir(path.parent), os.listdir(path)) == (["folder"], ["first"])


def test_only_a_regular_file_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kinds() -> dict[str, int]:
        return {name: stat.S_IFMT((tmp_path / name).lstat().st_mode) for name in os.listdir(tmp_path)}

    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    expected = {
        "folder": "is a folder, not a file to write",
        "pipe": "is a named pipe, not a file to write",
        "loop": "cannot be written: Too many levels of symbolic links",
        "nowhere/file": "cannot be written: No such file or directory",
        "n" * 300: "cannot be written: File name too long",
    }
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)  # a socket's path is short
        listening.bind("socket")
        expected["socket"] = "is a socket, not a file to write"
        if os.geteuid() == 0:
            os.mknod(tmp_path / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
            expected["null"] = "is a device, not a file to write"
        before = kinds()
        found = {name: refusal(lambda name=name: write_atomically(tmp_path / name, b"")) for name in expected}  # type: ignore[misc]
        assert found == {name: f"{tmp_path / name}: {words}" for name, words in expected.items()}
        assert kinds() == before
    assert refusal(lambda: resolve_output(Path(""))) == ".: is a folder, not a file to write"


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    for name in ("there", "not yet"):
        (tmp_path / name).symlink_to(tmp_path / "disk" / name)
    (tmp_path / "disk" / "there").write_bytes(b"old")
    for name in ("there", "not yet"):
        write_atomically(tmp_path / name, b"new")
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "disk" / name).read_bytes() == b"new"


def test_a_folder_may_be_named_in_other_bytes_than_utf8(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    folder.mkdir()
    write_atomically(folder / "file", b"content")
    assert (folder / "file").read_bytes() == b"content"


def test_a_file_of_somebody_else_is_not_ours(tmp_path: Path) -> None:
    path = tmp_path / "thesis.txt"

    def check() -> None:
        check_overwritable(path, lambda head: head.startswith(b"ours"), "state of a device")

    check()  # not there
    for content in (b"", b"ours, and what follows"):
        path.write_bytes(content)
        check()
    path.write_bytes(b"thesis")
    assert refusal(check) == f"{path}: is no state of a device, and is not overwritten: name another file"
