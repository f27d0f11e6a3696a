"""``peelfleet pee``: a file with the PEE that a budget selects for one user of a trained model."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import typer
from rich.console import Console

from cloud.data.interactions import Interactions
from cloud.data.load import load as load_data
from cloud.data.titles import read_titles
from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.pee_file import Fields, ItemNames, Pee, encode_pee, prefix_of
from devices.recommender.quality import HeldOut, user_qualities
from emulator.cli.options import Data, Json, Overrides, Store, path_option, quiet_option, size_option
from emulator.cli.terminal import RunDisplay
from emulator.cli.terminal_width import print_prose
from emulator.simulation.model_cache import PreparedModel, prepare_model, resolve_data
from scenarios.language.load import load, shipped
from wire.errors import InputError
from wire.output_files import atomic_file
from wire.units import Bytes, format_bytes


def pee(
    user: Annotated[str, typer.Option(help="The user's name in the data.")],
    budget: Annotated[Bytes, size_option("Memory for the item embeddings, such as 64KiB.")],
    scenario: Annotated[
        Path | None, typer.Argument(help="A scenario file (YAML); else the quickstart.", show_default=False)
    ] = None,
    out: Annotated[Path, path_option("The file to write.", "--out", "-o")] = Path("pee.safetensors"),
    set_: Overrides = None,
    data: Data = None,
    store: Store = None,
    json: Json = False,
    quiet: Annotated[bool, quiet_option("Print no progress and nothing about the PEE.")] = False,
) -> None:
    """Write the PEE that a budget selects for one user: a file to recommend with, see `recommend`."""
    resolved = load(scenario or quickstart(), set_ or [])
    source = resolve_data(resolved.data, data)
    number = user_number(load_data(source), user)  # before the model is trained, which takes time
    titles = read_titles(source)
    with atomic_file(out) as draft:
        with RunDisplay(quiet=quiet) as display:
            model = prepare_model(source, resolved.model, store, display.on_training, measured=False)
            display.on_model(model)
        selected = replace(cut_pee(model, number, budget), item_titles=titles_of(model.interactions, titles))
        draft.write_bytes(encode_pee(selected))
    if json:
        typer.echo(msgspec.json.encode(pee_facts(selected, model, number, out)).decode())
    elif not quiet:
        print_prose(Console(), f"{out}: {describe(selected, model, number)}")


def quickstart() -> Path:
    """Return the scenario file that is the default."""
    (path,) = (path for path in shipped() if path.stem == "quickstart")
    return path


def user_number(interactions: Interactions, name: str) -> int:
    """Return the number of the user *name* in the data.

    Raises:
        InputError: the data have no such user.
    """
    if name in interactions.user_ids:
        return interactions.user_ids.index(name)
    some = ", ".join(map(repr, interactions.user_ids[:3]))
    raise InputError(
        f"--user(={name!r}) must be one of the {interactions.n_users:,} users of {interactions.name}, "
        f"named as in its source, such as {some}"
    )


def titles_of(interactions: Interactions, titles: Mapping[str, str]) -> ItemNames | None:
    """Return the titles of all items by number, empty where there is none; None if no item has one."""
    texts = [titles.get(name, "") for name in interactions.item_ids]
    return ItemNames.of(texts) if any(texts) else None


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
            f"--budget(={format_bytes(budget)}) must be at least {format_bytes(group.layers.bytes[1])}, the "
            "size of the smallest PEE of this user"
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
        prefix_of(store.geometry, group.blocks.part(0, count, group.starts, store.geometry.codec)),
        store.user_vectors[user],
        ItemNames.of(interactions.item_ids),
        interactions.known[user],
    )


def describe(pee: Pee, model: PreparedModel, user: int) -> str:
    """Return one line: the blocks of a PEE, its bytes and the budget, and its quality."""
    geometry, layers = pee.shelf.geometry, model.store.groups[pee.fields.group].layers
    return (
        f"PEE of user {pee.fields.user!r}: {pee.blocks:,} of {layers.blocks[-1]:,} {geometry.codec} blocks "
        f"(layer {pee.fields.layer} of {layers.top}) that rank {pee.ranked_items:,} of {geometry.items:,} "
        f"items; {pee.resident_bytes:,} B of {int(pee.fields.budget_bytes):,} B; {_quality(pee, model, user)}"
    )


def pee_facts(pee: Pee, model: PreparedModel, user: int, file: Path) -> dict[str, object]:
    """Return the facts of `describe`, and more of them, for JSON."""
    fields, geometry = pee.fields, pee.shelf.geometry
    layers = model.store.groups[fields.group].layers
    quality = _measured(pee, model, user)
    return {
        "file": str(file),
        "user": fields.user,
        "model_version": fields.model,
        "user_group": fields.group,
        "layer": fields.layer,
        "layers": layers.top,
        "blocks": pee.blocks,
        "all_blocks": layers.blocks[-1],
        "codec": geometry.codec,
        "ranked_items": pee.ranked_items,
        "items": geometry.items,
        "resident_bytes": pee.resident_bytes,
        "budget_bytes": int(fields.budget_bytes),
        "test_items": len(model.interactions.test[user]),
        "ndcg_at_10": None if quality is None else quality[0],
        "full_ndcg_at_10": None if quality is None else quality[1],
    }


def _quality(pee: Pee, model: PreparedModel, user: int) -> str:
    quality = _measured(pee, model, user)
    if quality is None:
        return "no test interactions to measure it by"
    held, full = quality
    test_items = len(model.interactions.test[user])
    return f"NDCG@10 {held:.4f} on {test_items} test items, {full:.4f} with all blocks"


def _measured(pee: Pee, model: PreparedModel, user: int) -> tuple[float, float] | None:
    """Return NDCG@10 of the PEE and of all blocks; None if the user has no test items."""
    interactions, store, number = model.interactions, model.store, pee.fields.group
    if not len(interactions.test[user]):
        return None
    complete = BlockPrefix(store.geometry, store.groups[number].layers)
    complete.append(store.groups[number].blocks)
    truth = HeldOut(interactions.known, interactions.test)
    quality = user_qualities(
        {number: complete}, np.array([user]), store.user_groups, store.user_vectors, truth
    )
    return quality[user].at(pee.fields.layer).ndcg_at_10, quality[user].full.ndcg_at_10
