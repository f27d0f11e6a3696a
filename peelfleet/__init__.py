"""Peelfleet from Python: run scenarios in a script or a notebook, and have the results as tables and plots.

The names in `__all__` are all that is public, and they stay. Importing this package imports none of the
rest: that happens when a name is used for the first time. docs/python.md has an example of each.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from peelfleet.comparisons import Comparisons as Comparisons
    from peelfleet.evaluations import Evaluation as Evaluation
    from peelfleet.evaluations import evaluate as evaluate
    from peelfleet.experiments import compare as compare
    from peelfleet.experiments import load as load
    from peelfleet.experiments import replay as replay
    from peelfleet.experiments import run as run
    from peelfleet.experiments import scenarios as scenarios
    from peelfleet.experiments import sweep as sweep
    from peelfleet.experiments import train as train
    from peelfleet.model_store import ModelStore as ModelStore
    from peelfleet.progress import PeelfleetWarning as PeelfleetWarning
    from peelfleet.run_results import Run as Run
    from peelfleet.sweep_results import Sweep as Sweep
    from scenarios.language.scenario import Scenario as Scenario
    from wire.errors import InputError as InputError
    from wire.errors import RunError as RunError
    from wire.plugins.installed import use_plugins as use_plugins

__all__ = [
    "Comparisons",
    "Evaluation",
    "InputError",
    "ModelStore",
    "PeelfleetWarning",
    "Run",
    "RunError",
    "Scenario",
    "Sweep",
    "compare",
    "evaluate",
    "load",
    "replay",
    "run",
    "scenarios",
    "sweep",
    "train",
    "use_plugins",
]

_MODULES: Final = {
    "Comparisons": "peelfleet.comparisons",
    "Evaluation": "peelfleet.evaluations",
    "InputError": "wire.errors",
    "ModelStore": "peelfleet.model_store",
    "PeelfleetWarning": "peelfleet.progress",
    "Run": "peelfleet.run_results",
    "RunError": "wire.errors",
    "Scenario": "scenarios.language.scenario",
    "Sweep": "peelfleet.sweep_results",
    "compare": "peelfleet.experiments",
    "evaluate": "peelfleet.evaluations",
    "load": "peelfleet.experiments",
    "replay": "peelfleet.experiments",
    "run": "peelfleet.experiments",
    "scenarios": "peelfleet.experiments",
    "sweep": "peelfleet.experiments",
    "train": "peelfleet.experiments",
    "use_plugins": "wire.plugins.installed",
}
"""The module of each public name."""


def __getattr__(name: str) -> Any:  # Any: of the type of the name
    """Import the module of a public name when it is used for the first time."""
    if name not in _MODULES:
        raise AttributeError(f"module 'peelfleet' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return list(__all__)
