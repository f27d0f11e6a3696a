"""``peelfleet broker init``: the files of a broker for a test fleet."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from broker_config.emqx.cluster import COMPOSE
from broker_config.installation import CONFIGURATION, CREDENTIALS, Installation, install
from devices.simulated.roster import DeviceNames
from emulator.cli.options import path_option
from scenarios.language.load import load


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
        Path | None, path_option("A scenario file: all devices of its fleet may connect.")
    ] = None,
    service_port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65_535,
            help="A port of its own for services: each device's client id is its name.",
            show_default=False,
        ),
    ] = None,
    websocket_port: Annotated[
        int | None,
        typer.Option(min=1, max=65_535, help="A port for devices in browsers.", show_default=False),
    ] = None,
    websocket_tls: Annotated[bool, typer.Option(help="Off: for a web server on this machine.")] = True,
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
    names = [*(device or []), *(DeviceNames(load(scenario).fleet) if scenario else [])]
    hosts = host or ["localhost", "127.0.0.1"]
    installation = Installation(
        fleet=fleet,
        hosts=hosts,
        devices=names,
        port=port,
        bind=bind,
        service_port=service_port,
        websocket_port=websocket_port,
        websocket_tls=websocket_tls,
        client_certificates=client_certificates,
        product=product,
    )
    accounts = install(directory, installation, force=force)
    typer.echo(f"{directory}: {len(accounts)} users, {len(names)} of them devices of fleet {fleet}")
    typer.echo(f"start it:  {_start_command(directory, product)}")
    typer.echo(f"logins:    {directory / CREDENTIALS}  (keep it, and {directory / 'ca.key'}, to yourself)")
    login = "?ca={0}/ca.crt&cert={0}/clients/_cloud.crt&key={0}/clients/_cloud.key"
    url = f"mqtts://_cloud:PASSWORD@{hosts[0]}:{service_port or port}?ca={directory / 'ca.crt'}"
    if client_certificates:
        url = f"mqtts://{hosts[0]}:{port}" + login.format(directory)
    typer.echo(f'cloud:     PEELFLEET_BROKER="{url}" peelfleet cloud --fleet {fleet} --store STORE')


def _start_command(directory: Path, product: str) -> str:
    if product == "emqx":
        return f"docker compose -f {directory / COMPOSE} up -d --wait"
    return f"cd {shlex.quote(str(directory))} && mosquitto -c {CONFIGURATION}"
