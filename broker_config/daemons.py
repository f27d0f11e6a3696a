"""Programs of brokers: find one, and run it until its parent ends."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, Protocol

from broker_config.accounts import Account
from wire.update_part import MAX_PART_BYTES

BrokerKind = Literal["mosquitto", "amqtt", "rabbitmq", "nats"]
"""A broker that a run can start."""
LARGEST_MESSAGE: Final = MAX_PART_BYTES + 1024
"""Largest part that a scenario may request, with its topic, in bytes."""
PARENT_GUARD: Final = Path(__file__).with_name("parent_guard.py")
# Folders of daemons are often missing from a user's PATH.
_FOLDERS = os.pathsep.join(("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"))


class BrokerProgram(Protocol):
    """A module that knows the files and the command line of a broker."""

    READY: str
    """Text of its log when all settings are in force; empty: when it lets a client in."""

    def executable(self) -> str | None:
        """Return the path of the program; None if it is not installed."""

    def command(self, program: str, directory: Path) -> list[str]:
        """Return the command that runs the broker with the files in *directory* until its parent ends."""

    def write_files(self, directory: Path, host: str, port: int, accounts: Sequence[Account]) -> None:
        """Write the files of a broker that listens on *port* of *host*."""


def find_daemon(name: str) -> str | None:
    """Return the path of a program; None if it is not installed."""
    return shutil.which(name) or shutil.which(name, path=_FOLDERS)


def guarded(directory: Path, command: Sequence[str]) -> list[str]:
    """Return the command that runs *command* until its parent ends, and then removes *directory*."""
    # -I -S: the guard needs only the standard library, and starts in 15 ms this way.
    return [sys.executable, "-I", "-S", str(PARENT_GUARD), str(directory), *command]
