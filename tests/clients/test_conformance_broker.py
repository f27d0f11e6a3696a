"""`peelfleet conformance` over a real broker: our agent, the JavaScript client, the shell client."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from broker_config import mosquitto
from broker_config.endpoint import Credentials, Endpoint
from broker_config.launch import launch_broker
from cloud.conformance.verdicts import RULES
from emulator.cli.exit_statuses import THRESHOLD_BROKE
from emulator.cli.signing_key import signing_key
from tests.clients.conformance_devices import PAGES, column_of_page
from tests.cloud.services import free_port
from tests.served import PASSWORD
from wire.topics import MessageKind, Role, fleet_topic

pytestmark = [
    pytest.mark.broker,
    pytest.mark.slow,
    pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed"),
    pytest.mark.skipif(shutil.which("sh") is None, reason="there is no shell for the owner's commands"),
]

SET_BUDGET = """#!/bin/sh
printf 'MemTotal: 8000000 kB\\nMemAvailable: %d kB\\n' $(($1 * 1000 / 1024)) > {proc}/draft
mv {proc}/draft {proc}/meminfo
"""
RESTART = """#!/bin/sh
if [ -f {folder}/pid ]; then kill -9 $(cat {folder}/pid); fi
{folder}/set-budget $1
{device} > {folder}/device.log 2>&1 &
echo $! > {folder}/pid
"""
KILL = """#!/bin/sh
kill -9 $(cat {folder}/pid)
rm {folder}/pid
"""
TIMES = ("--prompt", "2 s", "--calm", "1 s", "--silence", "5 s")


def write_script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def command(url: str, *options: str) -> list[str]:
    """Return the command that tests device ``d1`` on a broker."""
    broker = url.replace("://", "://_cloud:secret@")
    return [
        sys.executable, "-m", "emulator.cli", "conformance", "--broker", broker, "--device", "d1", *options
    ]  # fmt: skip


def verdicts_on_broker(folder: Path, device: Callable[[Endpoint, Path], str]) -> dict[str, str]:
    """Judge a device whose budget follows a file, and which is killed and started again.

    Args:
        folder: of the test.
        device: returns the shell's words that run the device, for a broker and the folder of the file.
    """
    proc = folder / "proc"
    proc.mkdir()
    signing_key(folder / "key")
    roles = {Role.CLOUD: Credentials("_cloud", "secret")}
    with launch_broker("mosquitto", devices={"d1": PASSWORD}, credentials=roles) as broker:
        port = free_port()
        through = replace(broker.endpoint, host="127.0.0.1", port=port)
        write_script(folder / "set-budget", SET_BUDGET.format(proc=proc))
        write_script(folder / "restart", RESTART.format(folder=folder, device=device(through, proc)))
        write_script(folder / "kill", KILL.format(folder=folder))
        subprocess.run([str(folder / "restart"), "4000"], check=True)
        try:
            time.sleep(2.0)
            words = command(
                broker.endpoint.url, "--budget-command", f"{folder}/set-budget {{bytes}}",
                "--restart-command", f"{folder}/restart {{bytes}}", "--kill-command", f"{folder}/kill",
                "--proxy-port", str(port),
                "--signing-key", f"{folder}/key", *TIMES,
                "--json", f"{folder}/verdicts.json", "--junit", f"{folder}/verdicts.xml",
            )  # fmt: skip
            done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
        finally:
            os.kill(int((folder / "pid").read_text()), signal.SIGKILL)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (folder / "verdicts.xml").read_text().count("<testcase") == len(RULES)
    found = json.loads((folder / "verdicts.json").read_text())
    return {each["rule"]: each["outcome"] for each in found["rules"]}


def test_the_agent_passes_every_rule(tmp_path: Path) -> None:
    def agent(endpoint: Endpoint, proc: Path) -> str:
        url = endpoint.url.replace("://", f"://d1:{PASSWORD.replace(' ', '%20')}@")
        return (
            f"{sys.executable} -m emulator.cli agent --broker '{url}' --fleet conformance --device d1 "
            f"--user 3 --budget-share '0.1 %' --proc {proc} --interval '100 ms' --retry-after '5 s' "
            f"--max-part 4KiB --deltas --state {tmp_path}/state --public-key {tmp_path}/key.pub"
        )

    verdicts = verdicts_on_broker(tmp_path, agent)
    assert verdicts == column_of_page("`peelfleet agent`") == dict.fromkeys(RULES, "passed")


def test_the_javascript_client_passes_every_rule(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the JavaScript client cannot run")

    def client(endpoint: Endpoint, proc: Path) -> str:
        program = Path(__file__).with_name("broker_device.mjs")
        return (
            f"{node} {program} {endpoint.host} {endpoint.port} '{PASSWORD}' {proc}/meminfo {tmp_path}/key.pub"
        )

    assert verdicts_on_broker(tmp_path, client) == column_of_page("`clients/js`")


def test_the_shell_client_does_what_it_claims(tmp_path: Path) -> None:
    """Judge a client that asks once, waits for the answer and leaves."""
    if shutil.which("mosquitto_sub") is None:
        pytest.skip("the clients of mosquitto are not installed")
    roles = {Role.CLOUD: Credentials("_cloud", "secret")}
    with launch_broker("mosquitto", devices={"d1": PASSWORD}, credentials=roles) as broker:
        endpoint = broker.endpoint
        words = [endpoint.host, endpoint.port, "conformance", "d1", PASSWORD, 3, 4000, tmp_path / "pee"]
        test = subprocess.Popen(
            command(endpoint.url, "--json", f"{tmp_path}/verdicts.json", *TIMES), stdout=subprocess.PIPE
        )
        # It asks once, so the test must be there: its notice comes after its subscriptions.
        login = ["-h", endpoint.host, "-p", str(endpoint.port), "-u", "_cloud", "-P", "secret"]
        topic = fleet_topic(MessageKind.MODEL, "conformance")
        subprocess.run(["mosquitto_sub", *login, "-t", topic, "-C", "1", "-W", "60"], check=True)
        client = subprocess.Popen([str(PAGES / "examples" / "client.sh"), *map(str, words)])
        try:
            assert test.wait(timeout=100) == THRESHOLD_BROKE
        finally:
            client.terminate()
            client.wait()
            assert test.stdout is not None
            test.stdout.close()
    found = json.loads((tmp_path / "verdicts.json").read_text())
    assert {each["rule"]: each["outcome"] for each in found["rules"]} == column_of_page("`client.sh`")


def test_a_device_that_is_not_there_fails_the_first_rule() -> None:
    roles = {Role.CLOUD: Credentials("_cloud", "secret")}
    with launch_broker("mosquitto", devices={}, credentials=roles) as broker:
        done = subprocess.run(
            command(broker.endpoint.url, "--start", "1 s", "--quiet"),
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == THRESHOLD_BROKE, done.stderr
    first, *_, last = done.stdout.splitlines()
    assert first == (
        "R8   failed         reports when it is connected and the notice is there: no report came after the "
        "notice: is the device connected, with this name and fleet?"
    )
    assert last.startswith("0 passed, 1 failed, 32 not applicable; not checked: R1, R30,")
