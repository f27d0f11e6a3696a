"""The cloud service as a process of its own, beside a run."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import quote

from broker_config.endpoint import Endpoint
from scenarios.language.schema import Updates
from wire.errors import RunError
from wire.topics import Role

BROKER_VARIABLE = "PEELFLEET_BROKER"
"""The broker's URL with the password, which a command line would show to everybody."""
LOOP_DEATHS, LOOP_WITHIN_S = 3, 5.0
"""So many deaths in a row, each so soon after its start, are a service that cannot live."""
LOG_TAIL_BYTES = 2000
WARNINGS_SHOWN = 3
_LAST = re.compile(r" INFO peelfleet\.cloud: stopped: it (.*)")
_NUMBER = re.compile(r"\d+")
_WARNED = re.compile(r" (?:WARNING|ERROR) peelfleet\.cloud: (.*)")
NO_LIMIT = "1e9"
"""Reports a second and device: simulated time may run as fast as it can."""


@dataclass
class CloudReplica:
    """A running cloud service; started again when it dies."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    log: IO[bytes] = field(repr=False)
    restarts: int = 0
    _deaths: int = 0
    _started_s: float = 0.0
    _process: "subprocess.Popen[bytes]" = field(init=False, repr=False)

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def start(self) -> None:
        """Start the service; it ends with us, since its standard input does."""
        self._started_s = time.monotonic()
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
            RunError: it dies again and again; its log is in the message.
        """
        status = self._process.poll()
        if status is None:
            return
        soon = time.monotonic() - self._started_s < LOOP_WITHIN_S
        self._deaths = self._deaths + 1 if soon else 1
        if self._deaths > LOOP_DEATHS:
            raise RunError(f"the cloud ended with exit status {status}; its log ends:\n{self._tail()}")
        self.restarts += 1
        self.hang_up()
        self.start()

    def end(self) -> None:
        """Make sure that the service has ended."""
        self.hang_up()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def hang_up(self) -> None:
        """Let the service end."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def words(self) -> str:
        """Return the end of what it has logged."""
        return self._tail()

    def _tail(self) -> str:
        size = os.fstat(self.log.fileno()).st_size
        tail = os.pread(self.log.fileno(), LOG_TAIL_BYTES, max(0, size - LOG_TAIL_BYTES))
        return tail.decode("utf-8", errors="replace").strip()


def summarise_logs(log: str) -> str:
    """Return what services say at their ends, and what they warned of last, from the ends of their logs."""
    last = [f"the cloud {words}" for words in _LAST.findall(log)]
    # By what is said but for its numbers: how often a connection was lost is said each time.
    warned = {_NUMBER.sub("#", words): words for words in _WARNED.findall(log)}
    doubts = [f"it warned: {words}" for words in list(warned.values())[-WARNINGS_SHOWN:]]
    return "; ".join([*last, *doubts]) or "the cloud said nothing at its end"


@dataclass(frozen=True)
class CloudProcess:
    """The cloud services of a run."""

    replicas: Sequence[CloudReplica]

    @property
    def restarts(self) -> int:
        """How often one of them was started again."""
        return sum(replica.restarts for replica in self.replicas)

    def account(self) -> str:
        """End the services, and say what they have received and published, and what they warned of."""
        for replica in self.replicas:
            replica.end()
        return summarise_logs("\n".join(replica.words() for replica in self.replicas))

    def check(self) -> None:
        """Start again whichever has died.

        Raises:
            RunError: one dies again and again.
        """
        for replica in self.replicas:
            replica.check()


@contextmanager
def cloud_process(
    stores: Sequence[Path],
    endpoint: Endpoint,
    fleet: str,
    updates: Updates,
    *,
    replicas: int = 1,
    options: Sequence[str] = ("--no-coalesce", "--no-persistent"),
) -> Iterator[CloudProcess]:
    """Run ``peelfleet cloud`` for *fleet* while the block runs.

    Args:
        stores: the model versions; the first serves whoever asks for none.
        endpoint: the broker.
        fleet: the fleet's name in topics.
        updates: how the scenario wants updates.
        replicas: how many services share the reports.
        options: more for the command line. Lockstep waits for an answer to each report, so the default
            answers them all.
    """
    command = [sys.executable, "-m", "emulator.cli", "cloud", "--fleet", fleet, "--until-stdin-closes"]
    for store in stores:
        command += ["--store", str(store)]
    command += ["--max-payload", f"{updates.max_payload} B", "--encoding", updates.encoding]
    command += ["--full-if-delta-over", repr(float(updates.full_if_delta_over)), "--max-rate", NO_LIMIT]
    command += ["--retain-blocks"] if updates.delivery == "shared" else []
    command += options
    environment = os.environ | {BROKER_VARIABLE: url_with_password(endpoint, Role.CLOUD)}
    names = [["--replica", str(place + 1)] if replicas > 1 else [] for place in range(replicas)]
    with ExitStack() as stack:
        started: list[CloudReplica] = []
        for name in names:
            log = stack.enter_context(tempfile.TemporaryFile())
            replica = CloudReplica([*command, *name], environment, log)
            replica.start()
            stack.callback(replica.end)
            started.append(replica)
        yield CloudProcess(started)
        for replica in started:  # all of them, then wait for each
            replica.hang_up()


def url_with_password(endpoint: Endpoint, role: Role) -> str:
    """Return the broker's URL with the credentials of *role*."""
    login = endpoint.credentials.get(role)
    if login is None:
        return endpoint.url
    user = f"{quote(login.user, safe='')}:{quote(login.password, safe='')}@"
    return endpoint.url.replace("://", f"://{user}", 1)
