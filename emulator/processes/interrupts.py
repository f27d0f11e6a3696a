"""Handlers of Ctrl-C, SIGTERM and SIGHUP: each ends a command in the same orderly way."""

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

    Later signals are ignored: they would interrupt the removal of temporary folders and the end of processes,
    which have time limits of their own. A signal that is ignored already, as under `nohup`, stays ignored.
    """
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def received_signal() -> int | None:
    """Return the number of the signal that interrupted this process; None if there was none."""
    return _RECEIVED.number


def _interrupt(number: int, frame: FrameType | None) -> None:
    if _RECEIVED.number is None:
        _RECEIVED.number = number
        raise KeyboardInterrupt
