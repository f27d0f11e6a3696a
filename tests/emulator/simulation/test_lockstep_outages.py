"""Bad weather in lockstep: the log does not notice it, or the run fails loudly."""

import contextlib
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from broker_config.endpoint import Credentials
from broker_config.launch import launch_broker
from emulator.processes.cloud_process import url_with_password
from tests.emulator.scenarios import TINY, RecordingObserver, Runner, number
from wire.errors import InputError, RunError
from wire.topics import Role

LOCKSTEP = (TINY, "clock=lockstep", "broker=amqtt")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def children(of: int) -> dict[int, str]:
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
            command = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if int(stat.rsplit(")", 1)[1].split()[1]) == of:
            found[int(folder.name)] = command
    return found


class Saboteur(RecordingObserver):
    """Kills a child process once, when simulated time has come so far."""

    def __init__(self, command: str, at_share: float = 0.3) -> None:
        super().__init__()
        self.command, self.at_share = command, at_share
        self.killed: list[int] = []

    def on_progress(self, now_ns: int, stop_ns: int) -> None:
        super().on_progress(now_ns, stop_ns)
        if not self.killed and now_ns > self.at_share * stop_ns:
            self.killed = [pid for pid, command in children(os.getpid()).items() if self.command in command]
            for pid in self.killed:
                os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
@pytest.mark.slow
def test_a_cloud_killed_in_mid_run_is_started_again_and_the_log_is_the_same(runner: Runner) -> None:
    saboteur = Saboteur("emulator.cli cloud")
    calm, stormy = runner.run(), runner.run(*LOCKSTEP, observer=saboteur)
    assert len(saboteur.killed) == 1
    assert stormy.summary["event_log_sha256"] == calm.summary["event_log_sha256"]
    assert number(stormy, "reports_sent_again") > 0


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
def test_a_broker_of_ours_that_dies_fails_the_run_with_its_log(runner: Runner) -> None:
    saboteur = Saboteur("broker_config.embedded")
    with pytest.raises(RunError, match=r"broker mqtt://127.0.0.1:.* ended with exit status"):
        runner.run(*LOCKSTEP, observer=saboteur)
    assert [path.suffix for path in runner.out.iterdir()] == [".partial"]


def test_a_broker_that_does_not_answer_leaves_nothing_behind(runner: Runner) -> None:
    with pytest.raises(InputError, match=r"broker mqtt://127.0.0.1:9 does not answer"):
        runner.run(TINY, "clock=lockstep", broker="mqtt://127.0.0.1:9")
    assert not runner.out.exists()


@pytest.mark.broker
def test_an_external_broker_that_is_killed_and_comes_back_changes_nothing(runner: Runner) -> None:
    """Same port, same logins, nothing remembered: both ends reconnect and ask again."""
    login = Credentials("_emulator", "secret")
    port = free_port()

    class Restarter(RecordingObserver):
        restarted = False

        def on_progress(self, now_ns: int, stop_ns: int) -> None:
            super().on_progress(now_ns, stop_ns)
            if not self.restarted and now_ns > 0.3 * stop_ns:
                self.restarted = True
                stack.close()
                stack.enter_context(launch_broker("auto", port=port, credentials={Role.EMULATOR: login}))

    with contextlib.ExitStack() as stack:
        stack.enter_context(launch_broker("auto", port=port, credentials={Role.EMULATOR: login}))
        observer = Restarter()
        url = f"mqtt://_emulator:secret@127.0.0.1:{port}"
        stormy = runner.run(TINY, "clock=lockstep", broker=url, observer=observer)
    assert observer.restarted
    assert stormy.summary["event_log_sha256"] == runner.run().summary["event_log_sha256"]


def test_update_bytes_are_what_an_observer_of_the_broker_counts(runner: Runner) -> None:
    """A client that is not ours counts the payloads on peel/1/+/+/pee during the run."""
    counted: list[int] = []

    def on_message(client: Client, userdata: object, message: MQTTMessage) -> None:
        counted.append(len(message.payload))

    with launch_broker("auto") as broker:
        endpoint = broker.endpoint
        observer = Client(CallbackAPIVersion.VERSION2)
        login = endpoint.credentials[Role.OBSERVER]
        observer.username_pw_set(login.user, login.password)
        observer.on_message = on_message
        observer.connect(endpoint.host, endpoint.port)
        observer.loop_start()
        observer.subscribe("peel/1/+/+/pee", 1)
        url = url_with_password(endpoint, Role.EMULATOR)
        finished = runner.run(TINY, "clock=lockstep", "networks.flaky.uplink.loss=0 %", broker=url)
        deadline = time.monotonic() + 10
        while sum(counted) < number(finished, "update_bytes") and time.monotonic() < deadline:
            time.sleep(0.05)
        observer.disconnect()
        observer.loop_stop()
    assert sum(counted) == finished.summary["update_bytes"]
    assert finished.summary["reports_sent_again"] == 0
