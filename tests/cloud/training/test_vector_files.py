"""Vectors that another program has learned are read by name, from every format, or refused in a line."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy

from cloud.training.vector_files import read_vectors
from wire.arrays import Float32Array
from wire.errors import InputError

NAMES = ["ann", "bob", "cid"]
TABLE = np.arange(6, dtype=np.float32).reshape(3, 2)


def write_parquet(folder: Path, names: list[str], table: Float32Array) -> tuple[Path, Path | None]:
    path = folder / "v.parquet"
    pq.write_table(pa.table({"id": names, "vector": pa.array(table.tolist())}), path)
    return path, None


def write_names(folder: Path, names: list[str]) -> Path:
    (folder / "ids.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return folder / "ids.txt"


def write_npy(folder: Path, names: list[str], table: Float32Array) -> tuple[Path, Path | None]:
    np.save(folder / "v.npy", table.astype(np.float64))
    return folder / "v.npy", write_names(folder, names)


def write_safetensors(folder: Path, names: list[str], table: Float32Array) -> tuple[Path, Path | None]:
    path = folder / "v.safetensors"
    safetensors.numpy.save_file({"items": table + 9, "users": table}, path)
    return path, write_names(folder, names)


Writer = Callable[[Path, list[str], Float32Array], tuple[Path, Path | None]]
WRITERS = [write_parquet, write_npy, write_safetensors]


@pytest.mark.parametrize("write", WRITERS)
def test_vectors_come_in_the_order_of_the_data(write: Writer, tmp_path: Path) -> None:
    path, ids = write(tmp_path, ["cid", "dan", "ann", "bob"], np.vstack([TABLE[2], [7, 7], TABLE[:2]]))
    read = read_vectors(path, ids, NAMES, "user")
    assert read.dtype == np.float32
    assert read.tolist() == TABLE.tolist()


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("names", "value", "error"),
    [
        (["ann", "bob", "dan"], 0.0, "1 of 3 users of the data have no vector, such as 'cid'; names must be"),
        (["ann", "ann", "cid"], 0.0, "user 'ann' has two vectors"),
        (NAMES, np.nan, "the vector of user 'bob' must have finite numbers of 32 bits only"),
        (NAMES, np.inf, "the vector of user 'bob' must have finite numbers of 32 bits only"),
    ],
)
def test_wrong_vectors_are_refused(
    write: Writer, names: list[str], value: float, error: str, tmp_path: Path
) -> None:
    table = TABLE.copy()
    table[1, 1] = value or table[1, 1]
    path, ids = write(tmp_path, names, table)
    with pytest.raises(InputError) as caught:
        read_vectors(path, ids, NAMES, "user")
    assert error in str(caught.value)


def test_files_that_are_no_vectors_are_refused(tmp_path: Path) -> None:
    ids = write_names(tmp_path, NAMES)
    ragged, flat, text = tmp_path / "r.parquet", tmp_path / "f.npy", tmp_path / "t.npy"
    pq.write_table(pa.table({"id": NAMES, "vector": [[1.0], [1.0, 2.0], [3.0]]}), ragged)
    np.save(flat, np.arange(3.0))
    text.write_text("no")
    short = write_npy(tmp_path, NAMES[:2], TABLE)[0]
    cases = [
        (ragged, None, "every vector must have the same number of values, without gaps"),
        (flat, ids, "must have a table of numbers, one vector a row"),
        (text, ids, "is not a file of vectors: "),
        (short, ids, "has 2 names, but "),
        (short, None, "name the file with the names of its rows as user_ids"),
        (tmp_path / "none.npy", ids, "cannot be read: No such file or directory"),
    ]
    for path, names, error in cases:
        with pytest.raises(InputError) as caught:
            read_vectors(path, names, NAMES, "user")
        assert error in str(caught.value), path


def test_pickles_are_never_read(tmp_path: Path) -> None:
    path = tmp_path / "o.npy"
    np.save(path, np.array([object()]), allow_pickle=True)
    with pytest.raises(InputError, match="is not a file of vectors"):
        read_vectors(path, write_names(tmp_path, NAMES), NAMES, "user")
