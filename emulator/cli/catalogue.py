"""``peelfleet catalogue``: the names of a model's items, and the numbers of its users, as files."""

from pathlib import Path
from typing import Annotated

import msgspec
from rich.console import Console

from cloud.data.titles import read_titles
from devices.recommender.item_catalogue import encode_catalogue
from emulator.cli.options import Data, Overrides, ScenarioFile, Store, path_option, quiet_option
from emulator.cli.terminal import RunDisplay
from emulator.cli.terminal_width import print_prose
from emulator.simulation.model_cache import PreparedModel, prepare_model, resolve_data
from scenarios.language.load import load
from wire.output_files import write_atomically


class NumberedUser(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the file of users: what a device of that user needs to know."""

    user: str
    """The user's id in the data that the model was trained with."""
    number: int
    """`user` in a budget report."""
    group: int
    """`group` in a budget report."""
    known: list[int]
    """Numbers of the items that the user has met in training or validation."""


def catalogue(
    scenario: ScenarioFile,
    out: Annotated[Path | None, path_option("The file; else MODEL.catalogue.jsonl.", "--out", "-o")] = None,
    users: Annotated[
        Path | None, path_option("Write the users' numbers and known items into this file, too.")
    ] = None,
    set_: Overrides = None,
    data: Data = None,
    store: Store = None,
    quiet: Annotated[bool, quiet_option("Print nothing.")] = False,
) -> None:
    """Write the ids and titles of a model's items, so that devices can name what they recommend."""
    resolved = load(scenario, set_ or [])
    source = resolve_data(resolved.data, data)
    titles = read_titles(source)
    with RunDisplay(quiet=quiet) as display:
        model = prepare_model(source, resolved.model, store, display.on_training, measured=False)
    interactions, version = model.interactions, model.store.version
    found = [titles.get(name, "") for name in interactions.item_ids]
    out = out or Path(f"{version}.catalogue.jsonl")
    write_atomically(out, encode_catalogue(version, interactions.item_ids, found))
    if users is not None:
        write_atomically(users, msgspec.json.Encoder().encode_lines(numbered_users(model)))
    if not quiet:
        named = sum(map(bool, found))
        print_prose(
            Console(), f"{out}: {len(found):,} items of model {version}, {named:,} with a title"
            + (f"; {users}: {len(interactions.user_ids):,} users" if users is not None else ""),
        )  # fmt: skip


def numbered_users(model: PreparedModel) -> list[NumberedUser]:
    """Return the users of a model, in the order of their numbers."""
    groups, interactions = model.store.user_groups, model.interactions
    return [
        NumberedUser(
            user=name, number=number, group=int(groups[number]), known=interactions.known[number].tolist()
        )
        for number, name in enumerate(interactions.user_ids)
    ]
