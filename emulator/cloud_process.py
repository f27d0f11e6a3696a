"""The cloud service as a process of its own, beside a run."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import quote

from broker_config.launch import Endpoint
from scenarios.schema import Updates
from wire.errors import RunError
from wire.topics import Role

BROKER_VARIABLE = "PEELFLEET_BROKER"
"""The broker's URL with the password, which a command line would show to everybody."""
MAX_RESTARTS = 3
LOG_TAIL_BYTES = 2000


@dataclass
class CloudProcess:
    """A running cloud service; started again when it dies, a few times."""

    command: list[str]
    environment: dict[str, str] = field(repr=False)
    log: IO[bytes] = field(repr=False)
    restarts: int = 0
    _process: "subprocess.Popen[bytes]" = field(init=False, repr=False)

    def start(self) -> None:
        """Start the service; it ends with us, since its standard input does."""
        self._process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,  # Ctrl-C is for us
        )

    def check(self) -> None:
        """Start the service again if it has died.

        Raises:
            RunError: it died too often; its log is in the message.
        """
        status = self._process.poll()
        if status is None:
            return
        if self.restarts == MAX_RESTARTS:
            raise RunError(f"the cloud ended with exit status {status}; its log ends:\n{self._tail()}")
        self.restarts += 1
        self._hang_up()
        self.start()

    def end(self) -> None:
        """End the service."""
        self._hang_up()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _hang_up(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _tail(self) -> str:
        size = os.fstat(self.log.fileno()).st_size
        tail = os.pread(self.log.fileno(), LOG_TAIL_BYTES, max(0, size - LOG_TAIL_BYTES))
        return tail.decode("utf-8", errors="replace").strip()


@contextmanager
def cloud_process(
    stores: Sequence[Path], endpoint: Endpoint, fleet: str, updates: Updates
) -> Iterator[CloudProcess]:
    """Run ``peelfleet cloud`` for *fleet* while the block runs."""
    command = [sys.executable, "-m", "emulator.cli", "cloud", "--fleet", fleet, "--until-stdin-closes"]
    for store in stores:
        command += ["--store", str(store)]
    command += ["--max-payload", f"{updates.max_payload} B", "--encoding", updates.encoding]
    command += ["--full-if-delta-over", repr(float(updates.full_if_delta_over))]
    command += ["--retain-blocks"] if updates.delivery == "shared" else []
    environment = os.environ | {BROKER_VARIABLE: url_with_password(endpoint, Role.CLOUD)}
    with tempfile.TemporaryFile() as log:
        process = CloudProcess(command, environment, log)
        process.start()
        try:
            yield process
        finally:
            process.end()


def url_with_password(endpoint: Endpoint, role: Role) -> str:
    """Return the broker's URL with the credentials of *role*."""
    login = endpoint.credentials.get(role)
    if login is None:
        return endpoint.url
    user = f"{quote(login.user, safe='')}:{quote(login.password, safe='')}@"
    return endpoint.url.replace("mqtt://", f"mqtt://{user}", 1)
