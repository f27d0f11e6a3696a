"""``peelfleet run``: a scenario, from its file to a finished run directory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from emulator.cli.exit_statuses import THRESHOLD_BROKE
from emulator.cli.live_view import live_view
from emulator.cli.metered_run import fleet_metrics, run_display
from emulator.cli.options import (
    Broker,
    Clock,
    Data,
    Force,
    Out,
    Overrides,
    RangeExecutor,
    ResultFiles,
    RunJson,
    RunQuiet,
    Sample,
    ScenarioFile,
    Seed,
    Shards,
    Speed,
    Store,
    Workers,
    overrides,
)
from emulator.cli.service_options import MetricsHost, MetricsPort
from emulator.cli.terminal import RunDisplay
from emulator.cli.web_page import OpenBrowser, Port, Watched, Web, page_of_runs
from emulator.exports.result_file import check_result_file, write_result
from emulator.runner.runner import RunOptions, RunResult
from emulator.runner.runner import run as run_scenario
from scenarios.language.load import load


def run(
    scenario: ScenarioFile,
    set_: Overrides = None,
    seed: Seed = None,
    clock: Clock = None,
    sample: Sample = None,
    broker: Broker = None,
    data: Data = None,
    out: Out = Path("runs"),
    store: Store = None,
    workers: Workers = None,
    executor: RangeExecutor = None,
    shards: Shards = 1,
    force: Force = False,
    speed: Speed = None,
    live: Annotated[bool, typer.Option("--live", help="Show the fleet while it runs.")] = False,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
    web: Web = False,
    watched: Watched = False,
    port: Port = None,
    browser: OpenBrowser = True,
    json: RunJson = False,
    quiet: RunQuiet = False,
    result: ResultFiles = None,
) -> None:
    """Run a scenario: train or load its model, simulate the fleet, write a run directory.

    Exit status: 0 passed, 99 a threshold is broken, 2 the scenario is wrong, 1 the run failed.
    """
    for file in result or ():
        check_result_file(file)
    resolved = load(
        scenario, overrides(set_, seed=seed, clock=clock, sample=sample, **{"realtime.speed": speed})
    )
    options = RunOptions(
        out=out,
        broker=broker,
        data=data,
        store=store,
        shards=shards,
        workers=workers,
        executor=executor,
        force=force,
        watched=watched or web,
    )
    view = live_view(resolved) if live else None
    with page_of_runs(web, out, port, opens_browser=browser):
        with (
            fleet_metrics(resolved, metrics_host, metrics_port) as metrics,
            run_display(metrics, view, quiet=quiet) as display,
        ):
            finished = run_scenario(resolved, options, display)
        _show_results(finished, display, result or (), json=json)
    if not finished.passed:
        raise typer.Exit(THRESHOLD_BROKE)


def _show_results(finished: RunResult, display: RunDisplay, files: Sequence[Path], *, json: bool) -> None:
    """Print the results of a run, and write its verdict to *files*."""
    for file in files:
        write_result(finished.summary, file)
    display.show(finished, json=json)
