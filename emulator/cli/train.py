"""``peelfleet train``: a trained model, described in ten lines, in one, or as JSON."""

from typing import Annotated

import msgspec
import typer
from rich.console import Console

from emulator.cli.options import Data, Overrides, ScenarioFile, Store, quiet_option
from emulator.cli.terminal import RunDisplay
from emulator.cli.terminal_width import print_prose
from emulator.runner.train_model import describe_model, model_facts, train_model
from scenarios.language.load import load


def train(
    scenario: ScenarioFile,
    set_: Overrides = None,
    data: Data = None,
    store: Store = None,
    json: Annotated[bool, typer.Option("--json", help="Print the results of all stages as JSON.")] = False,
    quiet: Annotated[bool, quiet_option("Print only the line with the folder of the store.")] = False,
) -> None:
    """Train a scenario's model and cache its block store; a cached model is not trained again."""
    with RunDisplay(quiet=quiet) as display:
        model = train_model(load(scenario, set_ or []), data, store, display)
        display.on_model(model, counts=False)
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(model_facts(model)), indent=2))
    else:
        lines, terminal = list(describe_model(model)), Console()
        for line in lines[-1:] if quiet else lines:
            print_prose(terminal, line)
