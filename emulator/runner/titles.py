"""Names of what is recommended to the users of a run, where the items of its data have titles."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from cloud.data.sources import Data
from cloud.data.titles import read_titles
from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.scoring import ItemTable
from devices.simulated.roster import DeviceSpec
from emulator.report.recommended import Recommender
from emulator.simulation.model_cache import PreparedModel
from wire.errors import InputError
from wire.ranking_metrics import top_k
from wire.text import printable

SHOWN: Final = 3
"""Items for each user."""
_MOST_CHARACTERS: Final = 40


def title_recommender(data: Data, model: PreparedModel, devices: Sequence[DeviceSpec]) -> Recommender | None:
    """Return a function that names the first recommendations of devices; None without titles.

    It ranks with the whole table.

    Raises:
        InputError: the file of titles is damaged.
    """
    titles = read_titles(data)
    if not any(item in titles for item in model.interactions.item_ids):
        return None

    def recommend(shown: Mapping[str, int]) -> Mapping[str, Sequence[str]]:
        return {
            name: list(_first_titles(model, titles, devices[number].user)) for name, number in shown.items()
        }

    return recommend


def _first_titles(model: PreparedModel, titles: Mapping[str, str], user: int) -> Iterator[str]:
    """Yield the titles of the first items for *user*; an item without a title has its name."""
    store, interactions = model.store, model.interactions
    group = store.groups[int(store.user_groups[user])]
    prefix = BlockPrefix(store.geometry, group.layers)
    prefix.append(group.blocks)
    table = ItemTable(prefix)
    table.hold(group.count)
    # As `recommend` compares them: as float32, items that the user has met left out.
    scores = np.asarray(table.scores(store.user_vectors[user][None]), dtype=np.float32)
    if user < interactions.n_users:  # a newcomer knows nothing yet
        scores[:, interactions.known[user]] = -np.inf
    for item in top_k(scores, min(SHOWN, interactions.n_items))[0].tolist():
        if scores[0, item] > -np.inf:
            name = interactions.item_ids[item]
            yield printable(titles.get(name, name), _MOST_CHARACTERS)


def recommender_or_warning(
    data: Data, model: PreparedModel, devices: Sequence[DeviceSpec]
) -> tuple[Recommender | None, str | None]:
    """Return `title_recommender`, or a warning if the titles cannot be read: the run is not lost for that."""
    try:
        return title_recommender(data, model, devices), None
    except InputError as error:
        return None, f"the report shows no titles: {error}"
