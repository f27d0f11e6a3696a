"""A plug-in: its kind, its name, and the package that it comes from."""

import functools
import hashlib
import importlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Final

import msgspec

from wire.errors import InputError

GROUPS = "peelfleet."
"""The beginning of the names of entry-point groups, such as ``peelfleet.memory``."""


class PluginKind(StrEnum):
    """The kinds of plug-ins, each with the end of the name of its entry-point group."""

    MEMORY = "memory"
    FAULT = "faults"
    ACTION = "actions"
    CODEC = "codecs"
    POLICY = "policies"
    LOADER = "loaders"
    BACKBONE = "backbones"
    METRIC = "metrics"
    IMPORTER = "trace_importers"

    @property
    def noun(self) -> str:
        """The word for one plug-in of this kind."""
        return _NOUNS[self]


_NOUNS: Final = {
    PluginKind.MEMORY: "memory process",
    PluginKind.FAULT: "fault",
    PluginKind.ACTION: "action",
    PluginKind.CODEC: "codec",
    PluginKind.POLICY: "selection policy",
    PluginKind.LOADER: "reader of data",
    PluginKind.BACKBONE: "backbone",
    PluginKind.METRIC: "metric",
    PluginKind.IMPORTER: "importer of traces",
}


class PluginUse(msgspec.Struct, frozen=True, kw_only=True):
    """A plug-in that a run has used, as its run directory keeps it."""

    kind: str
    """A `PluginKind`, perhaps one of a later version."""
    name: str
    package: str
    version: str
    sha256: str
    """Hash of the source files of the plug-in."""

    def __str__(self) -> str:
        noun = PluginKind(self.kind).noun if self.kind in list(PluginKind) else self.kind
        return f"{noun} {self.name!r} of {self.package} {self.version}"

    @property
    def identity(self) -> str:
        """All that decides what the plug-in computes, for keys of caches."""
        return "\0".join((self.kind, self.name, self.package, self.version, self.sha256))


@dataclass(frozen=True)
class Plugin:
    """A plug-in that is known by name; it may not be imported yet."""

    kind: PluginKind
    name: str
    package: str
    version: str
    value: str
    """The object, as ``module:attribute``."""

    def __str__(self) -> str:
        return f"{self.kind.noun} {self.name!r} of {self.package} {self.version}"

    def load(self) -> object:
        """Import the plug-in, and return its object.

        Raises:
            InputError: it cannot be imported.
        """
        return _load(self)

    def use(self) -> PluginUse:
        """Return the record of the plug-in in run directories and in the keys of caches."""
        return PluginUse(
            kind=self.kind.value,
            name=self.name,
            package=self.package,
            version=self.version,
            sha256=source_sha256(self.value.partition(":")[0]),
        )


@functools.cache
def _load(plugin: Plugin) -> object:
    try:
        return resolve(plugin.value)
    except Exception as error:  # its own code: any error may come
        first = str(error).strip().splitlines()[:1]
        raise InputError(
            f"{plugin}: cannot be imported: {type(error).__name__}{': ' if first else ''}{''.join(first)}"
        ) from error


def resolve(value: str) -> object:
    """Return the object that ``module:attribute`` names, which is imported if it has to be."""
    module, _, attributes = value.partition(":")
    found: object = importlib.import_module(module)
    for attribute in attributes.split("."):
        found = getattr(found, attribute)
    return found


@functools.cache
def source_sha256(module: str) -> str:
    """Return a hash of the source files of the top-level package of *module*; it is not imported."""
    digest = hashlib.sha256()
    for name, file in sorted(_source_files(module.partition(".")[0])):
        digest.update(name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _source_files(package: str) -> Iterator[tuple[str, Path]]:
    """Yield each file of *package* with its name in it."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return
    if spec.submodule_search_locations is None:
        if spec.origin is not None and Path(spec.origin).is_file():
            yield Path(spec.origin).name, Path(spec.origin)
        return
    for folder in map(Path, spec.submodule_search_locations):
        for file in folder.rglob("*.py"):
            yield file.relative_to(folder).as_posix(), file


def version_of(package: str) -> str:
    """Return the version of an installed *package*; of a module without one, the start of its hash."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return f"source {source_sha256(package)[:12]}"
