"""Text and files of unknown origin: no control characters reach a terminal, and no size is trusted."""

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.errors import InputError
from wire.input_files import read_at_most
from wire.text import printable, printable_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢 \u00a0!", "plain é 漢 \u00a0!"),
        ("\x1b[31mEVIL\x1b]0;pwned\x07", "\\x1b[31mEVIL\\x1b]0;pwned\\x07"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x9b2J", "\\x9b2J"),
        ("\u202eevil\u2028", "\\u202eevil\\u2028"),
        ("runs/\udce9", "runs/\\udce9"),
        (7, "7"),
    ],
)
def test_what_a_terminal_would_obey_is_shown(text: object, shown: str) -> None:
    assert printable(text) == shown


def test_long_text_is_cut_and_line_breaks_may_stay() -> None:
    assert printable("x" * 100, 5) == "xxxxx..."
    assert printable_lines("a\x07\nb") == "a\\x07\nb"


@given(st.text(st.characters()))
def test_whatever_it_is_becomes_one_line_that_can_be_written(text: str) -> None:
    shown = printable(text)
    assert shown.encode().decode() == shown
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    file = tmp_path / "x"
    file.write_bytes(b"12345")
    assert read_at_most(file, 5) == b"12345"
    with pytest.raises(InputError, match="x: has more than 4 bytes, which is too much for a sidecar"):
        read_at_most(file, 4, "a sidecar")
    with pytest.raises(InputError, match="is a folder, and cannot be a trace"):
        read_at_most(tmp_path, 4, "a trace")
    with pytest.raises(InputError, match="/dev/zero: is no regular file, and cannot be a trace"):
        read_at_most(Path("/dev/zero"), 4, "a trace", pipes=True)
    with contextlib.suppress(FileNotFoundError):
        assert read_at_most(Path("/proc/self/stat"), 10_000)


def test_a_pipe_is_read_where_one_will_do(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, b"abc")
    os.close(write)
    try:
        with pytest.raises(InputError, match="is no regular file"):
            read_at_most(Path(f"/dev/fd/{read}"), 3)
        assert read_at_most(Path(f"/dev/fd/{read}"), 3, pipes=True) == b"abc"
    finally:
        os.close(read)
