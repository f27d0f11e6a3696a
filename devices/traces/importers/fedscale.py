"""FedScale's ``client_behave_trace``: the times at which each client was active, as a pickled dictionary.

``{client: {"duration": s, "inactive": [s], "finish_time": s, "active": [s], "model": name}}``. FedScale
takes a client to be active from ``active[i]`` to ``inactive[i]``, at any time modulo ``finish_time``.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from devices.traces.importers.importer import Importer, ImportOptions, read_name, rows_of_changes, source_name
from devices.traces.importers.safe_pickle import UnsafePickleError, read_plain_pickle
from devices.traces.importers.sources import read_source
from devices.traces.writer import Row, Sidecar
from wire.errors import InputError
from wire.text import printable


class Behaviour(msgspec.Struct):
    """The record of one client; times in seconds."""

    finish_time: int | float
    active: list[int | float]
    inactive: list[int | float]


def rows(path: Path, options: ImportOptions) -> Iterator[Row]:
    """Yield the changes of the online state, by client in the order of the file.

    Raises:
        InputError: the file is not such a trace; names the damaged client.
    """
    shown = printable(path)
    content = read_source(path)
    try:
        # No pickle begins with a brace; some copies are JSON.
        read = msgspec.json.decode if content.lstrip()[:1] == b"{" else read_plain_pickle
        clients = read(content)
    except UnsafePickleError as error:
        raise InputError(f"{shown}: {error}") from None
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InputError(f"{shown}: is no JSON: {printable(error, 200)}") from None
    if not isinstance(clients, dict):
        raise InputError(f"{shown}: must hold a dictionary of clients, not {type(clients).__name__}")
    seen: set[str] = set()
    for number, (client, record) in enumerate(clients.items(), start=1):
        if options.devices is not None and number > options.devices:
            return
        name = read_name(f"{shown}: row {number}", client, "client")
        where = f"{shown}: row {number}: client {printable(repr(client), 60)}"
        if name in seen:
            raise InputError(f"{where}: must be a number or text that no other client has")
        seen.add(name)
        yield from _client(where, name, record)


def _client(where: str, device: str, record: Any) -> Iterator[Row]:
    try:
        behaviour = msgspec.convert(record, Behaviour)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InputError(f"{where}: {printable(error, 200)}") from None
    end_s = behaviour.finish_time
    if not 0 < end_s < 2**53:
        raise InputError(f"{where}: finish_time(={_short(end_s)}) must be > 0")
    moments = [(0.0, {"online": False})]
    for begin, end in _spans(where, behaviour):
        if begin < end_s:
            moments += [(float(begin), {"online": True}), (float(min(end, end_s)), {"online": False})]
    yield from rows_of_changes(device, (moment for moment in moments if moment[0] < end_s), float(end_s))


def _spans(where: str, behaviour: Behaviour) -> Sequence[tuple[float, float]]:
    """Return the times of activity in order; times that touch or overlap are joined."""
    active, inactive = behaviour.active, behaviour.inactive
    if len(active) != len(inactive):
        raise InputError(
            f"{where}: active(={len(active)} times) must have as many as inactive(={len(inactive)} times)"
        )
    merged: list[tuple[float, float]] = []
    for begin, end in sorted(zip(active, inactive, strict=True)):
        if not 0 <= begin <= end < 2**53:
            raise InputError(
                f"{where}: active(={_short(begin)}) to inactive(={_short(end)}) must rise from 0 or more"
            )
        if merged and begin <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((begin, end))
    return merged


def _short(number: float) -> str:
    return printable(number, 40)


def sidecar(path: Path, options: ImportOptions) -> Sidecar:
    """Return the sidecar."""
    return Sidecar(
        source=f"FedScale client_behave_trace, from {source_name(path)}",
        licence="as its source: FedScale's repository is under Apache 2.0; see its notes on the data",
        sampling="active and inactive times of clients, in seconds",
        transform="online from active[i] to inactive[i], times that touch or overlap merged and cut at "
        "finish_time, where the series is over; duration and model left out",
    )


IMPORTER = Importer("FedScale client_behave_trace (pickle, read without unpickling)", rows, sidecar)
