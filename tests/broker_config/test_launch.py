"""Brokers start on a free port, end with this process, and are reached by their URL."""

import gc
import os
import pickle
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from broker_config import daemons, embedded, launch, mosquitto, nats, rabbitmq
from broker_config.daemons import BrokerKind
from broker_config.endpoint import Capabilities, Credentials, Endpoint, check_reachable, parse_url
from broker_config.launch import RunningBroker, launch_broker
from wire.errors import InputError, RunError
from wire.mqtt.connection import Tls
from wire.topics import Role

BROKERS = [
    pytest.param(
        "mosquitto",
        marks=[
            pytest.mark.broker,
            pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed"),
        ],
    ),
    "amqtt",
    pytest.param(
        "nats", marks=pytest.mark.skipif(nats.executable() is None, reason="nats-server is not installed")
    ),
    pytest.param(
        "rabbitmq",
        marks=[
            pytest.mark.slow,
            pytest.mark.skipif(rabbitmq.executable() is None, reason="rabbitmq-server is not installed"),
        ],
    ),
]
FAST_BROKERS = BROKERS[:3]
ORPHAN = """
import sys, time
from broker_config.launch import launch_broker
with launch_broker(sys.argv[1]) as broker:
    print(broker.endpoint.port, flush=True)
    time.sleep(60)
"""


def eventually(holds: Callable[[], bool], within_s: float = 10) -> bool:
    deadline = time.monotonic() + within_s
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Somebody who listens on a loopback port and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory for temporary files that the user `mosquitto` may pass through, unlike pytest's."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.parametrize("kind", FAST_BROKERS)
def test_a_broker_ends_with_its_block(kind: BrokerKind) -> None:
    with launch_broker(kind) as broker:
        port = broker.endpoint.port
        assert listens(port)
    assert not listens(port)


@pytest.mark.parametrize("kind", BROKERS)
def test_a_broker_dies_with_its_parent_and_leaves_nothing(kind: BrokerKind, open_directory: Path) -> None:
    environment = os.environ | {"TMPDIR": str(open_directory)}
    command = [sys.executable, "-c", ORPHAN, kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        assert listens(port)
        processes = psutil.Process(parent.pid).children(recursive=True)
        parent.kill()
    assert eventually(lambda: not listens(port), within_s=30)
    assert eventually(lambda: not list(open_directory.iterdir()), within_s=30)
    assert eventually(lambda: not [each for each in processes if lives(each)])


def lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("kind", BROKERS)
def test_a_broker_that_dies_says_how(kind: BrokerKind) -> None:
    with launch_broker(kind) as broker:
        assert broker.exit_report() is None
        os.kill(_server(broker), signal.SIGKILL)
        assert eventually(lambda: broker.exit_report() is not None)
        # The guard reports a signal as shells do, Popen as a negative number.
        status = -9 if kind == "amqtt" else 137
        assert (broker.exit_report() or "").startswith(
            f"broker {broker.endpoint.url} ({kind}) ended with exit status {status}; its log ends:\n"
        )
    assert (broker.exit_report() or "").endswith("(gone)")


@pytest.mark.parametrize("kind", FAST_BROKERS)
def test_a_terminated_process_takes_its_broker_along(kind: BrokerKind) -> None:
    with launch_broker(kind) as broker:
        broker._process.terminate()
        assert eventually(lambda: broker.exit_report() is not None)
        assert not listens(broker.endpoint.port)


def _server(broker: RunningBroker) -> int:
    """Return the process that serves: the first child of a guard, or the process itself."""
    pid = broker._process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else pid


@pytest.mark.parametrize("kind", FAST_BROKERS)
def test_a_port_that_was_asked_for_is_used(kind: BrokerKind) -> None:
    with launch_broker(kind) as first:
        port = first.endpoint.port
    with launch_broker(kind, port=port) as second:
        assert second.endpoint.port == port


@pytest.mark.parametrize("kind", FAST_BROKERS)
def test_a_busy_port_is_named(kind: BrokerKind, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(InputError, match=rf"port\(={port}\) is in use"):
        launch_broker(kind, port=port).__enter__()


@pytest.mark.parametrize("kind", FAST_BROKERS)
def test_a_port_that_is_lost_at_the_last_moment_is_told_from_a_failure(
    kind: BrokerKind, listener: socket.socket
) -> None:
    with pytest.raises(launch._PortTakenError):
        launch._start_broker(kind, listener.getsockname()[1], {}, []).__enter__()


def test_a_broker_that_cannot_start_shows_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "COMMAND", [sys.executable, "-c", "raise SystemExit('no luck')"])
    with pytest.raises(RunError, match=r"(?s)broker does not start: .* exit status 1; .*no luck"):
        launch_broker("amqtt").__enter__()


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_a_port_that_is_none_is_refused(port: int) -> None:
    with (
        pytest.raises(InputError, match=rf"port\(={port}\) must be 1 to 65535"),
        launch_broker("amqtt", port=port),
    ):
        pass


@pytest.mark.parametrize("user", ["a/b", "a:b", "+", "", "a\nuser _cloud"])
def test_a_device_name_that_would_not_fit_a_topic_is_refused(user: str) -> None:
    with (
        pytest.raises(
            InputError,
            match="no user name for role device: must be 1 to 64 letters, digits,",
        ),
        launch_broker("amqtt", devices={user: "x"}),
    ):
        pass


def test_a_role_cannot_take_a_name_that_a_device_could_have() -> None:
    cloud = {Role.CLOUD: Credentials("d1", "x")}
    with pytest.raises(InputError, match=r"user\(='d1'\) is no user name for role cloud"):
        launch_broker("amqtt", credentials=cloud).__enter__()


def test_given_credentials_are_used_and_the_others_made_up() -> None:
    cloud = Credentials("_service", "chosen")
    with launch_broker("amqtt", credentials={Role.CLOUD: cloud}) as one, launch_broker("amqtt") as other:
        assert one.endpoint.credentials[Role.CLOUD] == cloud
        assert one.endpoint.credentials[Role.FLEET] != other.endpoint.credentials[Role.FLEET]


def test_a_missing_program_is_named_and_auto_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(daemons, "_FOLDERS", "")
    monkeypatch.setattr(rabbitmq, "_FOLDERS", "")
    with pytest.raises(InputError, match=r"'mosquitto'.* is not installed"), launch_broker("mosquitto"):
        pass
    for kind, package in (("rabbitmq", "rabbitmq-server"), ("nats", "nats-server")):
        missing = (
            rf"broker\(='{kind}'\) is not installed: install it \(package {package} of Debian\), or choose"
        )
        with pytest.raises(InputError, match=missing), launch_broker(kind):  # type: ignore[arg-type]  # of the pairs
            pass
    with launch_broker("auto") as broker:
        assert broker.endpoint.kind == "amqtt"


@pytest.mark.parametrize("kind", BROKERS)
def test_no_password_shows(kind: BrokerKind) -> None:
    with launch_broker(kind) as broker:
        passwords = [login.password for login in broker.endpoint.credentials.values()]
        commands = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        seen = repr(broker) + str(broker.endpoint) + broker.log_tail() + commands
        assert not [password for password in passwords if password in seen]


def test_an_endpoint_travels_between_processes() -> None:
    endpoint = parse_url("mqtt://ann:secret@broker.example")
    assert pickle.loads(pickle.dumps(endpoint)) == endpoint


@pytest.mark.parametrize(
    ("text", "host", "port", "credentials"),
    [
        ("mqtt://localhost", "localhost", 1883, None),
        ("mqtt://127.0.0.1:2883/", "127.0.0.1", 2883, None),
        ("mqtt://ann:p%40ss%2F%3A@10.0.0.1:1", "10.0.0.1", 1, Credentials("ann", "p@ss/:")),
        ("mqtt://[::1]:1884", "::1", 1884, None),
    ],
)
def test_a_url_is_read(text: str, host: str, port: int, credentials: Credentials | None) -> None:
    everything = Capabilities(True, True, True, True)
    roles = dict.fromkeys(Role, credentials) if credentials else {}
    assert parse_url(text) == Endpoint(host, port, "external", everything, roles)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "scheme"),
        ("localhost:1883", "its scheme must be 'mqtt'"),
        ("ann:secret@host", "its scheme must be 'mqtt'"),
        ("http://localhost", r"scheme\(='http'\) must be 'mqtt'"),
        ("mqtt://broker.example", r"host\(=broker.example\) is another machine: a user and password"),
        ("mqtts://broker.example", r"host\(=broker.example\) is another machine: a user and password"),
        ("mqtts://localhost?ca=/nowhere", r"ca\(=/nowhere\) is no file"),
        ("mqtts://localhost?cert=/nowhere", "cert and key go together"),
        ("mqtts://localhost?verify=no", r"only ca, cert and key may follow '\?'"),
        (f"mqtts://localhost?ca={__file__}", "no usable certificates"),
        ("mqtt://", "it names no host"),
        ("mqtt://:1883", "it names no host"),
        ("mqtt://a b", "it names no host"),
        ("mqtt://host:0", "port"),
        ("mqtt://host:65536", "port"),
        ("mqtt://host:-1", "port"),
        ("mqtt://host:x", "port"),
        ("mqtt://[::1", "host or port is malformed"),
        ("mqtt://host/topic", "nothing may follow the port"),
        ("mqtt://host?x=1", "nothing may follow the port"),
        ("mqtt://ann@host", "user and password go together"),
        ("mqtt://:secret@host", "user and password go together"),
        ("mqtt://ann:secret@host:x", "port"),
        *[
            (
                f"mqtt://ann:se{character}cret@127.0.0.1:1883",
                f"user or password has a .*percent-encoded.*%{ord(character):X}",
            )
            for character in "/?#[]@"
        ],
        ("mqtts://ann:se?ca=cret@127.0.0.1:1883", "percent-encoded"),
        ("mqtt://ann:se%cret@127.0.0.1", "has a '%' that begins no character"),
        ("mqtt://ann:se%cdcret@127.0.0.1", "has a '%' that begins no character"),
        ("mqtt://ann:100%@127.0.0.1", "has a '%' that begins no character"),
        ("mqtt://ann:secret", "host or port is malformed"),
    ],
)
def test_a_bad_url_is_refused_without_repeating_it(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=rf"broker URL must be mqtt.*{reason}") as caught:
        parse_url(text)
    assert "cret" not in str(caught.value)


def test_tls_is_read_and_written() -> None:
    endpoint = parse_url("mqtts://ann:secret@localhost")
    assert (endpoint.port, endpoint.tls, endpoint.url) == (8883, Tls(), "mqtts://localhost:8883")
    assert endpoint.connection(Role.CLOUD, "c").tls == Tls()


def test_urls_are_written_without_credentials() -> None:
    assert parse_url("mqtt://ann:secret@[::1]").url == "mqtt://[::1]:1883"


def test_a_closed_port_does_not_answer(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    with pytest.raises(InputError, match=rf"broker mqtt://127.0.0.1:{port} does not answer: .*refused"):
        check_reachable(parse_url(f"mqtt://127.0.0.1:{port}"), timeout_s=5)


def test_a_server_that_says_nothing_does_not_answer_in_time(listener: socket.socket) -> None:
    port, start = listener.getsockname()[1], time.monotonic()
    with pytest.raises(InputError, match=r"does not answer: no CONNACK within 0.3 s"):
        check_reachable(parse_url(f"mqtt://127.0.0.1:{port}"), timeout_s=0.3)
    assert time.monotonic() - start < 2


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_port_that_speaks_no_tls_is_told_of(listener: socket.socket) -> None:
    port = listener.getsockname()[1]

    def end_at_once() -> None:
        peer, _ = listener.accept()
        peer.recv(1)
        peer.close()

    thread = threading.Thread(target=end_at_once)
    thread.start()
    with pytest.raises(InputError, match=r"; does the port speak MQTT in the clear \(mqtt\)\?"):
        check_reachable(parse_url(f"mqtts://a:b@127.0.0.1:{port}"), timeout_s=5)
    thread.join()
    gc.collect()  # paho leaves its socket open


def test_a_name_that_is_none_does_not_answer() -> None:
    with pytest.raises(InputError, match="does not answer"):
        check_reachable(parse_url(f"mqtt://a:b@{'a' * 64}.invalid"), timeout_s=1)


@pytest.mark.parametrize("victim", ["guard", "broker"])
@pytest.mark.broker
@pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed")
def test_a_broker_is_started_again_where_it_was_whichever_of_its_processes_was_killed(victim: str) -> None:
    def ours() -> list[psutil.Process]:
        return psutil.Process().children(recursive=True)

    def gone(process: psutil.Process) -> bool:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE  # nobody's child any more

    with launch_broker("mosquitto") as broker:
        for times in (1, 2, 3):
            guard, program = sorted(ours(), key=lambda process: "guard.py" not in " ".join(process.cmdline()))
            (guard if victim == "guard" else program).kill()
            assert eventually(lambda: broker.exit_report() is not None)
            broker.restart()
            check_reachable(broker.endpoint, 1.0)
            assert (broker.restarts, gone(program), len(ours())) == (times, True, 2)
    assert ours() == []
    assert not listens(broker.endpoint.port)


@pytest.mark.broker
@pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed")
def test_a_broker_that_dies_while_it_is_started_again_is_started_once_more() -> None:
    with launch_broker("mosquitto") as broker:
        start, tries = broker._start, list[subprocess.Popen[bytes]]()

        def at_the_second_try() -> "subprocess.Popen[bytes]":
            dying = ["sh", "-c", "kill -9 $$"]
            tries.append(start() if tries else subprocess.Popen(dying, stdin=subprocess.PIPE))
            return tries[-1]

        broker._start = at_the_second_try
        for process in psutil.Process().children(recursive=True):
            process.kill()
        assert eventually(lambda: broker.exit_report() is not None)
        broker.restart()
        check_reachable(broker.endpoint, 1.0)
        assert (len(tries), broker.restarts, broker.exit_report()) == (2, 1, None)
