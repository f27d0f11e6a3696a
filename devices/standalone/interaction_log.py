"""The items that the user of a real device has met: a file that another program appends to."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from devices.recommender.interactions_file import MAX_INTERACTIONS_BYTES, parse_interactions
from wire.errors import InputError
from wire.input_files import open_regular
from wire.output_files import error_text
from wire.text import printable

LOG = logging.getLogger("peelfleet.agent")
LARGEST_NUMBER = 2**32 - 1


class InteractionLog:
    """Follows the file *path* from byte *read_bytes* on; what has no line break yet is read later.

    Args:
        path: the file; it need not exist yet.
        met: items that were met before.
        read_bytes: the number of bytes that were read before.
    """

    def __init__(self, path: Path, met: Iterable[int] = (), read_bytes: int = 0) -> None:
        self.read_bytes = read_bytes
        self._path = path
        self._met = dict.fromkeys(met)  # in order, each once
        self._problem = ""

    @property
    def met(self) -> tuple[int, ...]:
        """The items met, each once, the latest last."""
        return tuple(self._met)

    def poll(self) -> bool:
        """Read what was appended; return whether there is a new item.

        A file that has become shorter is a new one and is read from its start. Lines that are not valid are
        left out, and logged.
        """
        try:
            raw = self._new_lines()
            if not raw:
                return False
            heading = self.read_bytes == 0
            self.read_bytes += len(raw)
            names = parse_interactions(raw, printable(self._path), heading=heading)
        except (OSError, InputError) as error:
            if (problem := error_text(error)) != self._problem:  # once, however often it is looked at
                LOG.error("what the user has met could not be read: %s", problem)
            self._problem = problem
            return False
        self._problem = ""
        numbers = [int(name) for name in names if name.isascii() and name.isdigit()]
        numbers = [number for number in numbers if number <= LARGEST_NUMBER]
        if len(numbers) < len(names):
            lost = len(names) - len(numbers)
            LOG.error("%s: %d items are no numbers of items: left out", printable(self._path), lost)
        for number in numbers:
            self._met.pop(number, None)
            self._met[number] = None
        return bool(numbers)

    def _new_lines(self) -> bytes:
        """Return the whole lines after those that were read; nothing where there is no file.

        Raises:
            OSError: it cannot be read.
            InputError: it is not a regular file.
        """
        if not self._path.exists():
            return b""
        with open_regular(self._path, "a file of interactions") as file:
            if os.fstat(file.fileno()).st_size < self.read_bytes:
                self.read_bytes = 0
            file.seek(self.read_bytes)
            raw = file.read(MAX_INTERACTIONS_BYTES)
        return raw[: raw.rfind(b"\n") + 1]
