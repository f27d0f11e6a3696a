"""``peelfleet fold-in``: a block store with users more, who were not there when it was trained."""

import csv
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import typer

from cloud.blocks.fold_in import KnownUsers, add_users
from cloud.blocks.fold_in import fold_in as fold_users_in
from cloud.blocks.store import load_store, save_store
from devices.recommender.scoring import whole_table
from emulator.cli.options import Json, path_option, quiet_option
from emulator.simulation.evaluation import full_prefixes
from wire.errors import InputError
from wire.input_files import read_at_most
from wire.ranking_metrics import ItemLists
from wire.text import printable
from wire.units import BYTE_UNITS

MAX_FILE_BYTES = BYTE_UNITS["GiB"]


def fold_in(
    store: Annotated[Path, typer.Argument(help="The folder of a block store.", show_default=False)],
    interactions: Annotated[Path, path_option("CSV file: a user and the number of an item in each line.")],
    out: Annotated[Path, path_option("Folder of the new store.", "--out", "-o")],
    json: Json = False,
    quiet: Annotated[bool, quiet_option("Print no line for each new user.")] = False,
) -> None:
    """Write a block store with new users: group and vector of each from the items that the user has met."""
    if out.exists():
        raise InputError(f"{printable(out)}: exists already, and a store is never changed")
    model = load_store(store)
    names, met = read_histories(interactions, model.geometry.items)
    prefixes = full_prefixes(model)

    users = fold_users_in(KnownUsers.of(model), lambda group: whole_table(prefixes[group]), met)
    later = add_users(model, users)
    save_store(later, out)
    groups = users.groups.tolist()
    if json:
        described = {
            "store": str(out),
            "model_version": later.version,
            "users": later.users,
            "new_users": [
                {"user": number, "name": name, "user_group": group, "items": len(met[number - model.users])}
                for number, (name, group) in enumerate(zip(names, groups, strict=True), model.users)
            ],
        }
        typer.echo(msgspec.json.encode(described).decode())
        return
    typer.echo(
        f"{printable(out)}: version {later.version}, {later.users:,} users, {len(names):,} of them new"
    )
    if quiet:
        return
    for number, (name, group) in enumerate(zip(names, groups, strict=True), model.users):
        typer.echo(f"user {number}: {printable(name)}, group {group}, {len(met[number - model.users])} items")


def read_histories(path: Path, items: int) -> tuple[list[str], ItemLists]:
    """Return the names of the users in the file *path*, in order, and the items of each.

    Raises:
        InputError: it cannot be read, or a line is not a user and the number of one of *items* items.
    """
    name = printable(path)
    try:
        text = read_at_most(path, MAX_FILE_BYTES, "a file of interactions", pipes=True).decode("utf-8-sig")
        rows = [(number, row) for number, row in enumerate(csv.reader(text.splitlines()), 1) if row]
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{name}: is no CSV in UTF-8: {error}") from None
    users: dict[str, int] = {}
    pairs = []
    for number, row in rows:
        item = row[1].strip() if len(row) == 2 else ""
        if not (item.isascii() and item.isdigit() and len(item) < 20 and int(item) < items):
            raise InputError(
                f"{name}, line {number}: {printable(','.join(row), 40)!r} must be a user and the number "
                f"of an item below {items}"
            )
        pairs.append((users.setdefault(row[0].strip(), len(users)), int(item)))
    if not pairs:
        raise InputError(f"{name}: has no interactions")
    owners, met = np.array(pairs, dtype=np.int64).T
    return list(users), ItemLists.of_pairs(owners, met, len(users))
