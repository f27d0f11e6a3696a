"""A whole fleet in real time on one machine: the broker, the cloud and the shards of one run."""

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from broker_config.accounts import Account, write_credentials
from broker_config.endpoint import Endpoint
from broker_config.temporary_folders import temporary_folder
from devices.simulated.roster import device_names
from emulator.metrics.live_status import LiveStatus
from emulator.metrics.realtime_measurements import ShardMeasurements
from emulator.processes.cloud_process import BROKER_VARIABLE, cloud_process, url_with_password
from emulator.processes.event_loop import run_interruptibly
from emulator.processes.shard_processes import ShardCommand, ShardProcess, run_shards
from emulator.simulation.job import Job
from scenarios.language.scenario import Scenario
from wire.errors import NoAnswerError, RunError
from wire.no_answer import USUAL_CAUSES
from wire.topics import Role


@dataclass(frozen=True)
class LocalFleetResult:
    """What a run in real time leaves."""

    measured: Sequence[ShardMeasurements]
    folders: Sequence[Path]
    """The draft journals of every life of every shard."""
    restarts: Mapping[str, int]
    cloud: str
    """What the cloud has published, in words."""


@dataclass(frozen=True)
class LocalFleet:
    """What plays together.

    Args:
        job: of the whole fleet.
        scenario_file: the resolved scenario, as a file.
        stores: where the block stores lie.
        store: where models are cached; None: the default.
        shards: how many processes carry the fleet.
        endpoint: the broker.
        passwords: of devices with users of their own.
        ours: whether the broker is this run's own: nobody else has ever used it.
        may_be_late: whether the schedule may be later than `realtime.max_lag`.
    """

    job: Job
    scenario_file: Path
    stores: Sequence[Path]
    store: Path | None
    shards: int
    endpoint: Endpoint
    passwords: Mapping[str, str]
    ours: bool
    may_be_late: bool = False


def run_local_fleet(
    ensemble: LocalFleet, check: Callable[[], None], told: Callable[[LiveStatus], None]
) -> LocalFleetResult:
    """Run the fleet to the end of its scenario.

    Args:
        ensemble: what plays together.
        check: raises when the broker has died for good.
        told: told what the fleet is doing.

    Raises:
        RunError: a process failed, or the machine could not keep up.
    """
    job, scenario = ensemble.job, ensemble.job.scenario
    cloud = cloud_process(
        ensemble.stores,
        ensemble.endpoint,
        job.fleet,
        scenario.updates,
        replicas=scenario.realtime.replicas,
        options=["--persistent" if ensemble.ours else "--no-persistent"],
    )
    with ExitStack() as stack:
        credentials = stack.enter_context(_written(ensemble.passwords))
        running = stack.enter_context(cloud)
        command = _command(ensemble, credentials)
        logs = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(ensemble.shards)]
        shards = [
            ShardProcess(command, (place, ensemble.shards), job.folder.with_name(f".shard-{place}"), log)
            for place, log in enumerate(logs)
        ]

        def look() -> None:
            check()
            running.check()

        try:
            measured = run_interruptibly(run_shards(shards, told, look))
        except RunError as error:
            if USUAL_CAUSES not in str(error):
                raise
            raise NoAnswerError(f"{error}. At its end {running.account()}") from error
        restarts = {"shard": sum(shard.restarts for shard in shards), "cloud": running.restarts}
        account = running.account()
    return LocalFleetResult(
        measured, [folder for shard in shards for folder in shard.folders], restarts, account
    )


def device_passwords(scenario: Scenario) -> dict[str, str]:
    """Return a new password for each device that logs in by itself."""
    if scenario.clock != "realtime" or scenario.realtime.connections != "per_device":
        return {}
    return {name: secrets.token_urlsafe(12) for name in device_names(scenario.fleet)}


@contextmanager
def _written(passwords: Mapping[str, str]) -> Iterator[Path | None]:
    """Give the passwords as a file that nobody else can read."""
    if not passwords:
        yield None
        return
    with temporary_folder() as folder:
        path = folder / "credentials.csv"
        accounts = [Account(user, Role.DEVICE, password) for user, password in passwords.items()]
        write_credentials(path, accounts)
        yield path


def _command(ensemble: LocalFleet, credentials: Path | None) -> ShardCommand:
    scenario = ensemble.job.scenario
    words = [str(ensemble.scenario_file), "--supervised"]
    words += ["--may-be-late"] if ensemble.may_be_late else []
    words += ["--store", str(ensemble.store)] if ensemble.store else []
    words += ["--credentials", str(credentials)] if credentials else []
    environment = os.environ | {BROKER_VARIABLE: url_with_password(ensemble.endpoint, Role.FLEET)}
    alone = scenario.rollout is None and not scenario.can_abort
    return ShardCommand(words, environment, 0 if ensemble.ours else None, may_resume=alone)
