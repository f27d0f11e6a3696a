"""Settings of a real device."""

from dataclasses import dataclass
from pathlib import Path

from devices.protocol.report_policy import SILENCE_JITTER
from wire.signatures import Verify


@dataclass(frozen=True)
class DeviceSettings:
    """Settings of a real device."""

    fleet: str
    device: str
    user: int | None
    """The user; None: the device reports only its group, and computes with a vector of its own."""
    group: int | None
    interval_s: float = 5.0
    """Time between two looks at its memory."""
    retry_s: float = 30.0
    """Time to wait for an answer; it doubles with each report in a row that has none."""
    retry_jitter: float = SILENCE_JITTER
    """The share of that wait that is drawn on top of it."""
    pee: Path | None = None
    """File of its PEE, for programs that recommend."""
    state: Path | None = None
    """File of its state, so that a restart need not ask for all blocks again."""
    max_part_bytes: int = 0
    """The largest update part that it has room for; 0: any."""
    deltas: bool = False
    """True to take a new model version as a delta, where the cloud can send one."""
    interactions: Path | None = None
    """File of the items that its user meets, to learn from; another program appends to it."""
    names: Path | None = None
    """File of the catalogue of items, whose names go into the file of its PEE."""
    verify: Verify | None = None
    """The public keys of the cloud: what they have not signed is refused; None: there are none."""
    once: bool = False
    """End when it holds the PEE for its first budget."""
    give_up_s: float = 45.0
    """Time to reach that, if it is to end then."""
