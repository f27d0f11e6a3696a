"""The model of an unfinished run, and where it is cached: measuring its log needs it."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from cloud.blocks.store_cache import default_root
from wire.errors import InputError
from wire.input_files import decode_json, read_at_most
from wire.output_files import os_error_text

NOTE: Final = ".model.json"
"""In a run directory until the run has finished."""
MOST_BYTES: Final = 2**16


class ModelNote(msgspec.Struct, frozen=True):
    """A run's note of its models."""

    store: str
    """The folder that caches models."""
    versions: tuple[str, ...]
    """Of the model that is served to everybody; then of the one which a rollout brings."""


def write_model_note(folder: Path, store: Path | None, versions: Sequence[str]) -> None:
    """Note in the run directory *folder* that its models are *versions*, cached in *store* or the default."""
    root = os.path.abspath(store or default_root())
    note = ModelNote(os.fsencode(root).decode(errors="replace"), tuple(versions))
    (folder / NOTE).write_bytes(msgspec.json.encode(note))


def read_model_note(folder: Path) -> ModelNote | None:
    """Return what the run in *folder* noted; None for one of an older version.

    Raises:
        InputError: it cannot be read.
    """
    path = folder / NOTE
    try:
        return decode_json(read_at_most(path, MOST_BYTES, "a note of a run"), ModelNote)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {os_error_text(error)}") from None
    except ValueError as error:
        raise InputError(f"{path}: is damaged: {error}") from None
