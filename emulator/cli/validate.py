"""``peelfleet validate``: a check of a scenario file, its traces and its data."""

from typing import Annotated

import typer

from cloud.data.sources import has_files
from emulator.cli.options import Data, Overrides, ScenarioFile
from emulator.simulation.trace_files import check_trace_files
from scenarios.language.load import dump, load
from scenarios.language.sweep_expansion import load_plan
from scenarios.language.warnings import distinct_warnings
from wire.redaction import redact_passwords
from wire.text import printable_lines


def validate(
    scenario: ScenarioFile,
    set_: Overrides = None,
    show: Annotated[bool, typer.Option(help="Print the scenario with every default filled in.")] = False,
    data: Data = None,
) -> None:
    """Check a scenario file, its traces, and its data if they exist; name every error."""
    resolved = load(scenario, set_ or [])
    checked = [resolved]
    if resolved.sweep is not None:
        checked += [combination.scenario for combination in load_plan(scenario, set_ or []).combinations]
    for warning in [*distinct_warnings(checked), *check_trace_files(checked)]:
        typer.echo(printable_lines(f"warning: {warning}"), err=True)
    if data is not None or any(has_files(scenario.data) for scenario in checked):
        from emulator.cli.data_check import check_data  # imports pyarrow, which most checks do not need

        for line in check_data([scenario.data for scenario in checked], data):
            typer.echo(printable_lines(line), err=True)
    typer.echo(redact_passwords(dump(resolved)) if show else f"{scenario}: {resolved.name} is valid")
