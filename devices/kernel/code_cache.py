"""The folder of compiled code, and whether the kernel is compiled already. Needs no compiler."""

import functools
import os
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from wire.errors import InputError
from wire.source_digest import digest_files, imported_modules
from wire.user_folders import cache_folder

CACHE_VARIABLE = "NUMBA_CACHE_DIR"
"""Environment variable with the folder of compiled code; numba's own."""
_ROOTS = ("devices.kernel.engine", "devices.kernel.self_check")
_MARK = "compiled"
"""An empty file that says that all code is compiled."""


def is_installed() -> bool:
    """Tell whether numba, the extra `fast`, is installed."""
    return find_spec("numba") is not None


@functools.cache
def code_folder() -> Path | None:
    """Return the folder for code compiled from this version of the sources; None: there is no such place.

    numba looks at the time of one source file only, so a function that calls into another file would stay as
    it was. Hence the name has a hash of all files that the kernel imports, and the versions of the libraries.
    """
    named = os.environ.get(CACHE_VARIABLE)
    try:
        cache = Path(named) / "peelfleet" if named else cache_folder()
        libraries = "-".join(version(library) for library in ("numba", "numpy"))
    except (InputError, PackageNotFoundError):
        return None
    digest = digest_files(imported_modules(_ROOTS)).hex()[:16]
    folder = cache / "kernel" / f"{libraries}-{digest}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder if os.access(folder, os.W_OK) else None


def is_compiled() -> bool:
    """Tell whether the kernel has been compiled before by this user."""
    folder = code_folder()
    return folder is not None and (folder / _MARK).exists()


def note_compiled() -> None:
    """Note that all code is compiled and in the folder."""
    folder = code_folder()
    if folder is not None:
        (folder / _MARK).touch()
