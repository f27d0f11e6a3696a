"""The plug-ins that a run has used, in its run directory; the file is there only where it has used some."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from emulator.run_directory.manifest import MANIFEST, check_content
from wire.errors import InputError
from wire.input_files import decode_json, read_at_most
from wire.output_files import naming, os_error_text
from wire.plugins.installed import find_missing
from wire.plugins.plugin import PluginUse

PLUGINS: Final = "plugins.json"
MOST_BYTES: Final = 2**24


def write_plugins(folder: Path, plugins: Sequence[PluginUse]) -> None:
    """Write *plugins* into the run directory *folder*, if there are any."""
    if plugins:
        content = msgspec.json.format(msgspec.json.encode(plugins), indent=2) + b"\n"
        with naming(folder / PLUGINS):
            (folder / PLUGINS).write_bytes(content)


def read_plugins(folder: Path, manifest: str = MANIFEST) -> list[PluginUse]:
    """Return the plug-ins that the run in *folder* has used.

    Args:
        folder: of the run, or of a shard.
        manifest: name of the file with the checksums in that folder.

    Raises:
        InputError: the file was changed or is damaged.
    """
    path = folder / PLUGINS
    try:
        content = read_at_most(path, MOST_BYTES, "the plug-ins of a run")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {os_error_text(error)}") from None
    check_content(folder, PLUGINS, content, manifest)
    try:
        return decode_json(content, list[PluginUse])
    except ValueError as error:
        raise InputError(f"{path}: is damaged: {error}") from None


def check_plugins(folder: Path, manifest: str = MANIFEST) -> None:
    """Check that this process has the plug-ins that the run in *folder* has used.

    Raises:
        InputError: it lacks one.
    """
    missing = find_missing(read_plugins(folder, manifest))
    if missing is not None:
        raise InputError(f"{folder}: was run with the {missing}, which is not installed")
