"""The error about a block store that cannot be read, perhaps for want of the plug-in that has its codec."""

from pathlib import Path
from typing import Any

import msgspec

from wire.geometry import codec_hint
from wire.plugins.installed import find_missing
from wire.plugins.plugin import PluginKind, PluginUse


def unreadable_manifest(folder: Path, name: str, raw: bytes, error: Exception) -> str:
    """Return the line about a manifest that cannot be read.

    Args:
        folder: of the store.
        name: of the manifest.
        raw: its content.
        error: of reading it.
    """
    missing = find_missing(use for use in _plugins_in(raw) if use.kind == PluginKind.CODEC)
    if missing is not None:
        return f"{folder}: this block store needs the {missing}, which is not installed"
    return f"{folder / name}: block store is corrupted: {error}{codec_hint(error)}"


def _plugins_in(raw: bytes) -> list[PluginUse]:
    """Return the plug-ins with which a store was made, of a manifest that may have any form."""
    try:
        settings = msgspec.json.decode(raw, type=dict[str, Any])["origin"]["settings"]
        return msgspec.convert(settings.get("plugins", []), list[PluginUse])
    except (msgspec.DecodeError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return []
