"""Files of a real device: its PEE for programs that recommend, and its state for its next start."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np

from devices.protocol.agent import Agent, Receipt
from devices.recommender.item_catalogue import ItemCatalogue
from devices.recommender.learning import LearningSettings, learn_pee
from devices.recommender.pee_file import (
    MAX_FILE_BYTES,
    Fields,
    ItemNumbers,
    Pee,
    begins_as_pee,
    encode_pee,
    prefix_of,
)
from devices.standalone.interaction_log import InteractionLog
from wire.errors import InputError
from wire.input_files import read_at_most
from wire.messages import ModelNotice
from wire.output_files import check_overwritable, write_atomically
from wire.update_part import build_body, encode_part

UNLIMITED_BYTES = 2**53


class SavedState(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    rename={"reported_group": "told_group"},
):
    """The state of a device: the blocks that it holds, as the update parts that would bring them."""

    format: int = 1
    seq: int
    """The last report's number."""
    user: int
    reported_group: int | None
    """The group, where the device reports that and not its user."""
    notice: ModelNotice
    parts: tuple[bytes, ...]
    met: tuple[int, ...] = ()
    """The items that the user has met, the latest last."""
    read_bytes: int = 0
    """Bytes of the file of interactions that they come from."""

    @classmethod
    def from_agent(cls, agent: Agent, notice: ModelNotice, log: InteractionLog | None = None) -> Self:
        """Return the state of *agent*, whose user's interactions are in *log*."""
        prefix, parts = agent.prefix, list[bytes]()
        if prefix is not None and agent.model == notice.version:
            layers = prefix.layers
            tensors = {
                "layer_blocks": np.array(layers.blocks[1:], dtype="<u4").tobytes(),
                "layer_bytes": np.array(layers.bytes[1:], dtype="<u4").tobytes(),
            }
            if agent.user_vector:
                tensors["user_vector"] = agent.user_vector
            bring = [tensors] + ([prefix.part(0, agent.held)._asdict()] if agent.held else [])
            named: dict[str, Any] = {"model": agent.model, "group": agent.group, "first": 0}
            named |= {"target": agent.held, "parts": len(bring)}
            parts = [
                encode_part(build_body(**named, part=at, tensors=each), agent.seq)
                for at, each in enumerate(bring, 1)
            ]
        return cls(
            seq=agent.seq,
            user=agent.user,
            reported_group=agent.reported_group,
            notice=notice,
            parts=tuple(parts),
            met=() if log is None else log.met,
            read_bytes=0 if log is None else log.read_bytes,
        )

    def restore(self, agent: Agent) -> bool:
        """Let *agent* hold these blocks; return whether it does: it must have the same user and group."""
        if not self.parts:
            return True
        if (agent.user, agent.reported_group) != (self.user, self.reported_group):
            return False
        begun, agent.seq = agent.seq, self.seq
        agent.set_budget(UNLIMITED_BYTES)
        agent.reported_bytes = UNLIMITED_BYTES
        receipts = [agent.receive(part) for part in self.parts]
        agent.seq = begun
        return receipts[-1] in (Receipt.APPLIED, Receipt.CONFIRMED)


def check_files(pee: Path | None, state: Path | None) -> None:
    """Check that a device may keep its PEE and its state in these files: others are not overwritten.

    Raises:
        InputError: one is a file of somebody else, or they are one file.
    """
    if pee is not None and state is not None and os.path.realpath(pee) == os.path.realpath(state):
        raise InputError(f"--pee and --state must be two files: both are {pee}")
    if pee is not None:
        check_overwritable(pee, begins_as_pee, "PEE file")
    if state is not None:
        check_overwritable(state, _begins_as_kept, "state of a device")


def _begins_as_kept(head: bytes) -> bool:
    return head[1:].startswith(b"\xa6format")


def remove_pee(path: Path) -> None:
    """Remove the PEE file at *path*, if one is there; what is none stays."""
    with suppress(InputError):
        check_overwritable(path, begins_as_pee, "PEE file")
        Path(os.path.realpath(path)).unlink(missing_ok=True)


def write_state(path: Path, kept: SavedState) -> None:
    """Write a device's state; a crash leaves the one before."""
    write_atomically(path, msgspec.msgpack.encode(kept))


def read_state(path: Path) -> SavedState | None:
    """Return a device's state; None where there is none, or it is damaged."""
    try:
        return msgspec.msgpack.decode(read_at_most(path, MAX_FILE_BYTES), type=SavedState)
    except (OSError, InputError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def write_pee(
    path: Path,
    agent: Agent,
    source: str,
    met: Sequence[int] = (),
    catalogue: ItemCatalogue | None = None,
) -> None:
    """Write what *agent* holds as a PEE file; where it can recommend nothing there is no file.

    The names of items are not on the wire: without a catalogue they have their numbers only.

    Args:
        path: where to.
        agent: who holds it.
        source: where it is from, in words.
        met: items that the user has met, the latest last: the vector is learned from them.
        catalogue: the names of the items of this model version; None: they have none.

    Raises:
        RemoteProtocolError: the bytes of a block are not valid in its codec.
    """
    prefix = agent.prefix
    items = [] if prefix is None else [item for item in met if item < prefix.geometry.items]
    if prefix is None or not agent.layer or not (agent.user_vector or items):
        remove_pee(path)
        return
    delivered = agent.user_vector or bytes(4 * prefix.geometry.dim)  # none: learned from nothing but *met*
    pee = Pee(
        Fields(
            model=agent.model,
            group=agent.group,
            layer=agent.layer,
            budget_bytes=agent.budget_bytes,
            source=source,
            user=str(agent.user),
        ),
        prefix_of(prefix.geometry, prefix.part(0, prefix.layers.blocks[agent.layer])),
        np.frombuffer(delivered, dtype="<f4"),
        ItemNumbers(prefix.geometry.items) if catalogue is None else catalogue.names,
        np.empty(0, dtype=np.int64),
        None if catalogue is None else catalogue.titles,
    )
    if items:
        pee = learn_pee(pee, items, LearningSettings())
    write_atomically(path, encode_pee(pee))
