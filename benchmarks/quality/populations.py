"""The users that are asked: members, who were part of training, and newcomers, who were not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from benchmarks.quality.peel import train_cached
from benchmarks.quality.pretraining import learn_full
from cloud.blocks.fold_in import KnownUsers, fold_in
from cloud.data.interactions import Interactions
from cloud.training.baselines.full_model import FullModel, first_users
from cloud.training.config import Training
from wire.random_streams import stream
from wire.ranking_metrics import IntArray, ItemLists

FOLDS: Final = 5
"""A seed holds out a fifth of the users: five seeds ask every user once."""


@dataclass(frozen=True, eq=False)
class Population:
    """Users with test items, and the model that is to serve them."""

    title: str
    full: FullModel
    interactions: Interactions
    """Of all users of the model; those with test items are asked."""
    numbers: IntArray
    """The number of each user in the data."""
    groups: IntArray | None
    """The user group of each, for the worst of them; None where groups have too few users for that."""


def members(interactions: Interactions, training: Training) -> Population:
    """Return the users who were part of training."""
    groups = train_cached(interactions, training).user_groups
    everybody = np.arange(interactions.n_users)
    return Population("members", learn_full(interactions, training), interactions, everybody, groups)


def newcomers(interactions: Interactions, training: Training) -> Population:
    """Return a fifth of the users, folded in from their training interactions into a model of the others."""
    drawn = stream(0, "newcomers").permutation(interactions.n_users)
    late = np.sort(drawn[training.seed % FOLDS :: FOLDS])
    numbers = np.concatenate([np.setdiff1d(drawn, late), late])
    everyone, history = hold_out(interactions, late)
    trained = first_users(everyone, interactions.n_users - len(late))
    full = learn_full(trained, training)
    known = KnownUsers(full.users, np.zeros(len(full.users), dtype=np.int64), trained.train.counts().mean())
    folded = fold_in(known, lambda _group: full.items, history)
    users = np.concatenate([full.users, folded.vectors])
    return Population("newcomers", replace(full, users=users, newcomers=history), everyone, numbers, None)


def hold_out(interactions: Interactions, late: IntArray) -> tuple[Interactions, ItemLists]:
    """Return the interactions with the users *late* last, and the training interactions of these.

    What these have in training and validation is known, what they have in the test is asked for; the others
    train. Items are in the catalogue order of the others, whose test lists are empty.
    """
    others = np.setdiff1d(np.arange(interactions.n_users), late)
    order = np.concatenate([others, late])
    popularity = np.bincount(interactions.train.take(others).items, minlength=interactions.n_items)
    items = np.lexsort((np.arange(interactions.n_items), -popularity))
    numbers = np.argsort(items)

    def of(lists: ItemLists, users: IntArray) -> ItemLists:
        """Return the lists of those of all users in order that are among *users*."""
        owners, wanted = lists.take(order).pairs()
        chosen = np.isin(order[owners], users)
        return ItemLists.of_pairs(owners[chosen], numbers[wanted[chosen]], len(order))

    train = of(interactions.train, order)
    return replace(
        interactions,
        train=train.union(of(interactions.valid, late)),
        valid=of(interactions.valid, others),
        test=of(interactions.test, late),
        user_ids=tuple(interactions.user_ids[user] for user in order),
        item_ids=tuple(interactions.item_ids[item] for item in items),
    ), train.take(np.arange(len(others), len(order)))


POPULATIONS: Final[Mapping[str, Callable[[Interactions, Training], Population]]] = {
    "members": members,
    "newcomers": newcomers,
}
