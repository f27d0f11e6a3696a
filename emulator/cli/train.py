"""``peelfleet train``: a trained model, described in ten lines or as JSON."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec
import typer

from emulator.cli.options import Data, Overrides, ScenarioFile, Store
from emulator.cli.terminal import RunDisplay
from emulator.simulation.model_cache import PreparedModel, prepare_model, resolve_data
from emulator.simulation.trace_files import trace_warnings
from scenarios.language.load import load
from scenarios.language.warnings import scenario_warnings
from wire.text import printable_lines
from wire.units import approximate_bytes


def train(
    scenario: ScenarioFile,
    set_: Overrides = None,
    data: Data = None,
    store: Store = None,
    json: Annotated[bool, typer.Option("--json", help="Print the results of all stages as JSON.")] = False,
) -> None:
    """Train a scenario's model and cache its block store; a cached model is not trained again."""
    resolved = load(scenario, set_ or [])
    # Training needs no trace, but the run after it does.
    for warning in [*scenario_warnings(resolved), *trace_warnings([resolved])]:
        typer.echo(printable_lines(f"warning: {warning}"), err=True)
    with RunDisplay() as display:
        model = prepare_model(resolve_data(resolved.data, data), resolved.model, store, display.on_training)
        display.on_model(model, counts=False)
    for line in [as_json(model)] if json else as_lines(model):
        typer.echo(line)


def as_lines(model: PreparedModel) -> Iterator[str]:
    """Yield the lines that describe a model; the last one is the folder of its store."""
    store, interactions = model.store, model.interactions
    yield f"model {store.version}, {'trained now' if model.trained else model.source}"
    yield f"data: {interactions.name}, {interactions.n_users:,} users, {interactions.n_items:,} items"
    yield from interactions.read.lines() if interactions.read is not None else ()
    sizes = (len(part.items) for part in (interactions.train, interactions.valid, interactions.test))
    yield "interactions: {:,} to train, {:,} to validate, {:,} to test".format(*sizes)
    codec = store.geometry.codec
    yield f"user groups: {len(store.groups)}, with up to {store.layers} layers of {codec} blocks"
    largest = max(group.layers.bytes[-1] for group in store.groups)
    yield f"the full table takes {approximate_bytes(largest)} on a device"
    yield f"quality of the full table: {_quality(store.report)}"
    yield "its folder is named by data and settings, not by the model version"
    yield f"store: {model.folder}"


def as_json(model: PreparedModel) -> str:
    """Return everything that is known of a model as a JSON object."""
    store, interactions = model.store, model.interactions
    read = interactions.read
    tree = {
        "model_version": store.version,
        "store": str(model.folder),
        "trained": model.trained,
        "user_groups": len(store.groups),
        "layers": store.layers,
        "geometry": store.geometry,
        "rows": None if read is None else read.rows,
        "dropped": {} if read is None else read.dropped,
        "notes": [] if read is None else read.notes,
        **store.report,
    }
    return msgspec.json.format(msgspec.json.encode(tree), indent=2).decode()


def _quality(report: Mapping[str, Any]) -> str:  # Any: JSON
    test = report.get("test")
    names = {"ndcg_at_10": "NDCG@10", "ndcg_at_20": "NDCG@20", "recall_at_20": "Recall@20"}
    values = test if isinstance(test, dict) else {}
    known = [f"{words} {values[key]:.4f}" for key, words in names.items() if values.get(key) is not None]
    return f"{', '.join(known)} (test, {values['users']:,} users)" if known else "not measured"
