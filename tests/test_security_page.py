"""The page on security: its commands run, and its table of rights is the topic table's."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.pages import blocks
from wire.topics import TABLE, MessageKind, Role, access_rules, subscription

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "security.md"
PAGE = FILE.read_text()
ROLES = (Role.DEVICE, Role.FLEET, Role.CLOUD, Role.OBSERVER)


def rights(role: Role, topic_filter: str) -> str:
    """Say what *role* may do, in the table's words; what all devices may read, everybody may."""
    own = topic_filter.replace("/+/", "/%u/") if TABLE[kind_of(topic_filter)].per_device else topic_filter
    rules = access_rules(role, "F") + tuple(
        rule for rule in access_rules(Role.DEVICE, "F") if "%u" not in rule.filter
    )
    wanted = own if role is Role.DEVICE else topic_filter
    found = dict.fromkeys(f"{rule.access}s" for rule in rules if matches_all(rule.filter, wanted))
    return (", ".join(found) or "nothing") + (" its own" if "%u" in wanted else "")


def kind_of(topic_filter: str) -> MessageKind:
    return next(kind for kind in TABLE if subscription(kind, "F") == topic_filter)


def matches_all(rule: str, topic_filter: str) -> bool:
    """Tell whether the rule is for the filter, or for all of its fleet."""
    return rule in (topic_filter, "peel/1/F/#")


def test_the_table_of_rights_is_that_of_the_topics() -> None:
    rows = re.findall(r"^\| `(peel/1/[^`]*)` \| (.+) \| (.+) \| (.+) \| (.+) \|$", PAGE, re.MULTILINE)
    filters = [subscription(kind, "F") for kind in TABLE]
    shown = [each.replace("F/+", "F/D") for each in filters]
    assert rows == [
        (name, *(rights(role, each) for role in ROLES)) for name, each in zip(shown, filters, strict=True)
    ]


@pytest.mark.broker
@pytest.mark.skipif(
    not (shutil.which("mosquitto_sub") and shutil.which("mosquitto")),
    reason="mosquitto and its clients are not installed",
)
def test_the_commands_set_a_broker_up_that_keeps_devices_apart() -> None:
    script = "\n".join(blocks(FILE, "sh"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # mosquitto is another user
        program = Path(folder) / "peelfleet"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m emulator.cli "$@"\n')
        program.chmod(0o755)
        ended = subprocess.run(
            ["bash", "-c", "set -e; trap 'kill %1' EXIT\n" + script.replace("8883", str(port))],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{folder}:{os.environ['PATH']}:/usr/sbin"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stderr
    said = ended.stdout.splitlines()
    assert said[0] == "broker: 5 users, 2 of them devices of fleet home"
    (promised,) = re.findall(r"It prints `([^`]+)`", PAGE)
    assert said[-1] == promised
    assert not any("lamp" in line for line in said)
