"""RecBole's atomic files, in one file or split into training, validation and test."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from cloud.data.interactions import Interactions
from cloud.data.readers.columns import ColumnNames, TableRows
from cloud.data.readers.delimited import DelimitedFormat, read_delimited, separator_of
from cloud.data.readers.folders import PARTS, matching_files, one_file, part_of
from cloud.data.readers.ratings import interactions_of
from cloud.data.readers.text import read_text, shorten
from cloud.data.sources import ByCut, ByTime, RecBole
from wire.errors import InputError
from wire.ranking_metrics import IntArray


def read_recbole(data: RecBole, path: Path) -> Interactions:
    """Return the interactions in the .inter file *path*, or in the files of that folder.

    Raises:
        InputError: a file is missing or malformed, or no interactions are left.
    """
    files = _split_files(path)
    if files:
        parts = [_read_inter(file, data) for file in files.values()]
        return interactions_of(data, _concatenate(parts, list(files)))
    return interactions_of(data, _read_inter(one_file(path, "*.inter"), data))


def _read_inter(path: Path, data: RecBole) -> TableRows:
    optional = {"rating"} if data.min_rating <= 0 else set()
    optional |= set() if isinstance(data.split, ByTime | ByCut) else {"time"}
    names = ColumnNames(data.user, data.item, data.rating, data.time, frozenset(optional), typed=True)
    form = DelimitedFormat(separator_of(data.separator), header=True)
    return read_delimited(read_text(path, data.encoding), form, names)


def _split_files(path: Path) -> dict[str, Path]:
    """Return the files of a folder that is already split, by part; empty if it is not split."""
    if not path.is_dir():
        return {}
    for depth in ("", "*/"):
        files = matching_files(path, depth, "*.inter")
        if any(part_of(file) is None for file in files):
            return {}
        if files:
            return _check_parts(path, files)
    return {}


def _check_parts(path: Path, files: Sequence[Path]) -> dict[str, Path]:
    parts = {part: [file for file in files if part_of(file) == part] for part in PARTS}
    for part, of_part in parts.items():
        if len(of_part) > 1 or (not of_part and part != "valid"):
            names = ", ".join(shorten(file.name) for file in files[:12])
            raise InputError(
                f"{path}: found {names}, expected one NAME.{part}.inter (and NAME.train.inter, "
                "NAME.valid.inter or none, NAME.test.inter)"
            )
    return {part: of_part[0] for part, of_part in parts.items() if of_part}


class _FileRows(NamedTuple):
    """The rows of one file among those of several."""

    first: int
    rows: TableRows


def _concatenate(files: Sequence[TableRows], names: Sequence[str]) -> TableRows:
    """Return the rows of all *files*, one after the other; *names* are their parts."""
    ends = np.cumsum([len(rows) for rows in files]).tolist()
    sections = [_FileRows(end - len(rows), rows) for end, rows in zip(ends, files, strict=True)]

    def where(row: int) -> str:
        section = max(
            (section for section in sections if section.first <= row), key=lambda section: section.first
        )
        return section.rows.where(row - section.first)

    shared = [role for role in files[0].columns if all(role in rows.columns for rows in files)]
    columns: dict[str, Any] = {
        role: pa.chunked_array([rows.columns[role] for rows in files]).combine_chunks() for role in shared
    }
    parts: list[IntArray] = [
        np.full(len(rows), PARTS.index(name)) for rows, name in zip(files, names, strict=True)
    ]
    notes = tuple(note for rows in files for note in rows.notes)
    if "valid" not in names:
        notes += (
            f"{files[0].path.parent.name}: without a validation file, a share of the training is held out",
        )
    first = files[0]
    path = first.path.with_name(first.path.name.split(".")[0] + ".inter")
    return TableRows(path, columns, first.names, where, notes, np.concatenate(parts))
