"""``peelfleet broker start``: a broker until it is interrupted."""

import sys
import time
from typing import Annotated, Literal

import typer

from broker_config.launch import launch_broker
from emulator.processes.cloud_process import url_with_password
from wire.errors import PeelfleetError

POLL_S = 0.2


def start(
    kind: Annotated[
        Literal["auto", "mosquitto", "amqtt", "rabbitmq", "nats"],
        typer.Argument(help="auto takes mosquitto if it is installed."),
    ] = "auto",
    port: Annotated[int | None, typer.Option(help="Port on the loopback interface; else a free one.")] = None,
) -> None:
    """Run a broker with the project's configuration until interrupted; print a URL per role."""
    with launch_broker(kind, port=port) as running:
        typer.echo(f"{running.endpoint.kind} on {running.endpoint.url}")
        for role in running.endpoint.credentials:
            typer.echo(f"{role.value}\t{url_with_password(running.endpoint, role)}")
        sys.stdout.flush()
        while running.exit_report() is None:
            time.sleep(POLL_S)
        raise PeelfleetError(running.exit_report())
