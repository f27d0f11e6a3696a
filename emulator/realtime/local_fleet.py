"""A fleet in real time on one machine: the broker, the cloud and the shards of one run."""

import asyncio
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker_config.accounts import Account, write_credentials
from broker_config.endpoint import Endpoint
from broker_config.temporary_folders import temporary_folder
from devices.simulated.roster import DeviceNames
from emulator.metrics.live_status import LiveStatus
from emulator.metrics.realtime_measurements import ShardMeasurements
from emulator.processes.cloud_process import BROKER_VARIABLE, cloud_process, url_with_password
from emulator.processes.event_loop import run_interruptibly
from emulator.processes.shard_processes import ShardCommand, ShardProcess, run_shards
from emulator.realtime.fleet_steering import FleetSteering
from emulator.simulation.job import Job
from scenarios.language.scenario import Scenario
from wire.errors import NoAnswerError, RunError
from wire.no_answer import USUAL_CAUSES
from wire.plugins.installed import child_environment
from wire.topics import Role


@dataclass(frozen=True)
class LocalFleetResult:
    """Results of a run in real time."""

    measurements: Sequence[ShardMeasurements]
    folders: Sequence[Path]
    """Folders of all incarnations of all shards."""
    restarts: Mapping[str, int]
    cloud: str
    """Summary of the logs of the cloud, in words."""


@dataclass(frozen=True)
class LocalFleet:
    """The parts of a run in real time: job, stores, broker, shards.

    Args:
        job: of the whole fleet.
        scenario_file: the resolved scenario, as a file.
        stores: folders of the block stores.
        store: folder where models are cached; None: the default.
        shards: number of processes.
        endpoint: the broker.
        passwords: of devices with a login of their own.
        managed_broker: whether this run has started the broker, so that no other run has used it.
        may_be_late: whether delays above `realtime.max_lag` are only counted.
        steering: deeds by hand, if somebody may do any.
    """

    job: Job
    scenario_file: Path
    stores: Sequence[Path]
    store: Path | None
    shards: int
    endpoint: Endpoint
    passwords: Mapping[str, str]
    managed_broker: bool
    may_be_late: bool = False
    steering: FleetSteering | None = None


def run_local_fleet(
    fleet: LocalFleet, check: Callable[[], None], on_status: Callable[[LiveStatus], None]
) -> LocalFleetResult:
    """Run the fleet to the end of its scenario.

    Args:
        fleet: the parts of the run.
        check: raises if the broker has died for good.
        on_status: called with the live status of the fleet.

    Raises:
        RunError: a process failed, or the machine could not keep up.
    """
    job, scenario = fleet.job, fleet.job.scenario
    cloud = cloud_process(
        fleet.stores,
        fleet.endpoint,
        job.fleet,
        scenario.updates,
        replicas=scenario.realtime.replicas,
        options=["--persistent" if fleet.managed_broker else "--no-persistent"],
    )
    with ExitStack() as stack:
        credentials = stack.enter_context(_credentials_file(fleet.passwords))
        running = stack.enter_context(cloud)
        command = _command(fleet, credentials)
        logs = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(fleet.shards)]
        shards = [
            ShardProcess(command, (index, fleet.shards), job.folder.with_name(f".shard-{index}"), log)
            for index, log in enumerate(logs)
        ]

        def check_all() -> None:
            check()
            running.check()

        try:
            running_shards = run_shards(shards, on_status, check_all, fleet.steering)
            # The usual loop, since it starts processes: on Windows those for MQTT cannot.
            measurements = run_interruptibly(running_shards, asyncio.new_event_loop)
        except RunError as error:
            if USUAL_CAUSES not in str(error):
                raise
            raise NoAnswerError(f"{error}. At its end {running.stop_and_summarise()}") from error
        restarts = {"shard": sum(shard.restarts for shard in shards), "cloud": running.restarts}
        account = running.stop_and_summarise()
    return LocalFleetResult(
        measurements, [folder for shard in shards for folder in shard.folders], restarts, account
    )


def device_passwords(scenario: Scenario) -> dict[str, str]:
    """Return a new password for each device with a connection of its own."""
    if scenario.clock != "realtime" or scenario.realtime.connections != "per_device":
        return {}
    return {name: secrets.token_urlsafe(12) for name in DeviceNames(scenario.fleet)}


@contextmanager
def _credentials_file(passwords: Mapping[str, str]) -> Iterator[Path | None]:
    """Yield a file with the passwords that only this user can read; None without passwords."""
    if not passwords:
        yield None
        return
    with temporary_folder() as folder:
        path = folder / "credentials.csv"
        accounts = [Account(user, Role.DEVICE, password) for user, password in passwords.items()]
        write_credentials(path, accounts)
        yield path


def _command(fleet: LocalFleet, credentials: Path | None) -> ShardCommand:
    scenario = fleet.job.scenario
    arguments = [str(fleet.scenario_file), "--supervised"]
    arguments += ["--may-be-late"] if fleet.may_be_late else []
    arguments += ["--store", str(fleet.store)] if fleet.store else []
    arguments += ["--credentials", str(credentials)] if credentials else []
    arguments += ["--deeds", str(fleet.steering.record)] if fleet.steering else []
    environment = child_environment() | {BROKER_VARIABLE: url_with_password(fleet.endpoint, Role.FLEET)}
    alone = scenario.rollout is None and not scenario.can_abort
    return ShardCommand(arguments, environment, 0 if fleet.managed_broker else None, may_resume=alone)
