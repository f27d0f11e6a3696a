"""Metrics of a fleet that ``run`` or ``devices`` runs, over HTTP."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from emulator.cli.live_view import LiveView
from emulator.cli.terminal import RunDisplay
from emulator.metrics.live_status import LiveStatus
from emulator.metrics.prometheus import FleetCollector
from emulator.metrics.timeline import RunTimeline
from scenarios.language.scenario import Scenario
from wire.errors import InputError
from wire.prometheus.http_server import Health, serve_metrics


class MeteredRunDisplay(RunDisplay):
    """A display of a run that hands each status to metrics, too.

    Args:
        metrics: of the fleet.
        live: the live view of the fleet, if it is wanted.
        quiet: whether only warnings and the verdict are shown.
    """

    def __init__(self, metrics: FleetCollector, live: LiveView | None = None, *, quiet: bool = False) -> None:
        super().__init__(live, quiet=quiet)
        self.wants_status = True
        self._metrics = metrics

    def on_status(self, status: LiveStatus, stop_ns: int) -> None:
        """Count a status, and show it."""
        self._metrics.add(status)
        super().on_status(status, stop_ns)


@contextmanager
def fleet_metrics(scenario: Scenario, host: str, port: int | None) -> Iterator[FleetCollector | None]:
    """Serve the metrics of a fleet while it runs; yield what takes its statuses, or None.

    Args:
        scenario: of the fleet.
        host: the address to listen on.
        port: the port; None: nothing is served.

    Raises:
        InputError: the clock has no present, or the port cannot be used.
    """
    if port is None:
        yield None
        return
    if scenario.clock == "virtual":
        raise InputError(
            "--metrics-port needs clock lockstep or realtime: under virtual the parts of the fleet are "
            "simulated one by one"
        )
    metrics = FleetCollector(RunTimeline.from_scenario(scenario), scenario.name)
    health = Health(alive=lambda: True, ready=lambda: metrics.has_status)
    with serve_metrics(host, port, metrics, health) as listening:
        typer.echo(f"metrics on http://{host}:{listening}/metrics", err=True)
        yield metrics


def run_display(metrics: FleetCollector | None, live: LiveView | None, *, quiet: bool) -> RunDisplay:
    """Return the display of a run, with or without metrics."""
    if metrics is None:
        return RunDisplay(live, quiet=quiet)
    return MeteredRunDisplay(metrics, live, quiet=quiet)
