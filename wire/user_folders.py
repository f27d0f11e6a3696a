"""The folder of this user in which peelfleet keeps what it can make again."""

from pathlib import Path

from platformdirs import user_cache_path

from wire.errors import InputError


def cache_folder() -> Path:
    """Return the folder for caches: XDG_CACHE_HOME or ``~/.cache`` on Linux, the system's own elsewhere.

    Raises:
        InputError: the user has no home folder.
    """
    folder = user_cache_path("peelfleet", appauthor=False)
    if not folder.is_absolute():
        raise InputError(
            "this user has no home folder to keep models in: name a folder with --store or PEELFLEET_STORE"
        )
    return folder
