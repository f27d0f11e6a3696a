"""``peelfleet replay``: a recorded run again, or its budgets under another policy."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from emulator.cli.diff import SAMPLES, compare_logs
from emulator.cli.exit_statuses import THRESHOLD_BROKE
from emulator.cli.options import (
    Broker,
    Data,
    Force,
    Out,
    Overrides,
    RunDirectory,
    RunJson,
    RunQuiet,
    Shards,
    Store,
    Workers,
)
from emulator.cli.terminal import RunDisplay
from emulator.runner.replay_run import replay_run
from emulator.runner.runner import RunOptions
from wire.errors import InputError


def replay(
    run_directory: RunDirectory,
    set_: Overrides = None,
    clock: Annotated[
        Literal["virtual", "lockstep"] | None, typer.Option(help="The clock, instead of virtual.")
    ] = None,
    broker: Broker = None,
    data: Data = None,
    out: Out = Path("runs"),
    store: Store = None,
    workers: Workers = None,
    shards: Shards = 1,
    force: Force = False,
    diff: Annotated[bool, typer.Option("--diff", help="Show the differences of its event log.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 99 if its event log differs.")] = False,
    json: RunJson = False,
    quiet: RunQuiet = False,
) -> None:
    """Play a recorded run again: its budgets and arrivals, or its budgets under another policy."""
    options = RunOptions(
        out=out, broker=broker, data=data, store=store, shards=shards, workers=workers, force=force
    )
    if json and diff:
        raise InputError("--json and --diff exclude each other: `peelfleet diff --json` shows differences")
    with RunDisplay(quiet=quiet) as display:
        finished = replay_run(run_directory, set_ or [], clock, options, display)
    display.show(finished, json=json)
    if diff:
        compare_logs(run_directory, finished.folder, SAMPLES).show(quiet=quiet)
    if strict and not finished.summary["replay_log_equal"]:
        raise typer.Exit(THRESHOLD_BROKE)
