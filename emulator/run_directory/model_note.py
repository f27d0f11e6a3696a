"""A note about the models of an unfinished run: its log cannot be measured without them."""

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
"""File in a run directory until the run has finished."""
MOST_BYTES: Final = 2**16


class ModelNote(msgspec.Struct, frozen=True):
    """The models of a run, and the folder in which they are cached."""

    store: str
    """Folder of the cache."""
    versions: tuple[str, ...]
    """Version of the first model of all devices; then of the model of the rollout."""


def write_model_note(folder: Path, store: Path | None, versions: Sequence[str]) -> None:
    """Write the model *versions*, and the folder of their cache, into the run directory *folder*."""
    root = os.path.abspath(store or default_root())
    note = ModelNote(os.fsencode(root).decode(errors="replace"), tuple(versions))
    (folder / NOTE).write_bytes(msgspec.json.encode(note))


def read_model_note(folder: Path) -> ModelNote | None:
    """Return the note of the run in *folder*; None for a run of an older version.

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
