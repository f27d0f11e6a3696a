"""From the rows of a table, one interaction a row, to filtered and split interactions.

Problems become an `InputError` of one line with the location, the value found and the value expected; rows
that are left out are counted. Letters: L interactions, U users, I items.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cloud.data.cut import cut_events, divide_at_cut
from cloud.data.interactions import Interactions, ReadCounts
from cloud.data.readers.columns import (
    Numbers,
    TableRows,
    encode_ids,
    mixes_time_units,
    parse_numbers,
    parse_optional_numbers,
    parse_times,
)
from cloud.data.readers.text import shorten
from cloud.data.sources import ByCut, ByRatio, ByTime, Ratings, SplitPerUser
from cloud.data.splits import EventList, drop_repeats, k_core, keep_split, split_events
from wire.errors import InputError


def interactions_of(data: Ratings, rows: TableRows) -> Interactions:
    """Return the interactions of *rows*, filtered and split as *data* says.

    Raises:
        InputError: a value is wrong, or no interactions are left.
    """
    users, user_names = encode_ids(rows, "user")
    items, item_names = encode_ids(rows, "item")
    notes = list(rows.notes)
    events = EventList(users, items, _times(data, rows, notes), rows.parts)
    if data.split is None and events.times is None and rows.parts is None:
        notes.append(f"{rows.path.name}: without times, it is divided at random: data.split {{type: ratio}}")
    dropped: dict[str, int] = {}

    def keep(fewer: EventList, reason: str) -> EventList:
        dropped[reason] = len(events) - len(fewer)
        return fewer

    if "rating" in rows.columns:
        liked = _is_liked(data, rows, notes)
        events = keep(events.keep(liked), f"below min_rating {data.min_rating:g}")
    events = keep(drop_repeats(events), "repeated")
    after = events
    if isinstance(data.split, ByCut):
        events, after = _cut(data.split, rows, events)
    minima = data.min_user_interactions, data.min_item_interactions
    events = keep(k_core(events, *minima), "of users or items with too few interactions")
    if not len(events):
        raise InputError(
            f"{rows.path}: no interaction is left with min_rating(={data.min_rating}), "
            f"min_user_interactions(={data.min_user_interactions}) and "
            f"min_item_interactions(={data.min_item_interactions}): "
            f"{ReadCounts(len(rows), dropped).describe()}"
        )
    counts = ReadCounts(len(rows), dropped, tuple(notes))
    if isinstance(data.split, ByCut):
        return divide_at_cut(data.split, rows.path.stem, (events, after), (user_names, item_names), counts)
    split = data.split if isinstance(data.split, ByTime | ByRatio) else _default_split(events)
    return _split(split, rows.path, events, user_names, item_names, counts)


def _cut(split: ByCut, rows: TableRows, events: EventList) -> tuple[EventList, EventList]:
    """Return the interactions before the cut, and those after it.

    Raises:
        InputError: there are no times, the source is split already, or all have one time.
    """
    if rows.parts is not None:
        raise InputError(f"{rows.path}: it is split already, and data.split(=cut) needs one file")
    if events.times is None:
        raise InputError(f"{rows.path}: it has no times, and data.split(=cut) needs them")
    if not len(events):
        return events, events
    before, after = cut_events(events, split.warm_up)
    if not len(before):
        raise InputError(
            f"{rows.path}: no interaction is before data.split.warm_up(={split.warm_up:.4g}) of them: the "
            "first ones all have one time"
        )
    return before, after


def _is_liked(data: Ratings, rows: TableRows, notes: list[str]) -> NDArray[np.bool_]:
    """Return the mask of rows with a sufficient rating; without a minimum, missing ratings are sufficient."""
    if data.min_rating > 0:
        return np.asarray(parse_numbers(rows, "rating") >= data.min_rating)
    ratings = parse_optional_numbers(rows, "rating")
    unknown = int(np.isnan(ratings).sum())
    if unknown:
        notes.append(f"{rows.path.name}: ratings that are no numbers: {unknown:,}; their rows stay")
    return ~(ratings < data.min_rating)


def _times(data: Ratings, rows: TableRows, notes: list[str]) -> Numbers | None:
    """Return the times; None if there are none, or if they are invalid and the split does not need them."""
    if "time" not in rows.columns:
        return None
    try:
        times = parse_times(rows)
    except InputError:
        if not isinstance(data.split, ByRatio) and rows.parts is None:
            raise
        return None
    if mixes_time_units(times):
        notes.append(
            f"{rows.path.name}: column {shorten(rows.names['time'])} seems to have seconds in some rows and "
            "milliseconds in others"
        )
    return times


def _split(
    settings: SplitPerUser,
    path: Path,
    events: EventList,
    user_names: Sequence[str],
    item_names: Sequence[str],
    counts: ReadCounts,
) -> Interactions:
    """Split; the remaining users and items keep the order of their first appearance."""
    kept_users, users = np.unique(events.users, return_inverse=True)
    kept_items, items = np.unique(events.items, return_inverse=True)
    renumbered = EventList(users, items, events.times, events.parts)
    split = split_events if events.parts is None else keep_split
    parts = split(renumbered, len(kept_users), settings)
    return Interactions(
        path.stem,
        parts.train,
        parts.valid,
        parts.test,
        tuple(user_names[user] for user in kept_users),
        tuple(item_names[item] for item in kept_items),
        counts,
    )


def _default_split(events: EventList) -> SplitPerUser:
    """Return the split by time if there are times, else at random."""
    return ByRatio() if events.times is None else ByTime()
