"""Trains the model of a scenario, and describes it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from emulator.runner.observer import RunObserver
from emulator.simulation.model_cache import PreparedModel, prepare_model, resolve_data
from emulator.simulation.trace_files import trace_warnings
from scenarios.language.scenario import Scenario
from scenarios.language.warnings import scenario_warnings
from wire.units import approximate_bytes


def train_model(
    scenario: Scenario, data: Path | None, store: Path | None, observer: RunObserver
) -> PreparedModel:
    """Return the model of *scenario*, trained now or taken from the cache.

    Args:
        scenario: the scenario.
        data: replaces the path of its data.
        store: where models are cached; None: the default.
        observer: receives warnings and the progress of training.

    Raises:
        InputError: the data, the scenario or a cached store is wrong.
        RunError: the model cannot be stored.
    """
    # Training needs no trace, but the run after it does.
    for warning in [*scenario_warnings(scenario), *trace_warnings([scenario])]:
        observer.on_warning(warning)
    return prepare_model(resolve_data(scenario.data, data), scenario.model, store, observer.on_training)


def describe_model(model: PreparedModel) -> Iterator[str]:
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


def model_facts(model: PreparedModel) -> dict[str, object]:
    """Return everything that is known of a model, for JSON."""
    store, interactions = model.store, model.interactions
    read = interactions.read
    return {
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


def _quality(report: Mapping[str, Any]) -> str:  # Any: JSON
    test = report.get("test")
    names = {"ndcg_at_10": "NDCG@10", "ndcg_at_20": "NDCG@20", "recall_at_20": "Recall@20"}
    values = test if isinstance(test, dict) else {}
    known = [f"{words} {values[key]:.4f}" for key, words in names.items() if values.get(key) is not None]
    return f"{', '.join(known)} (test, {values['users']:,} users)" if known else "not measured"
