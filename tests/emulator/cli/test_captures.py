"""What every verb prints is what its captures show, and fits into the terminal.

After a change of an output: ``make docs-captures``, and read what has changed.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.emulator.cli.captures import (
    COMMANDS,
    FILES,
    SLOW,
    WIDE_IS_SLOW,
    WIDTHS,
    capture,
    compared_text,
    prepared_folder,
)
from tests.emulator.cli.pty_screen import screen

COPIED = (
    "agent", "broker-init", "broker-list-json", "broker-start", "cloud", "conformance", "diff-json",
    "pee-json", "trace-inspect-json", "validate-json",
)  # fmt: skip
"""Commands whose output is to be copied, or is a log or JSON: its lines are as long as they are."""


def is_slow(name: str, ending: str) -> bool:
    return name in SLOW or (name in WIDE_IS_SLOW and ending != "80")


CAPTURES = [
    pytest.param(name, ending, marks=pytest.mark.slow if is_slow(name, ending) else ())
    for name in COMMANDS
    for ending in WIDTHS
]


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    slow = any("slow" in item.keywords for item in request.session.items if item.path == request.path)
    with prepared_folder(slow=slow) as made:
        yield made


@pytest.mark.parametrize(("name", "ending"), CAPTURES)
def test_a_command_prints_what_its_capture_shows(name: str, ending: str, folder: Path) -> None:
    width = WIDTHS[ending]
    printed = capture(name, width, folder)
    stored = (FILES / f"{name}.{ending}.txt").read_text()
    assert compared_text(printed) == compared_text(stored), "see `make docs-captures`"
    lines = printed.splitlines()[1:]
    if width is not None and name not in COPIED:
        assert [line for line in lines if len(line) > width] == []
    assert not [line for line in lines if "…" in line]


def test_there_is_a_capture_of_each_command_at_each_width() -> None:
    expected = {f"{name}.{ending}.txt" for name in COMMANDS for ending in WIDTHS}
    assert {file.name for file in FILES.iterdir()} == expected


def test_a_screen_shows_what_was_drawn_last() -> None:
    assert screen("one\ntwo\x1b[32m!\x1b[0m\r\x1b[1A\x1b[2Kthree\n\x1b[2Kfour") == "three\nfour\n"
