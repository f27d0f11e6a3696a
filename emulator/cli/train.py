"""``peelfleet train``: a trained model, described in ten lines or as JSON."""

from typing import Annotated

import msgspec
import typer

from emulator.cli.options import Data, Overrides, ScenarioFile, Store
from emulator.cli.terminal import RunDisplay
from emulator.runner.train_model import describe_model, model_facts, train_model
from scenarios.language.load import load


def train(
    scenario: ScenarioFile,
    set_: Overrides = None,
    data: Data = None,
    store: Store = None,
    json: Annotated[bool, typer.Option("--json", help="Print the results of all stages as JSON.")] = False,
) -> None:
    """Train a scenario's model and cache its block store; a cached model is not trained again."""
    with RunDisplay() as display:
        model = train_model(load(scenario, set_ or []), data, store, display)
        display.on_model(model, counts=False)
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(model_facts(model)), indent=2))
    else:
        for line in describe_model(model):
            typer.echo(line)
