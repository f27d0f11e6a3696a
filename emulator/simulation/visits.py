"""The visits of a scenario's users, and the newcomers among them as users of a model version."""

from dataclasses import replace
from typing import assert_never

import numpy as np

from cloud.blocks.store import BlockStore, build_store, load_store, read_origin, save_store
from cloud.blocks.store_cache import store_key
from cloud.data.drift import drift
from cloud.data.interactions import Interactions, LaterInteractions
from cloud.data.sources import Synthetic
from devices.recommender.scoring import ItemTable
from devices.timeline.visits import FleetVisits
from emulator.simulation.evaluation import full_prefixes
from emulator.simulation.model_cache import PreparedModel
from scenarios.language.interactions import DriftingInteractions, ReplayedInteractions
from scenarios.language.scenario import Scenario
from wire.errors import InputError
from wire.ranking_metrics import FloatArray, IntArray, ItemLists, top_k
from wire.units import NS_PER_S

START_DEPTH = 10
"""The ranks of a list that count when the start of newcomers is chosen."""


def make_visits(scenario: Scenario, interactions: Interactions) -> FleetVisits | None:
    """Return the visits of all users in the run of *scenario*; None if users meet nothing.

    Raises:
        InputError: the data have no interactions after the cut, or none of them comes in the run.
    """
    settings = scenario.interactions
    stop_ns = int(scenario.stop_time)
    match settings:
        case None:
            return None
        case ReplayedInteractions():
            later = interactions.later
            if later is None or not len(later.users):
                raise InputError(
                    f"{interactions.name}: no interaction is after the cut: see data.split.warm_up"
                )
            times_ns = _replayed_ns(later.times_s, settings.speed, stop_ns)
        case DriftingInteractions():
            assert isinstance(scenario.data, Synthetic)
            later = drift(scenario.data, settings, interactions, stop_ns / NS_PER_S)
            times_ns = (later.times_s * NS_PER_S).astype(np.int64)
        case _:
            assert_never(settings)
    in_run = times_ns < stop_ns
    if not in_run.any():
        raise InputError(f"{interactions.name}: no interaction comes before stop_time")
    return FleetVisits.of_events(
        later.users[in_run],
        times_ns[in_run],
        later.items[in_run],
        _with_newcomers(interactions.known, later),
        interactions.n_users,
        interactions.n_items,
    )


def _replayed_ns(times_s: FloatArray, speed: float | None, stop_ns: int) -> IntArray:
    """Return the simulated times of interactions; without a *speed* the last one comes at the end."""
    if speed is not None:
        # Seconds that are too many for nanoseconds come after any run.
        return np.minimum(times_s / speed * NS_PER_S, 2.0**62).astype(np.int64)
    return (times_s / max(float(times_s[-1]), 1.0) * (stop_ns - 1)).astype(np.int64)


def _with_newcomers(lists: ItemLists, later: LaterInteractions) -> ItemLists:
    ends = np.full(len(later.new_user_ids), lists.starts[-1])
    return ItemLists(np.concatenate([lists.starts, ends]), lists.items)


def admit_newcomers(model: PreparedModel, visits: FleetVisits) -> PreparedModel:
    """Return *model* with the newcomers as further users, in a store of its own beside it.

    A newcomer starts with the vector and the group of `newcomer_start`: nothing is known of the person.
    """
    count = int(visits.newcomers.sum())
    if not count:
        return model
    key = store_key("newcomers", model.store.version, count, model.interactions.popularity().tolist())
    folder = model.cache / key
    if not folder.exists():
        store, origin = model.store, read_origin(model.folder)
        group, vector = newcomer_start(store, model.interactions.popularity())
        vectors = np.concatenate([store.user_vectors, np.tile(vector, (count, 1))])
        groups = np.concatenate([store.user_groups, np.full(count, group)])
        extended = build_store(
            store.geometry, groups=store.groups, user_vectors=vectors, user_groups=groups, report=store.report
        )
        save_store(extended, folder, origin)
    return replace(model, store=load_store(folder), folder=folder)


def newcomer_start(store: BlockStore, popularity: IntArray) -> tuple[int, FloatArray]:
    """Return the group and the vector with which a person starts of whom nothing is known.

    The vector is the mean of a group's members. Of all groups that one is taken whose list for it is worth
    most over the training interactions: the sum of their items' discounted gains.

    Args:
        store: of the model version.
        popularity: number of training interactions of each item.
    """
    discounts = 1 / np.log2(np.arange(2, START_DEPTH + 2))
    best = (-1.0, 0, np.zeros(store.geometry.dim))
    for number, prefix in full_prefixes(store).items():
        members = store.user_vectors[store.user_groups == number]
        if not len(members):
            continue
        vector, table = members.mean(axis=0, dtype=np.float64), ItemTable(prefix)
        table.hold(len(prefix.ids))
        ranked = top_k(table.scores(vector[None].astype(np.float32)), START_DEPTH)[0]
        worth = float((popularity[ranked] * discounts[: len(ranked)]).sum())
        if worth > best[0]:
            best = (worth, number, vector)
    return best[1], best[2]
