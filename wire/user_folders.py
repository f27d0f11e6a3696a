"""The folder of this user in which peelfleet keeps what it can make again."""

from pathlib import Path

from platformdirs import user_cache_path

from wire.errors import InputError


def cache_folder() -> Path:
    """Return the folder for caches: XDG_CACHE_HOME or ``~/.cache`` on Linux, the system's own elsewhere.

    Raises:
        InputError: the user has no home folder.
    """
    try:
        folder = user_cache_path("peelfleet", appauthor=False)
    except RuntimeError:
        folder = Path()
    if not folder.is_absolute():  # older versions of platformdirs do not raise
        raise InputError(
            "this user has no home folder to keep models in: name a folder with --store or PEELFLEET_STORE"
        )
    return folder
