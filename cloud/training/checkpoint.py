"""From where training goes on after a kill: states on disk, beside the store that is being trained.

A checkpoint is one safetensors file whose metadata hold a JSON header with a checksum; nothing is ever
unpickled. It is there whole or not at all. Nothing in this file knows about torch.
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
MAX_TIME_SHARE = 0.05  # of the time that may go into writing them

Arrays = dict[str, NDArray[Any]]  # Any: of several types


@dataclass(frozen=True, eq=False)
class State:
    """A state: arrays by name, and what JSON can say by name. Numbers come back exactly as they were."""

    arrays: Arrays
    facts: dict[str, Any]  # Any: JSON types


class CheckpointHeader(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a file says of itself."""

    format: int
    owner: str
    """What is being trained: the key of the store."""
    sha256: str
    """Of owner, facts and arrays."""
    facts: dict[str, Any]


def write_tensors(path: Path, arrays: Arrays, metadata: dict[str, str]) -> None:
    """Write *arrays* to the safetensors file *path*.

    Raises:
        OSError: it cannot be written: safetensors itself says so by an error of its own.
    """
    try:
        safetensors.numpy.save_file(arrays, path, metadata)
    except safetensors.SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, os.strerror(code) if number else " ".join(str(error).split())) from None


class Checkpoints:
    """The states of one training, in one folder. Whether and when they are written changes no result."""

    def __init__(
        self,
        folder: Path | None,
        owner: str,
        clock: Callable[[], float] = time.monotonic,
        notice: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Use *folder*, which appears with the first state.

        Args:
            folder: where states lie; with None nothing is ever kept.
            owner: what is being trained; a state of anything else is not taken.
            clock: the seconds by which the cost of writing is bounded.
            notice: told once that states cannot be written; training goes on without them.
        """
        self.folder = folder
        self._owner = owner
        self._clock = clock
        self._notice = notice
        self._due = clock()  # the first that is offered is written

    def offer(self, name: str, state: Callable[[], State]) -> None:
        """Write *state* if the last one is long enough ago, measured also by what writing it cost."""
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
        """Write *state* in place of an earlier one of that *name*; where it cannot be, nothing more is kept.

        An earlier state stays: whoever goes on from it gets the same model.
        """
        if self._due == math.inf:
            return
        try:
            self.write(name, state)
        except (InputError, OSError) as error:
            self._notice(f"no checkpoints are kept: {error_text(error)}; training goes on")
            self._due = math.inf

    def write(self, name: str, state: State) -> None:
        """Write *state* in place of an earlier one of that *name*.

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
        # Not forced to the disk: a kill leaves what was written, and what a power cut damages is not taken.
        with atomic_file(self._file(name), forced=False) as draft:
            write_tensors(draft, arrays, {HEADER: msgspec.json.encode(header).decode()})

    def load(self, name: str, notice: Callable[[str], None]) -> State | None:
        """Return the state of that *name*; None, after a *notice*, where it is not whole or not ours."""
        if self.folder is None or not self._file(name).is_file():
            return None
        try:
            return self._read(self._file(name))
        except (OSError, ValueError, safetensors.SafetensorError) as error:
            notice(f"checkpoint {self._file(name).name} is not used: {error}")
            return None

    def drop(self, name: str) -> None:
        """Remove the state of that *name*, if there is one."""
        if self.folder is not None:
            self._file(name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove the folder: what was trained is stored."""
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
"""Keeps nothing: a killed training starts anew."""
