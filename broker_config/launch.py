"""Start a broker that ends with this process."""

import contextlib
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final, Literal

from broker_config import embedded, mosquitto, nats, rabbitmq
from broker_config.accounts import Account, check_accounts
from broker_config.daemons import BrokerKind, BrokerProgram
from broker_config.endpoint import CAPABILITIES, Credentials, Endpoint, check_reachable
from broker_config.ports import LOOPBACK, bind_port
from broker_config.temporary_folders import temporary_folder
from wire.errors import InputError, RunError
from wire.input_files import read_tail
from wire.output_files import os_error_text
from wire.topics import Role

PROGRAMS: Final[Mapping[BrokerKind, BrokerProgram]] = {
    "mosquitto": mosquitto,
    "rabbitmq": rabbitmq,
    "nats": nats,
}
"""Brokers that are programs of their own."""
DEBIAN_PACKAGES: Final = {"mosquitto": "mosquitto", "rabbitmq": "rabbitmq-server", "nats": "nats-server"}
"""Names of their packages in Debian."""
_PORT_ATTEMPTS = 5  # another process may take a free port before the broker listens on it
_RESTART_ATTEMPTS = 3
_START_TIMEOUT_S = 60.0  # RabbitMQ takes some seconds, and ten times as long on a busy machine
_STOP_TIMEOUT_S = 8.0  # longer than the guard and mosquitto's final save take
_POLL_S = 0.02
_LOG_TAIL_BYTES = 2_000
_PACKAGES = Path(__file__).parent.parent  # working folder for `python -m broker_config...`


class RunningBroker:
    """A broker that this process has started.

    Args:
        endpoint: its address.
        start: starts its process.
        log: file with its output.
        ready: text of the log when it is ready; empty: when it answers.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        start: Callable[[], "subprocess.Popen[bytes]"],
        log: IO[bytes],
        ready: str = "",
    ) -> None:
        self.endpoint = endpoint
        self.restarts = 0
        """Number of restarts."""
        self._start = start
        self._log = log
        self._ready = ready.encode()
        self._begun_bytes = 0  # size of the log when the process was started
        self._process = start()

    @property
    def pid(self) -> int:
        """Process id of the broker, or of the guard that runs it."""
        return self._process.pid

    def restart(self) -> None:
        """Restart the broker after its death, on the same port and with its saved state.

        It is tried a few times, since the cause of its death may kill it again.

        Raises:
            RunError: it does not start.
        """
        self.restarts += 1
        for left in reversed(range(_RESTART_ATTEMPTS)):
            self.end()
            self._begun_bytes = os.fstat(self._log.fileno()).st_size
            self._process = self._start()
            try:
                _wait_until_ready(self)
            except _PortTakenError:
                where = self.endpoint.url
                raise RunError(f"broker {where} does not start again: its port is taken") from None
            except RunError:
                if not left:
                    raise
            else:
                return

    def end(self) -> None:
        """Stop the broker as the death of this process would, and kill it if it does not end."""
        process = self._process
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is dead already
            process.stdin.close()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            _kill_group(process)
            process.wait()
        if process.returncode < 0:  # the guard itself was killed, so its broker may still run
            with contextlib.suppress(ProcessLookupError):
                _kill_group(process)

    def exit_report(self) -> str | None:
        """Return the exit status of the broker and the end of its log; None while it runs."""
        status = self._process.poll()
        if status is None:
            return None
        name = f"broker {self.endpoint.url} ({self.endpoint.kind})"
        return f"{name} ended with exit status {status}; its log ends:\n{self.log_tail()}"

    def is_ready(self) -> bool:
        """Tell whether it lets a client in, and has logged that all its settings are in force."""
        if self._ready:
            size = os.fstat(self._log.fileno()).st_size - self._begun_bytes
            if self._ready not in os.pread(self._log.fileno(), size, self._begun_bytes):
                return False
        try:
            check_reachable(self.endpoint, timeout_s=1.0)
        except InputError:
            return False
        return True

    def log_tail(self) -> str:
        """Return the end of the broker's log; after the block the log is gone."""
        if self._log.closed:
            return "(gone)"
        return read_tail(self._log, _LOG_TAIL_BYTES) or "(empty)"


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and those of its group: mosquitto with its guard. Windows has no groups."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


class _PortTakenError(Exception):
    """Another process has taken the port."""


@contextmanager
def launch_broker(
    kind: BrokerKind | Literal["auto"] = "auto",
    *,
    port: int | None = None,
    credentials: Mapping[Role, Credentials] | None = None,
    devices: Mapping[str, str] | None = None,
) -> Iterator[RunningBroker]:
    """Run a broker on the loopback interface; it ends with the block or with this process.

    Args:
        kind: ``auto`` is mosquitto if it is installed, else the embedded amqtt.
        port: port to listen on; None: a free one.
        credentials: logins of roles; other roles get random passwords. User names begin with an underscore.
        devices: device id to password, for devices with a connection of their own.

    Raises:
        InputError: the broker is not installed, the port is in use, or a user name is invalid.
        RunError: the broker does not start; its log is in the message.
    """
    chosen = _choose_broker(kind)
    logins = {**_random_credentials(), **(credentials or {})}
    accounts = _accounts(logins, devices or {})
    for candidate in _candidate_ports(port):
        with ExitStack() as stack:
            try:
                broker = stack.enter_context(_start_broker(chosen, candidate, logins, accounts))
            except _PortTakenError:
                continue
            yield broker
            return
    if port is not None:
        raise InputError(f"broker port(={port}) is in use on {LOOPBACK}")
    raise RunError(f"no broker started: {_PORT_ATTEMPTS} free ports were taken before it could listen")


def is_installed(kind: BrokerKind) -> bool:
    """Tell whether a broker can be started here."""
    return kind not in PROGRAMS or PROGRAMS[kind].executable() is not None


def _choose_broker(kind: BrokerKind | Literal["auto"]) -> BrokerKind:
    if kind == "auto":
        return "mosquitto" if is_installed("mosquitto") else "amqtt"
    if not is_installed(kind):
        package = DEBIAN_PACKAGES[kind]
        raise InputError(
            f"broker(={kind!r}) is not installed: install it (package {package} of Debian), or choose 'amqtt'"
        )
    return kind


def _random_credentials() -> dict[Role, Credentials]:
    roles = (Role.FLEET, Role.CLOUD, Role.EMULATOR, Role.OBSERVER)
    return {role: Credentials(f"_{role}", secrets.token_urlsafe(24)) for role in roles}


def _accounts(logins: Mapping[Role, Credentials], devices: Mapping[str, str]) -> list[Account]:
    accounts = [Account(login.user, role, login.password) for role, login in logins.items()]
    accounts += [Account(device, Role.DEVICE, password) for device, password in devices.items()]
    check_accounts(accounts)
    return accounts


def _candidate_ports(port: int | None) -> Iterator[int]:
    if port is None:
        for _ in range(_PORT_ATTEMPTS):
            yield bind_port(0)
        return
    if not 0 < port < 65_536:
        raise InputError(f"broker port(={port}) must be 1 to 65535")
    try:
        yield bind_port(port)
    except PermissionError as error:
        raise InputError(f"broker port(={port}) cannot be used: {error.strerror}") from error
    except OSError:
        return  # in use


@contextmanager
def _start_broker(
    kind: BrokerKind,
    port: int,
    logins: Mapping[Role, Credentials],
    accounts: Sequence[Account],
) -> Iterator[RunningBroker]:
    endpoint = Endpoint(LOOPBACK, port, kind, CAPABILITIES[kind], logins)
    with ExitStack() as stack:
        log, ready = stack.enter_context(TemporaryFile()), ""
        if kind in PROGRAMS:
            directory = stack.enter_context(temporary_folder())
            program = PROGRAMS[kind].executable()
            assert program is not None
            try:
                PROGRAMS[kind].write_files(directory, LOOPBACK, port, accounts)
            except OSError as error:
                raise RunError(
                    f"{directory}: the broker's files cannot be written: {os_error_text(error)}"
                ) from None
            ready = PROGRAMS[kind].READY
            start = partial(_spawn, PROGRAMS[kind].command(program, directory), log)
        else:
            start = partial(_start_embedded, port, accounts, log)
        broker = RunningBroker(endpoint, start, log, ready)
        stack.callback(broker.end)
        _wait_until_ready(broker)
        yield broker


def _start_embedded(port: int, accounts: Sequence[Account], log: IO[bytes]) -> "subprocess.Popen[bytes]":
    process = _spawn(embedded.COMMAND, log)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it died at once: `_wait_until_ready` will report it
        process.stdin.write(embedded.BrokerSettings(LOOPBACK, port, accounts).encode())
        process.stdin.flush()
    return process


def _spawn(command: Sequence[str], log: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Start *command*, which ends with its standard input; no other process holds the other end."""
    return subprocess.Popen(
        command,
        cwd=_PACKAGES,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        start_new_session=True,  # Ctrl-C must reach only this process, which then stops the broker in order
    )


def _wait_until_ready(broker: RunningBroker) -> None:
    """Wait until a client can log in: only our broker knows the password.

    Raises:
        _PortTakenError: the broker ended because its port is taken.
        RunError: it ended for another reason, or takes too long.
    """
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not broker.is_ready():
        if broker.exit_report():
            raise _start_failure(broker)
        if time.monotonic() > deadline:
            raise RunError(
                f"broker does not start within {_START_TIMEOUT_S:g} s; its log ends:\n{broker.log_tail()}"
            )
        time.sleep(_POLL_S)
    if broker.exit_report():
        raise _start_failure(broker)


def _start_failure(broker: RunningBroker) -> Exception:
    try:
        bind_port(broker.endpoint.port)
    except OSError:
        return _PortTakenError()
    return RunError(f"broker does not start: {broker.exit_report()}")
