"""What `peelfleet cloud` refuses before it connects: in one line that names the option and the rule."""

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cloud.blocks.store import save_store
from emulator.cli.cloud import JsonLines, Serving, serve_stores
from tests.worlds import a_store
from wire.errors import InputError

GOOD: dict[str, Any] = {
    "broker": "mqtt://127.0.0.1:9", "fleet": "f", "max_payload": "128 KiB", "encoding": "delta",
    "full_if_delta_over": "100 %", "retain_blocks": False, "replica": None, "max_queue": 10, "max_rate": 20.0,
    "coalesce": True, "persistent": True, "grace": "1 s", "metrics_host": "127.0.0.1", "metrics_port": None,
    "log_format": "text", "until_stdin_closes": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cloud") / "store"
    save_store(a_store(layers=1), folder)
    return folder


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"fleet": "a/b"}, "--fleet 'a/b': must be 1 to 64 letters"),
        ({"replica": ""}, "--replica '': must be 1 to 64 letters"),
        ({"replica": "a:b"}, "--replica 'a:b': must be 1 to 64 letters"),
        ({"max_rate": float("nan")}, "--max-rate nan: must be above 0 and at most 1e\\+09"),
        ({"max_rate": float("inf")}, "--max-rate inf: must be above 0 and at most 1e\\+09"),
        ({"max_rate": 1e308}, "--max-rate 1e\\+308: must be above 0 and at most 1e\\+09"),
        ({"broker": "mqtt://a:b@no..name"}, "--broker: 'no..name' is no name of a host"),
        ({"broker": "auto"}, "broker URL must be mqtt"),
        ({"grace": "soon"}, "--grace: cannot read 'soon'"),
        ({"encoding": "zip"}, "--encoding 'zip': must be delta or full"),
        ({"log_format": "xml"}, "--log-format 'xml': must be text or json"),
        ({"max_payload": "lots"}, "--max-payload: cannot read 'lots'"),
        ({"retain_blocks": True, "max_payload": "1200 B"}, "must be at least .* for shared delivery"),
    ],
)
def test_a_wrong_argument_is_the_users_mistake(store: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        serve_stores(Serving([store], **(GOOD | wrong)))


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
