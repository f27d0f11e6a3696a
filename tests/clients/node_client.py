"""The JavaScript client as a process: calls go in, results come out."""

import json
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).with_name("js_programs.mjs")


class NodeClient:
    """A Node process that runs the client's functions by name."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def call(self, name: str, /, **options: object) -> Any:  # Any: JSON
        """Return the result of a call; bytes among the options travel in base 64."""
        coded = {key: _text(value) for key, value in options.items()}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"call": name, **coded}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["result"]


@contextmanager
def node_client() -> Iterator[NodeClient]:
    """Start Node with the client; skip the test where there is no Node."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the JavaScript client cannot run")
    process = subprocess.Popen(  # our own program
        [node, str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    try:
        yield NodeClient(process)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _text(value: object) -> object:
    return b64encode(value).decode() if isinstance(value, bytes) else value
