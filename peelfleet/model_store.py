"""A trained model: the folder of its block store, and what is known of it."""

import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from emulator.runner.train_model import describe_model, model_facts
from emulator.simulation.model_cache import PreparedModel


class ModelStore:
    """A model that `train` has trained, or has found in its cache.

    It can stand where a folder can: ``peelfleet.run("quickstart", {"model": {"store": model}})``.
    """

    def __init__(self, prepared: PreparedModel) -> None:
        self._prepared = prepared

    @property
    def path(self) -> Path:
        """The folder of the block store."""
        return self._prepared.folder

    @property
    def version(self) -> str:
        """The model version, which depends on all that was learned."""
        return self._prepared.store.version

    @property
    def trained(self) -> bool:
        """True if it was trained now, False if it was there."""
        return self._prepared.trained

    @property
    def facts(self) -> Mapping[str, Any]:  # Any: JSON
        """Everything that ``peelfleet train --json`` prints: sizes, quality, the results of all stages."""
        return model_facts(self._prepared)

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __str__(self) -> str:
        return "\n".join(describe_model(self._prepared))

    def __repr__(self) -> str:
        return f"<ModelStore {self.version} in {str(self.path)!r}>"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"
