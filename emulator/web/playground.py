"""The parts of the playground: broker, cloud, a fleet beside the browser's device, and accounts for pages."""

import contextlib
import itertools
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from broker_config.launch import RunningBroker, launch_broker
from emulator.processes.cloud_process import BROKER_VARIABLE, CloudProcess, cloud_process, url_with_password
from emulator.simulation.model_cache import PreparedModel
from scenarios.language.scenario import Scenario
from wire.plugins.installed import child_environment
from wire.topics import Role

FLEET = "playground"
PAGES = 32
"""Pages that can be open at once; the next one takes over the device of the oldest."""


class Playground:
    """A broker, a cloud and a fleet, all on this machine.

    Args:
        broker: the broker.
        cloud: serves the model to fleet `FLEET`.
        fleet: the emulated devices.
        passwords: of the devices of pages.
    """

    def __init__(
        self, broker: RunningBroker, cloud: CloudProcess, fleet: "FleetProcess", passwords: dict[str, str]
    ) -> None:
        self.broker = broker
        self.cloud_is_wanted = True
        self._cloud = cloud
        self._fleet = fleet
        self._passwords = passwords
        self._names = itertools.cycle(passwords)

    def new_device(self) -> dict[str, str]:
        """Return name and password of a device for a page."""
        name = next(self._names)
        return {"name": name, "password": self._passwords[name], "fleet": FLEET}

    def kill_cloud(self) -> None:
        """Kill the cloud, as a machine that fails does; it stays away until `start_cloud`."""
        self.cloud_is_wanted = False
        for replica in self._cloud.replicas:
            replica.kill()

    def start_cloud(self) -> None:
        """Have the cloud back."""
        self.cloud_is_wanted = True

    def check(self) -> None:
        """Start again what has ended: the cloud if it is wanted, the broker, and a fleet whose day is over.

        Raises:
            RunError: one of them does not start.
        """
        if self.broker.exit_report():
            self.broker.restart()
        if self.cloud_is_wanted:
            self._cloud.check()
        self._fleet.start_again_if_over()


class FleetProcess:
    """``peelfleet devices`` as a process; it ends with this one.

    Args:
        scenario: a file.
        broker: where the fleet connects.
        folder: for its logs.
        log: receives what it prints.
    """

    def __init__(self, scenario: Path, broker: RunningBroker, folder: Path, log: IO[bytes]) -> None:
        self._command = [sys.executable, "-m", "emulator.cli", "devices", str(scenario), "--fleet", FLEET]
        self._environment = child_environment() | {
            BROKER_VARIABLE: url_with_password(broker.endpoint, Role.FLEET)
        }
        self._folder = folder
        self._log = log
        self._days = itertools.count()
        self._process = self._start()

    def start_again_if_over(self) -> None:
        """Begin another day, if the last one is over."""
        if self._process.poll() is not None:
            self._process = self._start()

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> "subprocess.Popen[bytes]":
        out = self._folder / f"day-{next(self._days)}"
        return subprocess.Popen(
            [*self._command, "--out", str(out), "--may-be-late"],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=os.name == "posix",  # Ctrl-C must reach only this process
        )


@contextmanager
def open_playground(scenario: Scenario, file: Path, model: PreparedModel) -> Iterator[Playground]:
    """Run a playground while the block runs.

    Args:
        scenario: the fleet beside the page's device.
        file: the scenario, as a file.
        model: of that scenario.
    """
    passwords = {f"browser-{number}": secrets.token_urlsafe(12) for number in range(1, PAGES + 1)}
    with ExitStack() as stack:
        broker = stack.enter_context(launch_broker("auto", devices=passwords))
        cloud = stack.enter_context(
            cloud_process(
                [model.folder], broker.endpoint, FLEET, scenario.updates, options=["--no-persistent"]
            )
        )
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        log = stack.enter_context(tempfile.TemporaryFile())
        fleet = FleetProcess(file, broker, folder, log)
        stack.callback(fleet.stop)
        with contextlib.suppress(KeyboardInterrupt):
            yield Playground(broker, cloud, fleet, passwords)
