"""Brokers: where one is, what it can do, and how to start one that ends with this process."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Literal
from urllib.parse import SplitResult, unquote, urlsplit

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.reasoncodes import ReasonCode

from broker_config import embedded, mosquitto
from broker_config.accounts import Account, check_accounts
from wire.connection import Connection
from wire.errors import InputError, RunError
from wire.topics import Role

LOOPBACK = "127.0.0.1"
_DEFAULT_PORT = 1883
_PORT_ATTEMPTS = 5  # between finding a free port and listening on it, somebody else may take it
_START_TIMEOUT_S = 20.0
_STOP_TIMEOUT_S = 8.0  # longer than the guard and mosquitto's last save need
_POLL_S = 0.02
_LOG_TAIL_BYTES = 2_000
_PACKAGES = Path(__file__).parent.parent  # where `python -m broker_config...` finds us


@dataclass(frozen=True)
class Credentials:
    """A user name and its password, which no repr shows."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Capabilities:
    """What a broker honours beyond plain publish and subscribe; a scenario may need some of it."""

    shared_subscriptions: bool  # $share/group/filter, from MQTT 3.1.1 clients too
    wills_on_keepalive_expiry: bool
    wills_on_takeover: bool  # the same client id connects again
    offline_queues: bool  # for a persistent session of a client with a user name


_EVERYTHING = Capabilities(
    shared_subscriptions=True, wills_on_keepalive_expiry=True, wills_on_takeover=True, offline_queues=True
)
_AMQTT = Capabilities(
    shared_subscriptions=False, wills_on_keepalive_expiry=False, wills_on_takeover=False, offline_queues=True
)
CAPABILITIES: Mapping[str, Capabilities] = {
    "mosquitto": _EVERYTHING,
    "amqtt": _AMQTT,
    "external": _EVERYTHING,  # taken on trust: MQTT 3.1.1 has no way to ask
}


@dataclass(frozen=True)
class Endpoint:
    """A broker's address, what it can do, and who each role is there; a role may have no user."""

    host: str
    port: int
    kind: Literal["mosquitto", "amqtt", "external"]
    capabilities: Capabilities
    credentials: Mapping[Role, Credentials]

    @property
    def url(self) -> str:
        """The address without any credentials, for people to read."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"mqtt://{host}:{self.port}"

    def connection(self, role: Role, client_id: str) -> Connection:
        """Return how *role* connects."""
        login = self.credentials.get(role)
        user, password = (login.user, login.password) if login else (None, None)
        return Connection(self.host, self.port, client_id, user, password)


def parse_url(text: str) -> Endpoint:
    """Read ``mqtt://[user:password@]host[:port]``; the user, if any, serves all roles.

    No message repeats *text*: it may hold a password.

    Raises:
        InputError: it is something else.
    """
    url = _split(text)
    credentials = _url_credentials(url)
    roles = dict.fromkeys(Role, credentials) if credentials else {}
    assert url.hostname is not None
    port = _DEFAULT_PORT if url.port is None else url.port
    return Endpoint(url.hostname, port, "external", CAPABILITIES["external"], roles)


def _split(text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError as error:
        raise _url_error("its host or port is malformed; a port is 1 to 65535") from error
    if url.scheme != "mqtt":
        raise _url_error(f"scheme(={url.scheme!r}) must be 'mqtt'")
    if not url.hostname or not url.hostname.isprintable() or " " in url.hostname:
        raise _url_error("it names no host")
    if port == 0:
        raise _url_error("port(=0) must be 1 to 65535")
    if url.path.strip("/") or url.query or url.fragment:
        raise _url_error("nothing may follow the port; write '/', '?' and '#' in a password as %2F, %3F, %23")
    return url


def _url_credentials(url: SplitResult) -> Credentials | None:
    if url.username is None:
        return None
    if not url.username or url.password is None:
        raise _url_error("user and password go together")
    return Credentials(unquote(url.username), unquote(url.password))


def _url_error(reason: str) -> InputError:
    return InputError(f"broker URL must be mqtt://[user:password@]host[:port]: {reason}")


def check_reachable(endpoint: Endpoint, timeout_s: float) -> None:
    """Connect once as an MQTT client, and leave again; looking up a name may add to *timeout_s*.

    Raises:
        InputError: nothing answers there, it does not speak MQTT, or it refuses the credentials.
    """
    credentials = next(iter(endpoint.credentials.values()), None)
    try:
        answer = _connack(endpoint, credentials, timeout_s)
    except (OSError, UnicodeError) as error:  # UnicodeError: no name of a host
        raise InputError(f"broker {endpoint.url} does not answer: {error}") from error
    if answer.is_failure:
        who = f"user {credentials.user!r}" if credentials else "a client without a user name"
        raise InputError(f"broker {endpoint.url} refuses {who}: {answer}")


def _connack(endpoint: Endpoint, credentials: Credentials | None, timeout_s: float) -> ReasonCode:
    """Return the broker's answer to CONNECT; OSError where there is none."""
    deadline = time.monotonic() + timeout_s
    answers: list[ReasonCode] = []
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=f"peelfleet-check-{secrets.token_hex(4)}",
        protocol=MQTTProtocolVersion.MQTTv311,
    )
    if credentials:
        client.username_pw_set(credentials.user, credentials.password)
    client.connect_timeout = timeout_s
    client.on_connect = lambda _client, _userdata, _flags, reason, _properties: answers.append(reason)
    client.connect(endpoint.host, endpoint.port)
    try:
        while not answers:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError(f"no CONNACK within {timeout_s:g} s")
            if client.loop(left_s) and not answers:
                raise ConnectionError("it closed the connection")
    finally:
        client.disconnect()
    return answers[0]


class RunningBroker:
    """A broker that this process has started.

    Args:
        endpoint: where it is.
        start: starts its process.
        log: where it writes what it has to say.
    """

    def __init__(
        self, endpoint: Endpoint, start: Callable[[], "subprocess.Popen[bytes]"], log: IO[bytes]
    ) -> None:
        self.endpoint = endpoint
        self.restarts = 0
        """How often it was started again."""
        self._start = start
        self._log = log
        self._process = start()

    def restart(self) -> None:
        """Start the broker again, which has died: where it was, with what it last saved.

        Raises:
            RunError: it does not start.
        """
        self.end()
        self.restarts += 1
        self._process = self._start()
        try:
            _wait_until_ready(self)
        except _PortTakenError:
            raise RunError(f"broker {self.endpoint.url} does not start again: its port is taken") from None

    def end(self) -> None:
        """End the broker in the way that our own death would, and make sure that it is gone."""
        process = self._process
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has died before
            process.stdin.close()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # the group: mosquitto with its guard
            process.wait()

    def died(self) -> str | None:
        """Return how the broker ended and the end of its log, or None while it runs."""
        status = self._process.poll()
        if status is None:
            return None
        name = f"broker {self.endpoint.url} ({self.endpoint.kind})"
        return f"{name} ended with exit status {status}; its log ends:\n{self.log_tail()}"

    def log_tail(self) -> str:
        """Return the end of the broker's log, which is gone after the block."""
        if self._log.closed:
            return "(gone)"
        # pread: the broker writes through the same file position.
        size = os.fstat(self._log.fileno()).st_size
        tail = os.pread(self._log.fileno(), _LOG_TAIL_BYTES, max(0, size - _LOG_TAIL_BYTES))
        return tail.decode("utf-8", errors="replace").strip() or "(empty)"


class _PortTakenError(Exception):
    """Somebody else got the port first."""


@contextmanager
def launched(
    kind: Literal["auto", "mosquitto", "amqtt"] = "auto",
    *,
    port: int | None = None,
    credentials: Mapping[Role, Credentials] | None = None,
    devices: Mapping[str, str] | None = None,
) -> Iterator[RunningBroker]:
    """Run a broker on the loopback interface; it ends with the block, or with this process.

    Args:
        kind: ``auto`` is mosquitto where it is installed, else the embedded amqtt.
        port: where to listen; a free port if None.
        credentials: users of the roles; the others get random passwords. Names begin with an underscore.
        devices: device id to password, for devices with a connection of their own.

    Raises:
        InputError: no such broker here, the port is in use, or a user name is none.
        RunError: the broker does not start; its log is in the message.
    """
    chosen = _installed(kind)
    logins = {**_random_credentials(), **(credentials or {})}
    accounts = _accounts(logins, devices or {})
    for candidate in _candidate_ports(port):
        with ExitStack() as stack:
            try:
                broker = stack.enter_context(_running(chosen, candidate, logins, accounts))
            except _PortTakenError:
                continue
            yield broker
            return
    if port is not None:
        raise InputError(f"broker port(={port}) is in use on {LOOPBACK}")
    raise RunError(f"no broker started: {_PORT_ATTEMPTS} free ports were taken before it could listen")


def _installed(kind: Literal["auto", "mosquitto", "amqtt"]) -> Literal["mosquitto", "amqtt"]:
    if kind == "amqtt" or (kind == "auto" and mosquitto.executable() is None):
        return "amqtt"
    if mosquitto.executable() is None:
        raise InputError("broker(='mosquitto') is not installed: install it, or choose 'amqtt'")
    return "mosquitto"


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
            yield _bind(0)
        return
    if not 0 < port < 65_536:
        raise InputError(f"broker port(={port}) must be 1 to 65535")
    try:
        yield _bind(port)
    except PermissionError as error:
        raise InputError(f"broker port(={port}) cannot be used: {error.strerror}") from error
    except OSError:
        return  # in use


def _bind(port: int) -> int:
    """Return *port*, or a free one for 0, having listened on it for a moment; OSError where it is taken."""
    with socket.socket() as probe:
        # As brokers do, so that connections of a broker that has just ended do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((LOOPBACK, port))
        probe.listen(1)
        bound: int = probe.getsockname()[1]
        return bound


@contextmanager
def _running(
    kind: Literal["mosquitto", "amqtt"],
    port: int,
    logins: Mapping[Role, Credentials],
    accounts: Sequence[Account],
) -> Iterator[RunningBroker]:
    endpoint = Endpoint(LOOPBACK, port, kind, CAPABILITIES[kind], logins)
    with ExitStack() as stack:
        log = stack.enter_context(TemporaryFile())
        if kind == "mosquitto":
            folder = TemporaryDirectory(prefix="peelfleet-", ignore_cleanup_errors=True)
            directory = Path(stack.enter_context(folder))
            program = mosquitto.executable()
            assert program is not None
            mosquitto.write_files(directory, LOOPBACK, port, accounts)
            start = partial(_spawn, mosquitto.command(program, directory), log)
        else:
            start = partial(_embedded, port, accounts, log)
        broker = RunningBroker(endpoint, start, log)
        stack.callback(broker.end)
        _wait_until_ready(broker)
        yield broker


def _embedded(port: int, accounts: Sequence[Account], log: IO[bytes]) -> "subprocess.Popen[bytes]":
    process = _spawn(embedded.COMMAND, log)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it died at once: whoever waits for it will say so
        process.stdin.write(embedded.Settings(LOOPBACK, port, accounts).encode())
        process.stdin.flush()
    return process


def _spawn(command: Sequence[str], log: IO[bytes]) -> "subprocess.Popen[bytes]":
    """Start *command*; it may live as long as its standard input, whose other end nobody else gets."""
    return subprocess.Popen(
        command,
        cwd=_PACKAGES,
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        start_new_session=True,  # Ctrl-C is for us; we then end the broker when the run is wound up
    )


def _wait_until_ready(broker: RunningBroker) -> None:
    """Wait until a client can log in; only our broker knows the password.

    Raises:
        _PortTakenError: it ended because its port is taken.
        RunError: it ended for another reason, or takes too long.
    """
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not _answers(broker.endpoint):
        if broker.died():
            raise _start_failure(broker)
        if time.monotonic() > deadline:
            raise RunError(
                f"broker does not start within {_START_TIMEOUT_S:g} s; its log ends:\n{broker.log_tail()}"
            )
        time.sleep(_POLL_S)
    if broker.died():
        raise _start_failure(broker)


def _answers(endpoint: Endpoint) -> bool:
    try:
        check_reachable(endpoint, timeout_s=1.0)
    except InputError:
        return False
    return True


def _start_failure(broker: RunningBroker) -> Exception:
    try:
        _bind(broker.endpoint.port)
    except OSError:
        return _PortTakenError()
    return RunError(f"broker does not start: {broker.died()}")
