"""``peelfleet rollout status``: how far a rollout has come, from what the broker keeps of devices."""

import time
from dataclasses import dataclass
from typing import Any

import msgspec
import typer
from rich.console import Console

from cloud.service.rollout_progress import FleetProgress
from emulator.cli.options import Json
from emulator.cli.rollout.orders import STEERED, FleetView, on_broker, rollout_line
from emulator.cli.service_options import BrokerUrl, FleetName
from emulator.cli.text_table import TextTable, print_table
from wire.messages import RolloutNotice
from wire.mqtt.retained import read_retained
from wire.topics import MessageKind, Role


@dataclass
class GroupCounts:
    """The devices of a group that take part in rollouts."""

    group: int
    started: bool
    devices: int = 0
    updated: int = 0
    """Devices that hold the version."""
    waiting: int = 0
    """Devices that are connected and do not hold it."""
    away: int = 0
    """Devices that are not connected and do not hold it, as far as is known."""


def status(broker: BrokerUrl, fleet: FleetName, json: Json = False) -> None:
    """Show a fleet's rollout: its state, its groups, and the services of the cloud."""
    connection = broker.connection(Role.CLOUD, f"rollout:{fleet}")
    kinds = (*STEERED, MessageKind.STATUS)
    view = FleetView.of(on_broker(broker, read_retained(connection, fleet, kinds)))
    groups = group_counts(view.rollout, view) if view.rollout is not None else []
    if json:
        typer.echo(msgspec.json.encode(as_json(view, groups)).decode())
        return
    typer.echo("no rollout was started" if view.rollout is None else rollout_line(view.rollout))
    typer.echo(f"announced to all devices: model {view.announced or 'none'}")
    for name, service in sorted(view.clouds.items()):
        typer.echo(f"service {name} serves {', '.join(service.models)}")
    rows = [
        [str(each.group), "yes" if each.started else "no"]
        + [str(count) for count in (each.devices, each.updated, each.waiting, each.away)]
        for each in groups
    ]
    head = ["Group", "Started", "Devices", "Hold it", "Connected without", "Away without"]
    print_table(Console(), TextTable(title="Devices that take part", head=head, rows=rows, words=["Started"]))


def group_counts(rollout: RolloutNotice, view: FleetView) -> list[GroupCounts]:
    """Return the counts of each group of a rollout."""
    progress = FleetProgress(rollout.version, rollout.groups)
    now_ms = int(time.time() * 1000)
    for name, said in view.devices.items():
        progress.on_status(name, said, now_ms)
    groups = [GroupCounts(number, number < rollout.started) for number in range(rollout.groups)]
    for device in progress:
        counts = groups[device.group]
        counts.devices += 1
        counts.updated += device.model == rollout.version
        counts.waiting += device.model != rollout.version and device.online_since_ms is not None
        counts.away += device.model != rollout.version and device.online_since_ms is None
    return groups


def as_json(view: FleetView, groups: list[GroupCounts]) -> dict[str, Any]:  # Any: JSON
    """Return the same for programs."""
    rollout: dict[str, Any] | None = None
    if view.rollout is not None:
        rollout = msgspec.to_builtins(view.rollout)
        del rollout["notice"]
    return {
        "rollout": rollout,
        "announced": view.announced,
        "groups": msgspec.to_builtins(groups),
        "services": {name: list(service.models) for name, service in sorted(view.clouds.items())},
    }
