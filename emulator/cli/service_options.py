"""Options of the verbs that connect to a broker of the user's, and of those that serve metrics."""

from typing import Annotated

import typer

from broker_config.endpoint import Endpoint, check_host, parse_url
from emulator.cli.options import BROKER_URL, name_option


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
