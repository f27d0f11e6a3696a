"""``peelfleet validate``: a check of a scenario file, its traces and its data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cloud.data.sources import has_files
from emulator.cli.options import Data, Json, Overrides, ScenarioFile, quiet_option
from emulator.simulation.trace_files import check_trace_files
from scenarios.language.load import dump, load
from scenarios.language.scenario import Scenario
from scenarios.language.sweep_expansion import load_plan
from scenarios.language.warnings import distinct_warnings
from wire.errors import InputError
from wire.redaction import redact_passwords
from wire.text import printable_lines

Checked = tuple[Scenario, list[str], list[str]]
"""A scenario, warnings, and lines that describe its data."""


def validate(
    scenario: ScenarioFile,
    set_: Overrides = None,
    show: Annotated[bool, typer.Option(help="Print the scenario with every default filled in.")] = False,
    data: Data = None,
    json: Json = False,
    quiet: Annotated[bool, quiet_option("Print nothing but warnings and errors.")] = False,
) -> None:
    """Check a scenario file, its traces, and its data if they exist; name every error."""
    try:
        resolved, warnings, read = check_scenario_file(scenario, set_ or [], data)
    except InputError as error:
        if json:
            typer.echo(as_json(scenario, None, [], [], error.lines))
        raise
    for line in [*(f"warning: {warning}" for warning in warnings), *([] if quiet else read)]:
        typer.echo(printable_lines(line), err=True)
    if json:
        typer.echo(as_json(scenario, resolved, warnings, read, []))
    elif show:
        typer.echo(redact_passwords(dump(resolved)))
    elif not quiet:
        typer.echo(f"{scenario}: {resolved.name} is valid")


def check_scenario_file(file: Path, changes: Sequence[str], data: Path | None) -> Checked:
    """Check a scenario, its sweep, its traces, and its data if they exist.

    Args:
        file: the scenario file, or the name of one that comes with peelfleet.
        changes: the values of ``--set``.
        data: replaces the path of its data, which must then exist.

    Raises:
        InputError: something is wrong; it has a line for each error.
    """
    resolved = load(file, changes)
    checked = [resolved]
    if resolved.sweep is not None:
        checked += [combination.scenario for combination in load_plan(file, changes).combinations]
    warnings, read = [*distinct_warnings(checked), *check_trace_files(checked)], list[str]()
    if data is not None or any(has_files(scenario.data) for scenario in checked):
        from emulator.cli.data_check import check_data  # imports pyarrow, which most checks do not need

        read += check_data([scenario.data for scenario in checked], data)
    return resolved, warnings, read


def as_json(
    file: Path,
    scenario: Scenario | None,
    warnings: Sequence[str],
    read: Sequence[str],
    errors: Sequence[str],
) -> str:
    """Return the result of a check as a line of JSON for programs.

    Args:
        file: as it was named.
        scenario: None if it is not valid.
        warnings: on a valid scenario.
        read: lines that describe its data.
        errors: the reasons why it is not valid.
    """
    described = {
        "file": str(file),
        "valid": not errors,
        "name": None if scenario is None else scenario.name,
        "errors": errors,
        "warnings": warnings,
        "data": read,
    }
    return redact_passwords(msgspec.json.encode(described).decode())
