"""Vectors of users or items that another program has learned, from Parquet, safetensors or NumPy files."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from wire.arrays import Float32Array
from wire.arrow_input import arrow_input
from wire.errors import InputError
from wire.input_files import open_regular, read_at_most
from wire.output_files import os_error_text
from wire.text import printable

MOST_BYTES: Final = 16 * 2**30
"""Largest size of a file of vectors."""
ID, VECTOR = "id", "vector"
"""Columns of a Parquet file."""


def read_vectors(path: Path, ids: Path | None, names: Sequence[str], noun: str) -> Float32Array:
    """Return the vector of each of *names*, shape (len(names), d).

    Args:
        path: ``.parquet`` with the columns ``id`` and ``vector``; or ``.npy``, one vector a row; or
            ``.safetensors`` with one tensor named ``{noun}s``, or one tensor in all.
        ids: text file with the names of the rows, one a line; None for Parquet.
        names: the names of the users or items of the data, in their order; others in the file do not count.
        noun: "user" or "item", for errors.

    Raises:
        InputError: the file cannot be read, a name has no vector or two, or a number is not finite.
    """
    found, rows = _read_parquet(path) if path.suffix == ".parquet" else _read_rows(path, ids, noun)
    if len(found) != len(rows):
        raise InputError(f"{ids}: has {len(found):,} names, but {path} has {len(rows):,} vectors")
    numbers: dict[str, int] = {}
    for number, name in enumerate(found):
        if numbers.setdefault(name, number) != number:
            raise InputError(f"{ids or path}: {noun} {printable(name, 40)!r} has two vectors")
    missing = [name for name in names if name not in numbers]
    if missing:
        raise InputError(
            f"{path}: {len(missing):,} of {len(names):,} {noun}s of the data have no vector, such as "
            f"{printable(missing[0], 40)!r}; names must be those of the data"
        )
    chosen = np.ascontiguousarray(rows[[numbers[name] for name in names]], dtype=np.float32)
    wrong = np.flatnonzero(~np.isfinite(chosen).all(axis=1))
    if len(wrong):
        name = printable(names[int(wrong[0])], 40)
        raise InputError(f"{path}: the vector of {noun} {name!r} must have finite numbers of 32 bits only")
    return chosen


def _read_parquet(path: Path) -> tuple[list[str], NDArray[Any]]:
    try:
        with open_regular(path, "a file of vectors") as file:
            table = pq.ParquetFile(arrow_input(file)).read(columns=[ID, VECTOR])
        table.validate(full=True)
        missing = {ID, VECTOR} - set(table.column_names)
        if missing:
            raise InputError(f"{path}: must have the columns {ID} and {VECTOR}")
        vectors = table[VECTOR].combine_chunks()
        lengths = np.unique(vectors.value_lengths().to_numpy(zero_copy_only=False))
        if len(lengths) != 1 or vectors.null_count or vectors.flatten().null_count:
            raise InputError(f"{path}: every {VECTOR} must have the same number of values, without gaps")
        values = vectors.flatten().to_numpy(zero_copy_only=False)
        return [str(name) for name in table[ID].to_pylist()], values.reshape(len(vectors), int(lengths[0]))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {os_error_text(error)}") from None
    except (pa.ArrowException, UnicodeDecodeError, AttributeError, ValueError) as error:
        raise InputError(f"{path}: is not a table of vectors: {str(error).splitlines()[0]}") from None


def _read_rows(path: Path, ids: Path | None, noun: str) -> tuple[list[str], NDArray[Any]]:
    if ids is None:
        raise InputError(f"{path}: name the file with the names of its rows as {noun}_ids")
    raw = _read(path)
    try:
        rows = _tensor(raw, noun) if path.suffix == ".safetensors" else np.load(io.BytesIO(raw))
    except (ValueError, EOFError, safetensors.SafetensorError) as error:
        raise InputError(f"{path}: is not a file of vectors: {str(error).splitlines()[0]}") from None
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or not np.issubdtype(rows.dtype, np.number):
        raise InputError(f"{path}: must have a table of numbers, one vector a row")
    try:
        return _read(ids).decode().splitlines(), rows
    except UnicodeDecodeError:
        raise InputError(f"{ids}: is not text in UTF-8") from None


def _tensor(raw: bytes, noun: str) -> NDArray[Any]:
    tensors: Mapping[str, NDArray[Any]] = safetensors.numpy.load(raw)
    if f"{noun}s" in tensors:
        return tensors[f"{noun}s"]
    if len(tensors) != 1:
        raise ValueError(f"no tensor is named {noun}s, and there is not just one")
    return next(iter(tensors.values()))


def _read(path: Path) -> bytes:
    try:
        return read_at_most(path, MOST_BYTES, "a file of vectors")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {os_error_text(error)}") from None
