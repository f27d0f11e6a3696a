"""How a command ends when it is told to: Ctrl-C, SIGTERM and SIGHUP wind it up in one way."""

import signal
from dataclasses import dataclass
from types import FrameType
from typing import Final

SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


@dataclass
class _Received:
    number: int | None = None


_RECEIVED = _Received()


def install_handlers() -> None:
    """Raise KeyboardInterrupt at the first of these signals.

    Later ones change nothing: they would cut short what removes temporary folders and ends processes,
    all of which has its time limits. A signal that is ignored, as under `nohup`, stays ignored.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def received_signal() -> int | None:
    """Return the signal that has told this process to end, if one has."""
    return _RECEIVED.number


def _interrupt(number: int, frame: FrameType | None) -> None:
    if _RECEIVED.number is None:
        _RECEIVED.number = number
        raise KeyboardInterrupt
