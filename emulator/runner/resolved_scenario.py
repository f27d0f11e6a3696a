"""The resolved scenario of a run: all paths are absolute, and it has no sweep."""

import os
from pathlib import Path

import msgspec

from broker_config.endpoint import parse_url
from devices.memory import Replay
from devices.simulated.roster import FleetGroup
from devices.traces.availability import Availability
from emulator.run_directory.layout import SCENARIO
from emulator.run_directory.plugins_used import write_plugins
from emulator.simulation.model_cache import resolve_data
from scenarios.language.checks import BROKERS
from scenarios.language.load import check_readable, dump
from scenarios.language.plugin_types import plugins_of
from scenarios.language.scenario import Scenario
from scenarios.language.schema import with_paths
from wire.output_files import naming


def resolve_scenario(scenario: Scenario, data: Path | None) -> Scenario:
    """Return *scenario* without its sweep and with absolute paths, so that it can be read from any folder.

    Args:
        scenario: the scenario.
        data: value of ``--data``; it replaces the scenario's path.

    Raises:
        InputError: the data do not exist, or the scenario is too large to be read again.
    """
    fleet = tuple(map(_with_absolute_paths, scenario.fleet))
    resolved = msgspec.structs.replace(
        scenario,
        data=resolve_data(scenario.data, data),
        model=with_paths(scenario.model, os.path.realpath),
        fleet=fleet,
        sweep=None,
    )
    check_readable(without_password(resolved))
    return resolved


def write_scenario(folder: Path, scenario: Scenario) -> None:
    """Write the resolved *scenario*, without the password of the broker, and its plug-ins into *folder*."""
    write_plugins(folder, plugins_of(scenario))
    with naming(folder / SCENARIO):
        (folder / SCENARIO).write_text(dump(without_password(scenario)), encoding="utf-8")


def without_password(scenario: Scenario) -> Scenario:
    """Return *scenario* without the user and the password of its broker."""
    if scenario.broker in BROKERS:
        return scenario
    return msgspec.structs.replace(scenario, broker=parse_url(scenario.broker).url)


def _with_absolute_paths(group: FleetGroup) -> FleetGroup:
    traces = {
        name: msgspec.structs.replace(value, file=os.path.realpath(value.file))
        for name, value in msgspec.structs.asdict(group).items()
        if isinstance(value, Replay | Availability)
    }
    return msgspec.structs.replace(group, **traces)
