"""A mosquitto that is not ours: with limits and rules that a test writes down, and a log that it can read."""

import getpass
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker_config import mosquitto

PATIENCE_S = 20.0


@dataclass(frozen=True)
class ForeignBroker:
    """A broker that anybody may use."""

    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def count(self, words: str) -> int:
        """Return how often the broker's log says *words*."""
        return self.log.read_text().count(words)


@contextmanager
def foreign_broker(folder: Path, *lines: str, anonymous: bool = True) -> Iterator[ForeignBroker]:
    """Run a mosquitto on a free port.

    Args:
        folder: for its files.
        lines: of its configuration, besides.
        anonymous: whether nobody needs a name.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    config, log = folder / f"foreign-{port}.conf", folder / f"foreign-{port}.log"
    first = [f"listener {port} 127.0.0.1", f"allow_anonymous {str(anonymous).lower()}", "sys_interval 1"]
    first.append(f"user {getpass.getuser()}")  # started by root it would become somebody who reads nothing
    config.write_text("\n".join([*first, *lines, ""]))
    command = [str(mosquitto.executable()), "-v", "-c", str(config)]
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not _listens(port):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield ForeignBroker(port, log)
        finally:
            process.kill()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def silent_broker() -> Iterator[socket.socket]:
    """Listen on a port, and never say a word to who connects; give the listening socket."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        listener.settimeout(PATIENCE_S)
        yield listener
