"""``peelfleet broker``: run a broker for a while, or write down one for a test fleet."""

import sys
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from emulator.cli.verbs import Verbs
from wire.errors import PeelfleetError

app = Verbs(help="Run a broker, or set one up for a test fleet.", no_args_is_help=True)


@app.command()
def start(
    kind: Annotated[
        Literal["auto", "mosquitto", "amqtt"],
        typer.Argument(help="auto takes mosquitto if it is there."),
    ] = "auto",
    port: Annotated[int | None, typer.Option(help="Port on the loopback interface; else a free one.")] = None,
) -> None:
    """Run a broker with the project's configuration until interrupted; print a URL per role."""
    from broker_config.launch import launch_broker
    from emulator.processes.cloud_process import url_with_password

    with launch_broker(kind, port=port) as running:
        typer.echo(f"{running.endpoint.kind} on {running.endpoint.url}")
        for role in running.endpoint.credentials:
            typer.echo(f"{role.value}\t{url_with_password(running.endpoint, role)}")
        sys.stdout.flush()
        while running.died() is None:
            time.sleep(0.2)
        raise PeelfleetError(running.died())


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="The folder to write.", show_default=False)],
    fleet: Annotated[str, typer.Option(help="The fleet whose topics its users may use.")],
    host: Annotated[
        list[str] | None,
        typer.Option(help="A name or address by which clients reach it, for its certificate."),
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65_535)] = 8883,
    bind: Annotated[str, typer.Option(help="The address to listen on.")] = "0.0.0.0",
    device: Annotated[list[str] | None, typer.Option(help="A device that may connect.")] = None,
    scenario: Annotated[
        Path | None, typer.Option(help="A scenario file: all devices of its fleet may connect.")
    ] = None,
    client_certificates: Annotated[
        bool, typer.Option("--client-certificates", help="Clients show certificates, not passwords.")
    ] = False,
    product: Annotated[
        Literal["mosquitto", "emqx"],
        typer.Option("--for", help="emqx is a cluster of three nodes (docs/scale.md)."),
    ] = "mosquitto",
    force: Annotated[bool, typer.Option("--force", help="Replace it if it exists.")] = False,
) -> None:
    """Write a broker for a test fleet: TLS, passwords, access rules; docs/security.md explains them."""
    from broker_config.installation import CREDENTIALS, Installation, install

    names = [*(device or []), *(_devices_of(scenario) if scenario else [])]
    hosts = host or ["localhost", "127.0.0.1"]
    accounts = install(
        directory,
        Installation(
            fleet,
            hosts,
            names,
            port,
            bind,
            client_certificates,
            product,
        ),
        force=force,
    )
    typer.echo(f"{directory}: {len(accounts)} users, {len(names)} of them devices of fleet {fleet}")
    typer.echo(f"start it:  {_start_command(directory, product)}")
    typer.echo(f"logins:    {directory / CREDENTIALS}  (keep it, and {directory / 'ca.key'}, to yourself)")
    login = "?ca={0}/ca.crt&cert={0}/clients/_cloud.crt&key={0}/clients/_cloud.key"
    url = f"mqtts://_cloud:PASSWORD@{hosts[0]}:{port}?ca={directory / 'ca.crt'}"
    if client_certificates:
        url = f"mqtts://{hosts[0]}:{port}" + login.format(directory)
    typer.echo(f'cloud:     PEELFLEET_BROKER="{url}" peelfleet cloud --fleet {fleet} --store STORE')


def _start_command(directory: Path, product: str) -> str:
    from broker_config.emqx.cluster import COMPOSE
    from broker_config.installation import CONFIGURATION

    if product == "emqx":
        return f"docker compose -f {directory / COMPOSE} up -d --wait"
    return f"mosquitto -c {directory / CONFIGURATION}"


def _devices_of(scenario: Path) -> list[str]:
    from devices.simulated.roster import device_names
    from scenarios.language.load import load

    return list(device_names(load(scenario).fleet))
