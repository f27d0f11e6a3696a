"""Checkpoints: states on disk from which training continues after its process was killed.

They lie beside the store that is being trained. A checkpoint is one safetensors file with a JSON header and
a checksum in its metadata; nothing is unpickled. Files are written atomically. This file does not import
torch.
"""

import errno
import hashlib
import math
import os
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from wire.errors import InputError
from wire.output_files import atomic_file, error_text

FORMAT = 1
HEADER = "peelfleet"  # the key of the header in the file's metadata
MIN_INTERVAL_S = 5.0  # between two checkpoints of a loop
MAX_TIME_SHARE = 0.05  # of the time of training, for writing checkpoints

Arrays = dict[str, NDArray[Any]]  # Any: of several types


@dataclass(frozen=True, eq=False)
class State:
    """Arrays by name, and JSON values by name. Numbers are read back exactly."""

    arrays: Arrays
    facts: dict[str, Any]  # Any: JSON types


class CheckpointHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The header of a file."""

    format: int
    owner: str
    """The key of the store that is being trained."""
    sha256: str
    """Hash of owner, facts and arrays."""
    facts: dict[str, Any]


def write_tensors(path: Path, arrays: Arrays, metadata: dict[str, str]) -> None:
    """Write *arrays* to the safetensors file *path*.

    Raises:
        OSError: it cannot be written; safetensors itself raises an error of its own.
    """
    try:
        safetensors.numpy.save_file(arrays, path, metadata)
    except safetensors.SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code) if number else " ".join(str(error).split())) from None


class Checkpoints:
    """The states of one training, in one folder. They do not change the result."""

    def __init__(
        self,
        folder: Path | None,
        owner: str,
        clock: Callable[[], float] = time.monotonic,
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Use *folder*, which is created with the first state.

        Args:
            folder: the folder of the states; None: no state is written.
            owner: the key of the training; states of another owner are refused.
            clock: seconds, for the limit on the time spent writing.
            notice: called once if states cannot be written; training continues.
        """
        self.folder = folder
        self._owner = owner
        self._clock = clock
        self._notice = notice
        self._due = clock()  # the first one is written

    def maybe_save(self, name: str, state: Callable[[], State]) -> None:
        """Write *state* unless the last one is too recent, measured also by the time that writing it took."""
        begun = self._clock()
        if self.folder is None or begun < self._due:
            return
        self.save(name, state())
        ended = self._clock()
        self._due = (
            math.inf
            if self._due == math.inf
            else ended + max(MIN_INTERVAL_S, (ended - begun) / MAX_TIME_SHARE)
        )

    def save(self, name: str, state: State) -> None:
        """Replace the state called *name*; after a failure no more states are written.

        The earlier state stays: training from it gives the same model.
        """
        if self._due == math.inf:
            return
        try:
            self.write(name, state)
        except (InputError, OSError) as error:
            self._notice(f"no checkpoints are kept: {error_text(error)}; training goes on")
            self._due = math.inf

    def write(self, name: str, state: State) -> None:
        """Replace the state called *name*.

        Raises:
            InputError: nothing can be written in its folder.
            OSError: it cannot be written.
        """
        if self.folder is None:
            return
        arrays = {key: np.asarray(array, order="C") for key, array in state.arrays.items()}
        header = CheckpointHeader(
            format=FORMAT, owner=self._owner, sha256=self._digest(arrays, state.facts), facts=state.facts
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        # Not synced: files survive a kill, and those damaged by a power cut are refused.
        with atomic_file(self._file(name), sync=False) as draft:
            write_tensors(draft, arrays, {HEADER: msgspec.json.encode(header).decode()})

    def load(self, name: str, notice: Callable[[str], None]) -> State | None:
        """Return the state called *name*; None, after a *notice*, if it is damaged or has another owner."""
        if self.folder is None or not self._file(name).is_file():
            return None
        try:
            return self._read(self._file(name))
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            notice(f"checkpoint {self._file(name).name} is not used: {error}")
            return None

    def remove(self, name: str) -> None:
        """Remove the state called *name*, if there is one."""
        if self.folder is not None:
            self._file(name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the folder, after the model is stored."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / f"{name}.safetensors"

    def _read(self, file: Path) -> State:
        with safetensors.safe_open(file, "numpy") as opened:
            metadata = opened.metadata() or {}
            arrays = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118  # no mapping
        header = msgspec.json.decode(metadata.get(HEADER, ""), type=CheckpointHeader)
        if header.format != FORMAT:
            raise ValueError(f"format(={header.format}) must be {FORMAT}")
        if header.owner != self._owner:
            raise ValueError(f"it belongs to {header.owner}, not to {self._owner}")
        if header.sha256 != self._digest(arrays, header.facts):
            raise ValueError("it is damaged: its checksum is not that of its content")
        return State(arrays, header.facts)

    def _digest(self, arrays: Arrays, facts: dict[str, Any]) -> str:
        shapes = {name: [str(array.dtype), *array.shape] for name, array in arrays.items()}
        digest = hashlib.sha256(msgspec.json.encode([self._owner, facts, shapes], order="sorted"))
        for name in sorted(arrays):
            digest.update(arrays[name].data)
        return digest.hexdigest()


NO_CHECKPOINTS = Checkpoints(None, "")
"""Writes nothing: training starts again after a kill."""
