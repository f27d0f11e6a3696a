"""``peelfleet pee``: the PEE that a budget selects for one user, cut out of a trained model into a file."""

from pathlib import Path

import numpy as np

from cloud.data.interactions import Interactions
from devices.protocol.block_prefix import Shelf
from devices.recommender.pee_file import Fields, ItemNames, Pee, a_shelf
from devices.recommender.quality import HeldOut, user_qualities
from emulator.simulation.model_cache import PreparedModel
from scenarios.language.load import shipped
from wire.errors import InputError
from wire.units import Bytes, format_bytes, parse_bytes


def quickstart() -> Path:
    """Return the scenario whose model is used where none is named."""
    (path,) = (path for path in shipped() if path.stem == "quickstart")
    return path


def read_budget(text: str) -> Bytes:
    """Return the budget that ``--budget`` gives.

    Raises:
        InputError: it is no number of bytes.
    """
    try:
        return parse_bytes(text)
    except ValueError as error:
        raise InputError(f"--budget: {error}") from None


def user_number(interactions: Interactions, name: str) -> int:
    """Return the number of the user called *name* in the data.

    Raises:
        InputError: there is none.
    """
    if name in interactions.user_ids:
        return interactions.user_ids.index(name)
    some = ", ".join(map(repr, interactions.user_ids[:3]))
    raise InputError(
        f"--user {name!r}: {interactions.name} has no such user; its {interactions.n_users:,} users are "
        f"named as in its source, beginning with {some}"
    )


def cut_pee(model: PreparedModel, user: int, budget: Bytes) -> Pee:
    """Return the PEE that *budget* selects for *user*.

    Raises:
        InputError: the budget is too small for any block.
    """
    store, interactions = model.store, model.interactions
    number = int(store.user_groups[user])
    group = store.groups[number]
    layer = group.layers.best(budget)
    if layer == 0:
        raise InputError(
            f"--budget {format_bytes(budget)}: too small for any block; the least useful budget for this "
            f"user is {format_bytes(group.layers.bytes[1])}"
        )
    count = group.layers.blocks[layer]
    fields = Fields(
        model=store.version,
        group=number,
        layer=layer,
        budget_bytes=budget,
        source=interactions.name,
        user=interactions.user_ids[user],
    )
    return Pee(
        fields,
        a_shelf(store.geometry, group.blocks.part(0, count, group.starts, store.geometry.codec)),
        store.user_vectors[user],
        ItemNames.of(interactions.item_ids),
        interactions.known[user],
    )


def describe(pee: Pee, model: PreparedModel, user: int) -> str:
    """Return one line: what the PEE holds, its bytes against the budget, how good it is."""
    geometry, layers = pee.shelf.geometry, model.store.groups[pee.fields.group].layers
    return (
        f"PEE of user {pee.fields.user!r}: {pee.blocks:,} of {layers.blocks[-1]:,} {geometry.codec} blocks "
        f"(layer {pee.fields.layer} of {layers.top}) that rank {pee.ranked_items:,} of {geometry.items:,} "
        f"items; {pee.resident_bytes:,} B of {int(pee.fields.budget_bytes):,} B; {_quality(pee, model, user)}"
    )


def _quality(pee: Pee, model: PreparedModel, user: int) -> str:
    interactions, store, number = model.interactions, model.store, pee.fields.group
    wanted = len(interactions.test[user])
    if not wanted:
        return "no test interactions to measure it by"
    whole = Shelf(store.geometry, store.groups[number].layers)
    whole.fill(store.groups[number].blocks)
    truth = HeldOut(interactions.known, interactions.test)
    quality = user_qualities({number: whole}, np.array([user]), store.user_groups, store.user_vectors, truth)
    held, full = quality[user].at(pee.fields.layer), quality[user].full
    return (
        f"NDCG@10 {held.ndcg_at_10:.4f} on {wanted} test items, {full.ndcg_at_10:.4f} with the whole ranking"
    )
