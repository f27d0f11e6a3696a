"""Synthetic interactions from a world of known structure: groups of users with different tastes.

Every item is of one kind and has a base popularity by Zipf's law. Every user group prefers kinds to its own
degree, and every user differs a little from the group. A user's interactions are drawn without repeats in
proportion to exp(log popularity + taste of the group + taste of the user). Letters: U users, I items, C
kinds of items, G user groups.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloud.data.interactions import Interactions
from cloud.data.sources import ByRatio, Synthetic
from cloud.data.splits import EventList, split_events
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray, IntArray

COUNT_SPREAD = 0.5  # standard deviation of the logarithm of a user's number of interactions
MIN_COUNT = 10  # enough for each part of a 7:1:2 split


@dataclass(frozen=True, eq=False)
class World:
    """The structure behind the interactions.

    Shapes: ``group_of`` (U,), ``kind_of`` (I,), ``group_taste`` (G, C), ``log_odds`` (U, C).
    """

    group_of: IntArray
    kind_of: IntArray
    group_taste: FloatArray
    log_odds: FloatArray


def generate(config: Synthetic) -> Interactions:
    """Return the interactions of the world of *config*, split 7:1:2 per user."""
    world = build_world(config)
    popularity = log_popularity(config)
    counts = _interaction_counts(config)
    rng = stream(config.seed, "synthetic", "interactions")
    chosen = [
        draw_items(rng, popularity + world.log_odds[user, world.kind_of], count)
        for user, count in enumerate(counts)
    ]
    events = EventList(np.repeat(np.arange(config.users), counts), np.concatenate(chosen), None)
    parts = split_events(events, config.users, ByRatio(seed=config.seed))
    return Interactions(
        "synthetic",
        parts.train,
        parts.valid,
        parts.test,
        _ids("user", config.users),
        item_names(config),
    )


def build_world(config: Synthetic) -> World:
    """Return the group of each user, the kind of each item, and the users' tastes."""
    rng = stream(config.seed, "synthetic", "world")
    group_of = rng.permutation(np.arange(config.users) % config.user_groups)
    kind_of = rng.permutation(np.arange(config.items) % config.item_kinds)
    group_taste = rng.normal(0, config.group_taste, (config.user_groups, config.item_kinds))  # (G, C)
    own_taste = rng.normal(0, config.own_taste, (config.users, config.item_kinds))  # (U, C)
    return World(group_of, kind_of, group_taste, group_taste[group_of] + own_taste)


def log_popularity(config: Synthetic) -> FloatArray:
    """Return the logarithms of Zipf's law, ranks shuffled over the items, shape (I,)."""
    ranks = stream(config.seed, "synthetic", "popularity").permutation(config.items) + 1
    return -config.popularity_skew * np.log(ranks)


def _interaction_counts(config: Synthetic) -> IntArray:
    """Return the number of interactions of each user, shape (U,); at most half of the items."""
    # exp(mu + sigma^2 / 2) is the mean of a log-normal
    mu = np.log(config.interactions_per_user) - COUNT_SPREAD**2 / 2
    counts = stream(config.seed, "synthetic", "counts").lognormal(mu, COUNT_SPREAD, config.users)
    most = max(config.items // 2, 1)
    return np.clip(np.rint(counts).astype(np.int64), min(MIN_COUNT, most), most)


def draw_items(rng: np.random.Generator, log_weights: FloatArray, count: int) -> IntArray:
    """Draw *count* different items with odds exp(*log_weights*), by the Gumbel-top-k trick.

    To add Gumbel noise to log weights and take the largest is to draw without replacement (Kool, van Hoof,
    Welling 2019).
    """
    lost: NDArray[np.float64] = -(log_weights + rng.gumbel(size=len(log_weights)))
    chosen = np.argpartition(lost, count - 1)[:count]  # faster than sorting all items
    return chosen[np.argsort(lost[chosen])].astype(np.int64)


def item_names(config: Synthetic) -> tuple[str, ...]:
    """Return the names of the items."""
    return _ids("item", config.items)


def _ids(word: str, count: int) -> tuple[str, ...]:
    return tuple(f"{word}-{number}" for number in range(count))
