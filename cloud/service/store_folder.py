"""A folder of block stores that is watched: stores that come and go, found by their manifests.

A store appears in its folder as a whole (`cloud.blocks.store.save_store`). One that is copied there by other
means has wrong checksums until it is complete; it is looked at again whenever its files have changed.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cloud.blocks.store import MANIFEST
from cloud.service.responder import Responder
from wire.errors import InputError

FolderState = tuple[int, int, int]
"""The number of files, their bytes, and the latest change of one."""


@dataclass(frozen=True)
class StoreChange:
    """The stores that have come and gone since the last look."""

    come: tuple[Responder, ...] = ()
    gone: tuple[str, ...] = ()
    """Model versions."""
    problems: tuple[str, ...] = ()
    """A line for each store that cannot be served; each is said once for each state of its files."""


class StoreFolder:
    """The stores below a folder.

    Args:
        folder: it has a folder for each store.
        new_responder: returns what answers from a store.
        served: the version of each store that is served already, by its folder.
    """

    def __init__(
        self, folder: Path, new_responder: Callable[[Path], Responder], served: Mapping[Path, str]
    ) -> None:
        self._folder = folder
        self._new_responder = new_responder
        self._versions = {path.resolve(): version for path, version in served.items()}
        self._own: set[Path] = set()
        self._refused: dict[Path, FolderState] = {}

    def look(self) -> StoreChange:
        """Return the change since the last look; a store that comes is read and checked as a whole."""
        found = self._found()
        come, problems = list[Responder](), list[str]()
        gone = [self._versions.pop(path) for path in self._own - found.keys()]
        self._own &= found.keys()
        for path, state in found.items():
            if path in self._versions or self._refused.get(path) == state:
                continue
            try:
                responder = self._new_responder(path)
            except (InputError, OSError) as error:
                self._refused[path] = state
                problems.append(f"{path} is not served: {error}")
                continue
            version = responder.store.version
            if version not in self._versions.values():
                come.append(responder)
            self._own.add(path)
            self._versions[path] = version
        left = set(self._versions.values())
        return StoreChange(tuple(come), tuple(each for each in gone if each not in left), tuple(problems))

    def _found(self) -> dict[Path, FolderState]:
        """Return the folders of stores, and the state of their files."""
        found: dict[Path, FolderState] = {}
        try:
            names = sorted(os.listdir(self._folder))
        except OSError:
            return dict.fromkeys(self._own, (0, 0, 0))  # the folder is away for the moment
        for name in names:
            if name.startswith("."):  # a store that is being written
                continue
            path = (self._folder / name).resolve()
            try:
                files = [entry.stat() for entry in os.scandir(path)]
            except OSError:
                continue
            if (path / MANIFEST).is_file():
                latest_ns = max(file.st_mtime_ns for file in files)
                found[path] = len(files), sum(file.st_size for file in files), latest_ns
        return found
