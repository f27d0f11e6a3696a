"""Options of the verbs that connect to a broker of the user's, and of those that serve metrics."""

from pathlib import Path
from typing import Annotated

import typer

from broker_config.endpoint import Endpoint, check_host, parse_url
from emulator.cli.options import BROKER_URL, name_option, path_option
from wire.errors import InputError
from wire.signatures import Sign, Verify


def broker_endpoint(text: str) -> Endpoint:
    """Return the broker of a URL.

    Raises:
        InputError: the URL is wrong; the message does not repeat it, since it may hold a password.
    """
    endpoint = parse_url(text)
    check_host(endpoint.host)
    return endpoint


BrokerUrl = Annotated[
    Endpoint,
    typer.Option(parser=broker_endpoint, metavar="<url>", envvar="PEELFLEET_BROKER", help=f"{BROKER_URL}."),
]
FleetName = Annotated[str, name_option("The fleet's name in topics.")]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        min=0, max=65_535, help="Port of /metrics, /healthz and /readyz; 0: a free one.", show_default=False
    ),
]
MetricsHost = Annotated[str, typer.Option(help="Address to listen on for these.")]
SigningKey = Annotated[Path | None, path_option("Sign with the private key in this file, of `signing-key`.")]
PublicKey = Annotated[Path | None, path_option("Refuse messages that no public key in this file has signed.")]


def signing_function(path: Path | None) -> Sign | None:
    """Return the function that signs with the private key in a file; None without one.

    Raises:
        InputError: there is no such key.
    """
    if path is None:
        return None
    from wire.signing_keys import read_signing_key

    return read_signing_key(path)


def other_signing_function() -> Sign:
    """Return a function that signs with a key that nobody knows."""
    from wire.signing_keys import new_signing_function

    return new_signing_function()


def verifying_function(path: Path | None) -> Verify | None:
    """Return the function that verifies with the public keys in a file; None without one.

    Raises:
        InputError: there is no such key, or the library for signatures is not installed.
    """
    if path is None:
        return None
    try:
        from wire.signing_keys import read_public_keys
    except ModuleNotFoundError as error:  # an agent is installed without it
        raise InputError(f"--public-key needs {error.name}, which is not installed") from None
    return read_public_keys(path)
