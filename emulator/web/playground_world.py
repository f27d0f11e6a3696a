"""The model and its users as the page of the playground sees them: titles, known items, quality."""

import functools
from dataclasses import dataclass

import numpy as np

from cloud.data.sources import Data, Synthetic
from cloud.data.synthetic import build_world
from cloud.data.titles import read_titles
from devices.recommender.quality import HeldOut
from emulator.simulation.evaluation import evaluate, qualities_by_user
from emulator.simulation.model_cache import PreparedModel
from emulator.web.made_up_titles import kind_name, made_up_title

CHOICES = 60
"""Users that the page offers."""


@dataclass(frozen=True)
class Item:
    """An item as the page shows it."""

    title: str
    kind: str


class PlaygroundWorld:
    """The model and its users.

    Args:
        data: where the model's interactions come from.
        model: trained.
    """

    def __init__(self, data: Data, model: PreparedModel) -> None:
        self._model = model
        self._truth = HeldOut(model.interactions.known, model.interactions.test)
        self._items = _items(data, model)
        measurable = np.flatnonzero(model.interactions.test.counts() > 0)
        self.users = measurable[:CHOICES].tolist()
        """The numbers of the users that the page offers."""

    def describe(self) -> dict[str, object]:
        """Return titles, users and geometry, as JSON types."""
        store = self._model.store
        return {
            "model": store.version,
            "titles": [item.title for item in self._items],
            "kinds": [item.kind for item in self._items],
            "users": self.users,
            "most_bytes": max(group.layers.bytes[-1] for group in store.groups),
            "data": self._model.interactions.name,
        }

    @functools.lru_cache(maxsize=256)  # noqa: B019  # one world lives as long as the program
    def user(self, number: int) -> dict[str, object]:
        """Return a user for the page: the items met, and the quality of each layer."""
        store = self._model.store
        quality = qualities_by_user(store, evaluate(store, self._truth, [number]))[number]
        known = self._truth.known[number]
        return {
            "user": number,
            "group": quality.user_group,
            "known": known.tolist(),
            "layer_bytes": list(quality.layers.bytes),
            "ndcg_at_10": [quality.at(layer).ndcg_at_10 for layer in range(quality.top + 1)],
        }


def _items(data: Data, model: PreparedModel) -> list[Item]:
    """Return all items in catalogue order; a synthetic world has made-up titles, and its own kinds."""
    names = model.interactions.item_ids
    if isinstance(data, Synthetic):
        kinds = build_world(data).kind_of
        numbers = [int(name.rpartition("-")[2]) for name in names]
        return [Item(made_up_title(number), kind_name(int(kinds[number]))) for number in numbers]
    titles = read_titles(data)
    return [Item(titles.get(name, name), "") for name in names]
