"""A file of what a user has met: with and without times, and every mistake in one line."""

from pathlib import Path

import pytest

from devices.recommender.interactions_file import read_interactions
from wire.errors import InputError


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", []),
        ("7\n\n 9 \n", ["7", "9"]),
        ("7\r\n9", ["7", "9"]),
        ("\ufeff7\n", ["7"]),
        ("a,3\nb,1.5\nc,3\n", ["b", "a", "c"]),
        ("item,time\na,2\nb,1\n", ["b", "a"]),
        ("a,2024-05-02\nb,2024-05-01T23:59:59Z\nc,2024-05-02T01:00:00+02:00\n", ["c", "b", "a"]),
        ('"Amélie, or so",2\nb,1\n', ["b", "Amélie, or so"]),
    ],
)
def test_items_come_in_the_order_of_lines_or_times(tmp_path: Path, text: str, items: list[str]) -> None:
    (tmp_path / "met").write_bytes(text.encode())
    assert read_interactions(tmp_path / "met") == items


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        (b"a\nb,1\n", ", line 2: 'b,1' must be an item, or an item and a time, as in all other lines"),
        (b"a,1,2\n", ", line 1: 'a,1,2' must be an item, or an item and a time, as in all other lines"),
        (b"a,1\n,2\n", ", line 2: ',2' must be an item, or an item and a time, as in all other lines"),
        (b"a,1\nb,soon\n", ", line 2: time(='soon') must be a number or an ISO 8601 date"),
        (b"a,1\nb,nan\n", ", line 2: time(='nan') must be a number or an ISO 8601 date"),
        (b"a\n\xff\n", ": must be UTF-8: invalid start byte at byte 2"),
    ],
)
def test_a_mistake_names_the_line_and_the_rule(tmp_path: Path, content: bytes, mistake: str) -> None:
    path = tmp_path / "met"
    path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        read_interactions(path)
    assert str(refused.value) == f"{path}{mistake}"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: cannot be read: No such file or directory"):
        read_interactions(tmp_path / "nowhere")
    with pytest.raises(InputError, match="is a folder, and cannot be a file of interactions"):
        read_interactions(tmp_path)
