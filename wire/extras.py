"""Optional parts of the installation, and the error when one is missing."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from wire.errors import InputError


def is_installed(module: str) -> bool:
    """Tell if *module* is installed, without importing it."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # from a finder that hides it
        return False


@contextmanager
def needs_extra(extra: str, modules: Sequence[str], purpose: str) -> Iterator[None]:
    """Name the extra to install if an import in the block fails.

    Args:
        extra: name of the extra in pyproject.toml.
        modules: the top-level modules that it installs.
        purpose: subject of the error, such as "training".

    Raises:
        InputError: one of *modules* is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in modules:
            raise
        raise InputError(
            f"{purpose} needs {module}, which is not installed: pip install 'peelfleet[{extra}]'"
        ) from None
