"""``peelfleet rollout start``: a model version is offered to the first group of devices, then to the next."""

import time
from typing import Annotated, Literal

import typer

from cloud.service.rollout_orders import start_rollout
from emulator.cli.options import default, duration_option, positive_duration, share_option
from emulator.cli.rollout.orders import FleetView, check_served, steer
from emulator.cli.service_options import BrokerUrl, FleetName
from wire.errors import InputError
from wire.messages import RolloutNotice, RolloutState
from wire.topics import valid_name
from wire.units import NS_PER_S, Duration, Share


def start(
    version: Annotated[
        str, typer.Argument(help="A model version that the cloud serves.", show_default=False)
    ],
    broker: BrokerUrl,
    fleet: FleetName,
    groups: Annotated[int, typer.Option(min=1, max=1000, help="Groups of devices, one after the other.")] = 4,
    success_threshold: Annotated[
        Share, share_option("The next group starts when this share of a group holds the version.")
    ] = default("80 %"),
    error_threshold: Annotated[
        Share, share_option("The rollout stops when more than this share of a group has failed.")
    ] = default("5 %"),
    timeout: Annotated[
        Duration,
        typer.Option(
            parser=positive_duration,
            metavar="<time>",
            help="A device has failed that is connected for so long without holding the version.",
        ),
    ] = default("5 min"),
    pause: Annotated[
        Duration, duration_option("Shortest time between the starts of two groups.", zero=True)
    ] = default("0 s"),
    on_error: Annotated[
        Literal["pause", "rollback"], typer.Option(help="What a stop does: no further group, or back.")
    ] = "pause",
) -> None:
    """Offer a model version to a fleet, group by group; see docs/operate.md."""
    if not valid_name(version):
        raise InputError(f"version(={version}) must be 1 to 64 letters, digits, '.', '_' or '-'")

    def new_order(view: FleetView) -> RolloutNotice:
        check_served(view, fleet, version)
        wanted = RolloutNotice(
            rollout=int(time.time() * 1000),
            order=1,
            state=RolloutState.RUNNING,
            version=version,
            previous=view.announced,
            groups=groups,
            success_threshold=float(success_threshold),
            error_threshold=float(error_threshold),
            timeout_s=timeout / NS_PER_S,
            pause_s=pause / NS_PER_S,
            on_error=on_error,
        )
        return start_rollout(view.rollout, wanted)

    steer(broker, fleet, new_order)
