"""What `peelfleet cloud` refuses before it connects: in one line that names the option and the rule."""

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from cloud.blocks.store import save_store
from emulator.cli.cloud import JsonLines
from tests.emulator.cli.refusals import refusal
from tests.worlds import a_store

GOOD = {"--broker": "mqtt://127.0.0.1:9", "--fleet": "f"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cloud") / "store"
    save_store(a_store(layers=1), folder)
    return folder


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"--fleet": "a/b"}, "--fleet(='a/b') must be 1 to 64 letters"),
        ({"--replica": ""}, "--replica(='') must be 1 to 64 letters"),
        ({"--replica": "a:b"}, "--replica(='a:b') must be 1 to 64 letters"),
        ({"--max-rate": "nan"}, "--max-rate(='nan') must be a number above 0 and at most 1e+09"),
        ({"--max-rate": "inf"}, "--max-rate(='inf') must be a number above 0 and at most 1e+09"),
        ({"--max-rate": "1e308"}, "--max-rate(='1e308') must be a number above 0 and at most 1e+09"),
        ({"--max-rate": "many"}, "--max-rate(='many') must be a number above 0 and at most 1e+09"),
        ({"--broker": "mqtt://a:b@no..name"}, "--broker: 'no..name' is no name of a host"),
        ({"--broker": "auto"}, "broker URL must be mqtt"),
        ({"--grace": "soon"}, "--grace(='soon') must be a duration"),
        ({"--encoding": "zip"}, "--encoding(='zip') must be one of 'delta', 'full'"),
        ({"--log-format": "xml"}, "--log-format(='xml') must be one of 'text', 'json'"),
        ({"--max-payload": "lots"}, "--max-payload(='lots') must be a size"),
        ({"--retain-blocks": None, "--max-payload": "1200 B"}, "for shared delivery"),
    ],
)
def test_a_wrong_argument_is_the_users_mistake(
    store: Path, wrong: dict[str, str | None], message: str
) -> None:
    words = [word for pair in {**GOOD, **wrong}.items() for word in pair if word is not None]
    assert message in refusal("cloud", "--store", str(store), *words)


def test_a_metrics_port_that_is_taken_is_one_line_before_anything_is_connected(store: Path) -> None:
    with socket.socket() as taken, socket.socket() as broker:
        for each in (taken, broker):
            each.bind(("127.0.0.1", 0))
            each.listen()
        port = taken.getsockname()[1]
        words = ["--store", str(store), "--fleet", "f", "--metrics-port", str(port)]
        done = subprocess.run(
            [sys.executable, "-m", "emulator.cli", "cloud", *words],
            env=os.environ | {"PEELFLEET_BROKER": f"mqtt://127.0.0.1:{broker.getsockname()[1]}"},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        broker.settimeout(0)
        with pytest.raises(BlockingIOError):
            broker.accept()
    expected = f"peelfleet: --metrics-port {port}: cannot listen on 127.0.0.1: Address already in use\n"
    assert (done.returncode, done.stderr) == (2, expected)


def test_to_end_with_an_input_that_is_closed_already_is_a_mistake(store: Path) -> None:
    words = [sys.executable, "-m", "emulator.cli", "cloud", "--store", str(store), "--fleet", "f"]
    done = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", *words, "--until-stdin-closes"],
        env=os.environ | {"PEELFLEET_BROKER": "mqtt://127.0.0.1:9"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    expected = "peelfleet: --until-stdin-closes: standard input is closed already\n"
    assert (done.returncode, done.stderr) == (2, expected)


def test_json_lines_carry_what_else_was_said_and_a_traceback() -> None:
    record = logging.makeLogRecord(
        {"name": "n", "levelname": "ERROR", "msg": "a\n%s", "args": ("b",), "port": 7}
    )
    try:
        raise ValueError("why")
    except ValueError:
        record.exc_info = sys.exc_info()
    line = JsonLines().format(record)
    found = msgspec.json.decode(line)
    assert "\n" not in line
    assert {key: found[key] for key in ("level", "logger", "message", "port")} == {
        "level": "error", "logger": "n", "message": "a\nb", "port": 7,
    }  # fmt: skip
    assert found["exception"].endswith("ValueError: why")


def test_a_quiet_service_logs_warnings_only(store: Path) -> None:
    logs = []
    for quiet in ((), ("--quiet",)):
        words = ["cloud", "--store", str(store), "--fleet", "f", "--until-stdin-closes", *quiet]
        done = subprocess.run(
            [sys.executable, "-m", "emulator.cli", *words],
            env=os.environ | {"PEELFLEET_BROKER": "mqtt://127.0.0.1:9"},
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0
        logs.append(done.stderr)
    assert " INFO peelfleet.cloud: stopped: it received 0 messages" in logs[0]
    assert " INFO " not in logs[1]
