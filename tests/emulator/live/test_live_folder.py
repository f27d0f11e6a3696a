"""The folder between a run and those who watch it: commands come once and in order, wrong ones not at all."""

from pathlib import Path

import msgspec
import pytest

from emulator.live.live_folder import LiveCommand, LiveFolder
from wire.errors import InputError


def test_commands_come_once_and_in_their_order(tmp_path: Path) -> None:
    folder = LiveFolder(tmp_path)
    folder.create()
    sent = [
        LiveCommand(kind="pause"),
        LiveCommand(kind="squeeze", share=0.3, group="phone"),
        LiveCommand(kind="cut_off", seconds=60.0, device="phone-00001"),
        LiveCommand(kind="speed", speed=2.0),
    ]
    for command in sent:
        LiveFolder(tmp_path).send(command)  # each from a server of its own
    assert list(folder.take()) == sent
    assert list(folder.take()) == []
    folder.send(LiveCommand(kind="resume"))
    assert [command.kind for command in folder.take()] == ["resume"]


def test_a_run_that_has_ended_takes_no_command(tmp_path: Path) -> None:
    folder = LiveFolder(tmp_path)
    folder.create()
    folder.remove()
    with pytest.raises(InputError, match="the run has ended"):
        folder.send(LiveCommand(kind="pause"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"kind": "speed"}', r"speed\(=None\) must be a number from 0.01 to 10000"),
        ('{"kind": "squeeze", "share": -1}', r"share\(=-1.0\) must be a number from 0 to 10"),
        ('{"kind": "pause", "speed": 3}', r"speed\(=3.0\) must be left out: it does not belong to pause"),
        ('{"kind": "cut_off", "seconds": 1, "group": "a", "device": "b"}', r"group\(='a'\) must be left out"),
        ('{"kind": "explode"}', "Invalid enum value"),
        ('{"kind": "pause", "more": 1}', "unknown field"),
    ],
)
def test_a_wrong_command_is_refused_with_its_value(text: str, reason: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=reason):
        msgspec.json.decode(text, type=LiveCommand)
