"""No message repeats the password of a URL, wherever the URL came from."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.emulator.scenarios import TINY
from wire.redaction import redact_passwords


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("clock (='mqtt://u:pw@h') must be", "clock (='mqtt://...@h') must be"),
        ("mqtts://u:p@w@h:8883?ca=x", "mqtts://...@h:8883?ca=x"),
        ("broker: mqtt://u:pw@[::1]:1 and http://a:b@c", "broker: mqtt://...@[::1]:1 and http://...@c"),
        ("mqtt://localhost:1883", "mqtt://localhost:1883"),
        ("a.yaml:3: who@where", "a.yaml:3: who@where"),
    ],
)
def test_users_and_passwords_are_left_out(text: str, shown: str) -> None:
    assert redact_passwords(text) == shown


@pytest.mark.parametrize(
    "words",
    [
        ["validate", "--set", "clock=mqtt://u:swordfish@h"],
        ["validate", "--show", "--set", "broker=mqtt://u:swordfish@127.0.0.1"],
        ["run", "--clock", "lockstep", "--broker", "mqtt://u:sword/fish@127.0.0.1"],
        ["run", "--clock", "lockstep", "--broker", "mqtt://u:swordfish"],
    ],
)
def test_no_command_repeats_a_password(tmp_path: Path, words: list[str]) -> None:
    scenario = tmp_path / "tiny.yaml"
    scenario.write_text(TINY)
    command = [sys.executable, "-m", "emulator.cli", words[0], str(scenario), *words[1:]]
    wide = os.environ | {"COLUMNS": "300"}
    done = subprocess.run(command, env=wide, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == (0 if "--show" in words else 2), done.stderr
    assert "fish" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
