"""FLASH's ``state_traces.json``: states of phones, as ``{guid: {"guid", "model", "messages"}}``.

``messages`` holds a line per event, ``YYYY-MM-DD HH:MM:SS<tab>state``.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import tzinfo
from pathlib import Path
from typing import Final

import msgspec

from devices.traces.importers.importer import (
    Importer,
    ImportOptions,
    Known,
    keep_complete,
    read_name,
    rows_of_changes,
    source_name,
)
from devices.traces.importers.sources import read_text
from devices.traces.importers.timestamps import read_moment_ns, read_zone
from devices.traces.writer import Row, Sidecar
from wire.errors import InputError
from wire.text import printable
from wire.units import NS_PER_S

RULES: Final = ("network", "wifi", "eligible")
NETWORKS: Final = ("wifi", "2g", "3g", "4g", "5g")
EFFECTS: Final[Mapping[str, Mapping[str, object]]] = {
    **{network: {"network": network} for network in NETWORKS},
    "unknown": {"network": "unknown"},
    "phone_off": {"on": False},
    "phone_on": {"on": True},
    "screen_on": {"screen": True},
    "screen_off": {"screen": False},
    "screen_lock": {"locked": True},
    "screen_unlock": {"locked": False},
    "battery_charged_on": {"charging": True},
    "battery_charged_off": {"charging": False},
    "battery_low": {},
    "battery_okay": {},
}
"""The values that follow from each state; a battery level, such as 71.0%, is ignored."""

_LEVEL = re.compile(r"[0-9]+(\.[0-9]+)?%")


class Phone(msgspec.Struct):
    """The record of one phone."""

    messages: str | msgspec.UnsetType | None = msgspec.UNSET
    guid: str | int = ""


def rows(path: Path, options: ImportOptions) -> Iterator[Row]:
    """Yield the online state, the network and the use of phones, by phone in the order of the file.

    Raises:
        InputError: the file is not such a trace; names the damaged phone and line.
    """
    if options.online not in RULES:
        raise InputError(f"--online(={options.online!r}) must be one of {', '.join(RULES)}")
    phones = _phones(path, options)
    taken = (phone for number, phone in enumerate(phones, start=1) if number <= (options.devices or number))
    yield from keep_complete(
        ((name, list(_phone(name, where, phone, options))) for name, where, phone in taken),
        ("online",), "phone", options,
    )  # fmt: skip


def _phones(path: Path, options: ImportOptions) -> Iterator[tuple[str, str, Phone]]:
    """Yield (name, its place in the file for errors, record) of each phone."""
    text = read_text(path, options.encoding)
    try:
        read = _decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InputError(f"{printable(path)}: is no FLASH state trace: {printable(error, 200)}") from None
    named = list(read.items()) if isinstance(read, dict) else [(phone.guid, phone) for phone in read]
    if not read:
        raise InputError(f"{printable(path)}: is no FLASH state trace: it holds no phone")
    if all(phone.messages is msgspec.UNSET for _, phone in named):
        raise InputError(f"{printable(path)}: is no FLASH state trace: no phone has messages")
    seen: set[str] = set()
    for guid, phone in named:
        name = read_name(printable(path), guid, "guid")
        if name in seen:
            raise InputError(f"{printable(path)}: guid(={printable(name, 40)}) must name one phone only")
        seen.add(name)
        yield name, f"{printable(path)}: {name[:60]!r}", phone


def _decode(text: str) -> dict[str, Phone] | list[Phone]:
    """Return the phones of a dictionary, of a list, or of one object per line."""
    try:
        return msgspec.json.decode(text, type=dict[str, Phone] | list[Phone])
    except msgspec.DecodeError:
        if "\n{" not in text.strip():
            raise
        return msgspec.json.Decoder(Phone).decode_lines(text)


def _phone(guid: str, where: str, phone: Phone, options: ImportOptions) -> Iterator[Row]:
    zone = read_zone(options.zone)
    events = sorted(_events(where, phone.messages or "", zone), key=lambda event: event[0])  # stable
    if not events:
        return
    start = events[0][0]
    state: dict[str, object] = {}
    moments: list[tuple[float, Known]] = []
    for at, effect in events:
        state |= effect
        moments.append(((at - start) / NS_PER_S, _known(state, options.online)))
    yield from rows_of_changes(guid, moments)


def _events(where: str, messages: str, zone: tzinfo) -> Iterator[tuple[int, Mapping[str, object]]]:
    at_ns: int | None = None
    for row, line in enumerate(messages.replace("\0", "").split("\n"), start=1):
        if not line.strip():
            continue
        at, tab, word = line.partition("\t")
        state = word.strip().lower()
        if not tab or (state not in EFFECTS and not _LEVEL.fullmatch(state)):
            raise InputError(
                f"{where}: row {row}: messages(={line[:60]!r}) must be a time, a tab and a known state"
            )
        try:
            at_ns = read_moment_ns(at, "iso", zone, at_ns)
        except ValueError:
            raise InputError(f"{where}: row {row}: time(={at[:40]!r}) must be YYYY-MM-DD HH:MM:SS") from None
        yield at_ns, EFFECTS.get(state, {})


def _known(state: Mapping[str, object], rule: str) -> Known:
    """Return the columns that *state* determines; none before the first event of a column."""
    known: Known = {}
    if "network" in state:
        known["network"] = state["network"]
    if "network" in state or state.get("on") is False:
        known["online"] = _online(state, rule)
    if "screen" in state or "locked" in state:
        known["foreground"] = state.get("screen", True) and not state.get("locked", False)
    return known


def _online(state: Mapping[str, object], rule: str) -> bool:
    if state.get("on") is False:
        return False
    if rule == "network":
        return state["network"] in NETWORKS
    idle = state.get("screen") is False or state.get("locked") is True
    return state["network"] == "wifi" and (rule == "wifi" or (idle and state.get("charging") is True))


def sidecar(path: Path, options: ImportOptions) -> Sidecar:
    """Return the sidecar."""
    rule = {
        "network": "while the phone is on and a network of known kind is connected",
        "wifi": "while on wifi and the phone is on",
        "eligible": "while on wifi, charging, and the screen off or locked (FLASH's rule for training)",
    }[options.online]
    return Sidecar(
        source=f"FLASH state_traces.json, from {source_name(path)}",
        licence="as its source: FLASH's repository is under BSD-2-Clause; its data may have terms",
        sampling="a row where a state event changed something, to the second",
        transform=f"online {rule}; foreground while the screen is on and not locked; "
        "battery events left out; each phone from its first event to its last",
    )


IMPORTER = Importer("FLASH state_traces.json", rows, sidecar)
