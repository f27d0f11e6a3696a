"""Cloud services as processes of their own, beside a run."""

import contextlib
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
from wire.input_files import read_tail
from wire.plugins.installed import child_environment
from wire.topics import Role

BROKER_VARIABLE = "PEELFLEET_BROKER"
"""Environment variable for the broker's URL with its password: all users can read a command line."""
MAX_CRASHES, CRASH_WITHIN_S = 3, 5.0
"""More crashes in a row than this, each so soon after the start, fail the run."""
LOG_TAIL_BYTES = 2000
WARNINGS_SHOWN = 3
_LAST = re.compile(r" INFO peelfleet\.cloud: stopped: it (.*)")
_NUMBER = re.compile(r"\d+")
_WARNED = re.compile(r" (?:WARNING|ERROR) peelfleet\.cloud: (.*)")
NO_LIMIT = "1e9"
"""Reports per second and device: simulated time may run as fast as it can."""


@dataclass
class CloudReplica:
    """A running cloud service; it is restarted when it dies."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    log: IO[bytes] = field(repr=False)
    restarts: int = 0
    _crashes: int = 0
    _started_s: float = 0.0
    _process: "subprocess.Popen[bytes]" = field(init=False, repr=False)

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    def start(self) -> None:
        """Start the service; it ends with this process, because its standard input closes."""
        self._started_s = time.monotonic()
        self._process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,  # Ctrl-C must reach only this process
        )

    def check(self) -> None:
        """Restart the service if it has died.

        Raises:
            RunError: it crashes repeatedly; the end of its log is in the message.
        """
        status = self._process.poll()
        if status is None:
            return
        soon = time.monotonic() - self._started_s < CRASH_WITHIN_S
        self._crashes = self._crashes + 1 if soon else 1
        if self._crashes > MAX_CRASHES:
            raise RunError(f"the cloud ended with exit status {status}; its log ends:\n{self.log_tail()}")
        self.restarts += 1
        self.close_stdin()
        self.start()

    def kill(self) -> None:
        """Kill the service, as a machine that fails does; `check` starts it again."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Stop the service, and kill it if it does not end."""
        self.close_stdin()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def close_stdin(self) -> None:
        """Ask the service to end."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def log_tail(self) -> str:
        """Return the end of its log."""
        return read_tail(self.log, LOG_TAIL_BYTES)


def summarise_logs(log: str) -> str:
    """Return the final messages of services and their last warnings, from the ends of their logs."""
    last = [f"the cloud {words}" for words in _LAST.findall(log)]
    # Warnings that differ only in their numbers, such as a count of lost connections, are shown once.
    warned = {_NUMBER.sub("#", words): words for words in _WARNED.findall(log)}
    warnings = [f"it warned: {words}" for words in list(warned.values())[-WARNINGS_SHOWN:]]
    return "; ".join([*last, *warnings]) or "the cloud said nothing at its end"


@dataclass(frozen=True)
class CloudProcess:
    """The cloud services of a run."""

    replicas: Sequence[CloudReplica]

    @property
    def restarts(self) -> int:
        """Number of restarts of all services."""
        return sum(replica.restarts for replica in self.replicas)

    def stop_and_summarise(self) -> str:
        """Stop the services; return what they have received and published, and their last warnings."""
        for replica in self.replicas:
            replica.stop()
        return summarise_logs("\n".join(replica.log_tail() for replica in self.replicas))

    def check(self) -> None:
        """Restart each service that has died.

        Raises:
            RunError: a service crashes repeatedly.
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
        stores: the model versions; the first is the default.
        endpoint: the broker.
        fleet: the fleet's name in topics.
        updates: the settings of updates in the scenario.
        replicas: number of services that share the reports.
        options: further options of the command line. Lockstep waits for an answer to each report, so by
            default the services answer all of them.
    """
    command = [sys.executable, "-m", "emulator.cli", "cloud", "--fleet", fleet, "--until-stdin-closes"]
    for store in stores:
        command += ["--store", str(store)]
    command += ["--max-payload", f"{updates.max_payload} B", "--encoding", updates.encoding]
    command += ["--full-if-delta-over", repr(float(updates.full_if_delta_over)), "--max-rate", NO_LIMIT]
    command += ["--retain-blocks"] if updates.delivery == "shared" else []
    command += options
    environment = child_environment() | {BROKER_VARIABLE: url_with_password(endpoint, Role.CLOUD)}
    names = [["--replica", str(index + 1)] if replicas > 1 else [] for index in range(replicas)]
    with ExitStack() as stack:
        started: list[CloudReplica] = []
        for name in names:
            log = stack.enter_context(tempfile.TemporaryFile())
            replica = CloudReplica([*command, *name], environment, log)
            replica.start()
            stack.callback(replica.stop)
            started.append(replica)
        yield CloudProcess(started)
        for replica in started:  # first all of them, then wait for each
            replica.close_stdin()


def url_with_password(endpoint: Endpoint, role: Role) -> str:
    """Return the broker's URL with the credentials of *role*."""
    login = endpoint.credentials.get(role)
    if login is None:
        return endpoint.url
    user = f"{quote(login.user, safe='')}:{quote(login.password, safe='')}@"
    return endpoint.url.replace("://", f"://{user}", 1)
