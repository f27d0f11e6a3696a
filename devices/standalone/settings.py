"""What a device on its own is told: who it is, and how it behaves."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """What a device on its own is told."""

    fleet: str
    device: str
    user: int | None
    """Whose PEE; None: the device names only its group, and computes with a vector of its own."""
    group: int | None
    interval_s: float = 5.0
    """How often it looks at its memory."""
    retry_s: float = 30.0
    """How long it waits for an answer."""
    pee: Path | None = None
    """Where it keeps its PEE as a file for whoever recommends."""
    state: Path | None = None
    """Where it keeps what it holds, so that a restart need not ask for all of it again."""
    once: bool = False
    """Whether it ends when it holds the PEE for its first budget."""
    give_up_s: float = 45.0
    """How long it tries to get there, if it is to end then."""
