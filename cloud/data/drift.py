"""A synthetic world whose users' tastes move as simulated time passes, and which newcomers join.

The world at the start is that of `cloud.data.synthetic`, from which the model has learned. A user's log-odds
for kinds of items then follow an Ornstein-Uhlenbeck process around 0: after a half-life the correlation with
the taste at the start is one half, while the strength of tastes stays. All that happens to a user comes from
a stream of the user's own. Letters: L interactions, U users, I items, C kinds of items.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from msgspec import Meta

from cloud.data.interactions import Interactions, LaterInteractions
from cloud.data.sources import Synthetic
from cloud.data.synthetic import COUNT_SPREAD, World, build_world, draw_items, item_names, log_popularity
from cloud.settings import Seed, Setting
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray, IntArray
from wire.units import NS_PER_S, TIME_UNITS, Duration, format_duration

_DAY_S = TIME_UNITS["d"] / NS_PER_S


class Drift(Setting, frozen=True, kw_only=True):
    """Interactions of a synthetic world after the model is trained; it needs data of type `synthetic`."""

    visits_per_day: Annotated[float, Meta(gt=0.0, le=1e4)] = 1.0
    """Mean number of visits of a user in a day of simulated time, at random moments; users vary
    log-normally around it."""

    items_per_visit: Annotated[int, Meta(ge=1, le=1000)] = 3
    """Number of items of a visit; none is met twice by a user."""

    taste_half_life: Duration = Duration(15 * TIME_UNITS["d"])
    """Time after which a user's taste has a correlation of one half with what it was."""

    newcomers: Annotated[float, Meta(ge=0.0, le=10.0)] = 0.2
    """Number of users who join in the course of the run, at random moments, as a share of the users of
    the data."""

    seed: Seed = 0
    """Seed of what happens in the world."""

    def __post_init__(self) -> None:
        if self.taste_half_life <= 0:
            raise ValueError(f"taste_half_life(={format_duration(self.taste_half_life)}) must be > 0")


@dataclass(frozen=True, eq=False)
class _DriftingWorld:
    """A world in catalogue order, and the settings of its course."""

    config: Synthetic
    settings: Drift
    tastes: World
    popularity: FloatArray
    """The logarithm of each item's popularity, shape (I,)."""
    kind_of: IntArray
    stop_s: float

    def visits(self, user: int, known: IntArray) -> Iterator[tuple[float, IntArray]]:
        """Yield the times and the items of a user's visits; *known* items are not met."""
        settings = self.settings
        rng = stream(settings.seed, "drift", user)
        activity = rng.lognormal(-(COUNT_SPREAD**2) / 2, COUNT_SPREAD)
        mean_pause_s = _DAY_S / (settings.visits_per_day * activity)
        newcomer = user >= self.config.users
        time_s = rng.uniform(0, self.stop_s) if newcomer else rng.exponential(mean_pause_s)
        taste, taste_s = self._newcomer_taste(rng) if newcomer else self.tastes.log_odds[user], 0.0
        if newcomer:
            taste_s = time_s
        left = np.ones(len(self.kind_of), dtype=bool)
        left[known] = False
        while time_s < self.stop_s and left.any():
            taste, taste_s = self._move(taste, time_s - taste_s, rng), time_s
            odds = np.where(left, self.popularity + taste[self.kind_of], -np.inf)
            items = draw_items(rng, odds, min(settings.items_per_visit, int(left.sum())))
            left[items] = False
            yield time_s, items
            time_s += rng.exponential(mean_pause_s)

    def _newcomer_taste(self, rng: np.random.Generator) -> FloatArray:
        group_taste = self.tastes.group_taste
        own_taste = rng.normal(0, self.config.own_taste, self.config.item_kinds)
        return np.asarray(group_taste[int(rng.integers(len(group_taste)))] + own_taste)

    def _move(self, taste: FloatArray, span_s: float, rng: np.random.Generator) -> FloatArray:
        """Return a taste after *span_s*: the exact step of the process, however long."""
        half_life_s = self.settings.taste_half_life / NS_PER_S
        kept = 2.0 ** (-span_s / half_life_s)
        spread = float(np.hypot(self.config.group_taste, self.config.own_taste))
        return np.asarray(kept * taste + np.sqrt(1 - kept**2) * rng.normal(0, spread, len(taste)))


def drift(config: Synthetic, settings: Drift, interactions: Interactions, stop_s: float) -> LaterInteractions:
    """Return the interactions of users in the *stop_s* seconds after the start.

    Args:
        config: the world.
        settings: of its course.
        interactions: those of the world, in catalogue order; their known items are not met again.
        stop_s: the length of the run.
    """
    tastes = build_world(config)
    number_of = {name: number for number, name in enumerate(item_names(config))}
    order = np.array([number_of[name] for name in interactions.item_ids])
    popularity, kind_of = log_popularity(config)[order], tastes.kind_of[order]
    world = _DriftingWorld(config, settings, tastes, popularity, kind_of, stop_s)
    newcomers, nothing = round(settings.newcomers * config.users), np.empty(0, dtype=np.int64)
    parts = [
        (user, time_s, items)
        for user in range(config.users + newcomers)
        for time_s, items in world.visits(user, interactions.known[user] if user < config.users else nothing)
    ]
    parts.sort(key=lambda part: part[1])
    counts = np.array([len(items) for _, _, items in parts], dtype=np.int64)
    return LaterInteractions(
        np.repeat(np.array([user for user, _, _ in parts], dtype=np.int64), counts),
        np.concatenate([nothing, *(items for _, _, items in parts)]),
        np.repeat(np.array([time_s for _, time_s, _ in parts]), counts),
        tuple(f"newcomer-{number}" for number in range(newcomers)),
        (),
    )
