import contextlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloud.data.interactions import Interactions
from cloud.data.load import load
from cloud.data.sources import ByRatio, ByTime, Data, LightGCN, MovieLens, RecBole, Table
from wire.errors import InputError

# Ten interactions of ann, in order of time, and two of bob; the rating is 5 but for ann's last.
WORLD = [("ann", f"i{n}", 5 - n // 9, 100 + n) for n in range(10)] + [
    ("bob", "i0", 5, 50),
    ("bob", "i3", 5, 60),
]


def delimited(delimiter: str, header: str = "") -> str:
    lines = [delimiter.join(map(str, row)) for row in WORLD]
    return "".join(f"{line}\n" for line in ([header] if header else []) + lines)


def write_parquet(path: Path) -> None:
    users, items, ratings, times = (list(column) for column in zip(*WORLD, strict=True))
    stamps = pa.array([time * 10**9 for time in times], pa.timestamp("ns"))
    pyarrow.parquet.write_table(pa.table({"u": users, "i": items, "r": ratings, "t": stamps}), path)


def named(actual: Interactions) -> dict[str, dict[str, list[str]]]:
    """Return each part as the names of the items of each user."""
    parts = {"train": actual.train, "valid": actual.valid, "test": actual.test}
    return {
        name: {
            user: sorted(actual.item_ids[item] for item in part[at])
            for at, user in enumerate(actual.user_ids)
        }
        for name, part in parts.items()
    }


TABLE = Table(path="-", user="u", item="i", rating="r", time="t", split=ByTime())
FORMATS: dict[str, tuple[Data, Callable[[Path], object]]] = {
    "ratings.dat": (MovieLens(path="-"), lambda path: path.write_text(delimited("::"))),
    "u.data": (MovieLens(path="-"), lambda path: path.write_text(delimited("\t"))),
    "ratings.csv": (
        MovieLens(path="-"),
        lambda path: path.write_text(delimited(",", "userId,movieId,rating,timestamp")),
    ),
    "w.inter": (
        RecBole(path="-"),
        lambda path: path.write_text(
            delimited("\t", "user_id:token\titem_id:token\trating:float\ttimestamp:float")
        ),
    ),
    "w.csv": (
        TABLE,
        lambda path: path.write_text("\ufeff" + delimited(",", "u,i,r,t").replace("\n", "\r\n")),
    ),
    "w.parquet": (TABLE, write_parquet),
}


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_world_in_every_format(name: str, tmp_path: Path) -> None:
    source, write = FORMATS[name]
    write(tmp_path / name)
    actual = load(source, tmp_path / name)
    assert named(actual) == {
        "train": {"ann": [f"i{n}" for n in range(8)], "bob": ["i0", "i3"]},
        "valid": {"ann": ["i8"], "bob": []},
        "test": {"ann": ["i9"], "bob": []},
    }
    assert actual.item_ids == ("i0", "i3", "i1", "i2", "i4", "i5", "i6", "i7", "i8", "i9")
    if not isinstance(source, Table):
        assert load(source, tmp_path).digest() == actual.digest()  # the folder will do


def test_ratings_below_the_minimum_and_small_users_are_dropped(tmp_path: Path) -> None:
    (tmp_path / "u.data").write_text(delimited("\t"))
    actual = load(MovieLens(path="-", min_rating=4.5, min_user_interactions=3), tmp_path)
    assert (actual.user_ids, sorted(actual.item_ids)) == (("ann",), [f"i{n}" for n in range(9)])


def test_a_table_needs_neither_rating_nor_time(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("item,user\n" + "".join(f'"item {n}",7\n' for n in range(10)))
    actual = load(Table(path=str(tmp_path / "w.csv")))
    assert (actual.user_ids, actual.n_items) == (("7",), 10)
    assert [len(part.items) for part in (actual.train, actual.valid, actual.test)] == [7, 1, 2]


def test_columns_that_are_not_needed_may_be_absent_from_recbole_files(tmp_path: Path) -> None:
    (tmp_path / "w.inter").write_text("user_id:token\titem_id:token\na\tx\na\ty\n")
    assert load(RecBole(path="-", split=ByRatio()), tmp_path).n_items == 2
    with pytest.raises(
        InputError, match="found no column 'timestamp', expected one; the columns are user_id:token, it"
    ):
        load(RecBole(path="-", split=ByTime()), tmp_path)
    actual = load(RecBole(path="-"), tmp_path)
    assert actual.read is not None
    assert actual.read.notes == ("w.inter: without times, it is divided at random: data.split {type: ratio}",)


BAD_TABLES = [
    ("", "w.csv: the file is empty"),
    ("u,i,r,t\n", "w.csv: has no line after the header"),
    ("u,i,r\na,b,1\n", "w.csv: found no column 't', expected one; the columns are u, i, r"),
    ("u,u,i,r,t\na,a,b,1,2\n", "w.csv: found 2 columns 'u', expected one"),
    ("u,i,r,t\na,b,1,2\na,c\n", "w.csv, line 3: found 2 fields, expected 4: u, i, r, t"),
    ("u,i,r,t\na,b,1,2\na,c,1", "w.csv, line 3: found 3 fields, expected 4: u, i, r, t"),
    ("u,i,r,t\na,b,1,2\n\n,c,1,2\n", "w.csv, line 4: found nothing in column 'u', expected a name"),
    ('u,i,r,t\na,"b\nb",1,2\n,c,1,2\n', "w.csv, line 4: found nothing in column 'u', expected a name"),
    ("u,i,r,t\na,b,1,2\na,,1,2\n", "w.csv, line 3: found nothing in column 'i', expected a name"),
    ("u,i,r,t\na,b,9,2\na,c,good,2\n", "w.csv, line 3: found 'good' in column 'r', expected a number"),
    ("u,i,r,t\na,b,9,2\na,c,nan,2\n", "w.csv, line 3: found nan in column 'r', expected a finite number"),
    ("u,i,r,t\na,b,1,2\na,c,1,\n", "w.csv, line 3: found '' in column 't', expected a number"),
    ("u,i,r,t\na,b,-1,2\n", r"w.csv: no interaction is left with min_rating\(=1.0\).*: 1 row, 1 below min_"),
]


@pytest.mark.parametrize(("text", "message"), BAD_TABLES)
def test_a_bad_table_is_refused_with_its_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load(msgspec.structs.replace(TABLE, min_rating=1.0), tmp_path / "w.csv")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_text_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_bytes(b"u,i,r,t\na,b,1,2\na,\xff\xfe,1,2\n")
    with pytest.raises(InputError, match=r"w.csv, line 3: found '\\\\xff', expected text in UTF-8"):
        load(TABLE, tmp_path / "w.csv")


def test_bad_places_are_refused(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    for name in ("ratings.csv", "u.data", "w.xlsx"):
        (tmp_path / "two" / name).write_text("x\n")
    for source, path, message in (
        (LightGCN(path="-"), tmp_path / "none", "none: no such folder; expected one with train.txt"),
        (TABLE, tmp_path / "none.csv", "none.csv: no such file"),
        (TABLE, tmp_path / "two" / "w.xlsx", "w.xlsx: found the ending '.xlsx', expected .parquet, or t"),
        (TABLE, tmp_path / "two", "two: is a folder, expected a file; it holds ratings.csv, u.data, w.xlsx"),
        (MovieLens(path="-"), tmp_path / "two", "two: found ratings.csv, u.data, expected exactly one of"),
        (RecBole(path="-"), tmp_path / "two", "two: found none, expected exactly one of .*inter"),
    ):
        with pytest.raises(InputError, match=message):
            load(source, path)


def test_a_bad_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.parquet"
    write_parquet(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"w.parquet: cannot be read: Parquet magic bytes not found"):
        load(TABLE, path)
    pyarrow.parquet.write_table(pa.table({"u": ["a", None], "i": ["x", "y"], "r": [1, 2], "t": [1, 2]}), path)
    with pytest.raises(InputError, match=r"w.parquet, row 2: found nothing in column 'u', expected a name"):
        load(TABLE, path)


# --- LightGCN's folders ---------------------------------------------------------------------------

FOLDER = {
    "train.txt": "0 2 0 1\n1 0 3\n2 2 4 5\n",
    "valid.txt": "0 3\n1\n2 0\n",
    "test.txt": "0 4\n1 1 2\n2 3\n",
}


def write_folder(folder: Path, **changed: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in FOLDER.items():
        (folder / name).write_text(changed.get(name.removesuffix(".txt"), text))
    return folder


def test_a_lightgcn_folder_is_read_as_it_was_split(tmp_path: Path) -> None:
    assert named(load(LightGCN(path=str(write_folder(tmp_path / "w"))))) == {
        "train": {"0": ["0", "1", "2"], "1": ["0", "3"], "2": ["2", "4", "5"]},
        "valid": {"0": ["3"], "1": [], "2": ["0"]},
        "test": {"0": ["4"], "1": ["1", "2"], "2": ["3"]},
    }


LONG = "".join(f"{user} 0 1 2 3 4 5\n" for user in range(40))
BAD_FOLDERS = [
    ({"train": ""}, "train.txt: the file is empty"),
    ({"train": "0 1 2\n1 x 3\n"}, "train.txt, line 2: found 'x', expected numbers >= 0"),
    ({"train": "0 1 2\n1 -3\n"}, "train.txt, line 2: found '-3', expected numbers >= 0"),
    ({"train": "0 1 2\n1 1.5\n"}, "train.txt, line 2: found '1.5', expected numbers >= 0"),
    (
        {"valid": "".join(f"{user} 0\n" for user in range(3, 14))},
        "valid.txt, line 1: user 3 is not in .*train.txt, which ends at user 2: it",
    ),
    ({"test": "0 2\n"}, "test.txt, line 1: item 2 of user 0 is also in train.txt"),
    ({"test": "0 3\n"}, "test.txt, line 1: item 3 of user 0 is also in valid.txt"),
    ({"test": f"0 {' '.join(map(str, range(6, 17)))}\n"}, "train.txt: seems cut off: 11 of the 17 items"),
    ({"test": f"0 {'9' * 30}\n"}, "test.txt, line 1: found '9999"),
    ({"train": LONG, "valid": "39 6\n", "test": "3 7\n"}, "test.txt: seems cut off: it ends at user 3, but"),
    ({"train": "0\n1\n2\n"}, "train.txt: has no interactions"),
]


@pytest.mark.parametrize(("changed", "message"), BAD_FOLDERS)
def test_a_bad_folder_is_refused_with_its_line(changed: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(LightGCN(path="-"), write_folder(tmp_path / "w", **changed))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["train.txt", "test.txt"])
def test_train_and_test_of_a_folder_must_be_there(name: str, tmp_path: Path) -> None:
    (write_folder(tmp_path / "w") / name).unlink()
    with pytest.raises(InputError, match=rf"no such (file|folder)|{name}: no such file"):
        load(LightGCN(path="-"), tmp_path / "w")


# --- properties -----------------------------------------------------------------------------------


@example(b"1,2\xba\n")  # a row with too few fields that is no UTF-8 either
@given(st.binary(max_size=200) | st.text("0123456789 \n\t,:-.nau\"'", max_size=200).map(str.encode))
def test_garbage_is_read_or_refused_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes
) -> None:
    folder = write_folder(tmp_path_factory.getbasetemp() / "garbage")
    (folder / "train.txt").write_bytes(garbage)
    (folder / "w.csv").write_bytes(b"u,i,r,t\n" + garbage)
    for name in ("w.inter", "u.data", "ratings.dat", "ratings.csv", "w.parquet"):
        (folder / name).write_bytes(garbage)
    sources: list[tuple[Data, str]] = [
        (LightGCN(path="-"), ""),
        (TABLE, "w.csv"),
        (TABLE, "w.parquet"),
        (RecBole(path="-"), "w.inter"),
        *((MovieLens(path="-"), name) for name in ("u.data", "ratings.dat", "ratings.csv")),
    ]
    for source, name in sources:
        with contextlib.suppress(InputError):
            assert load(source, folder / name).n_users > 0


@given(st.data())
def test_a_cut_inside_a_line_is_found_or_told(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A line that lost a field is refused; one that lost digits of its last may be whole, and is told."""
    folder = tmp_path_factory.getbasetemp()
    name = data.draw(st.sampled_from(["ratings.dat", "u.data", "ratings.csv", "w.inter"]))
    source, write = FORMATS[name]
    write(folder / name)
    whole = (folder / name).read_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1).filter(lambda at: whole[at - 1 : at] != b"\n"))
    (folder / name).write_bytes(whole[:cut])
    with contextlib.suppress(InputError):
        actual = load(source, folder / name)
        assert actual.read is not None
        assert "the last line has no line break" in actual.read.notes[0]


# --- real data ------------------------------------------------------------------------------------


@pytest.mark.data
def test_movielens_1m_is_read_whole(data_root: Path) -> None:
    actual = load(LightGCN(path=str(data_root / "ml-1m")))
    sizes = [len(part.items) for part in (actual.train, actual.valid, actual.test)]
    assert (actual.name, actual.n_users, actual.n_items, sizes) == (
        "ml-1m",
        6039,
        3628,
        [590733, 80897, 164848],
    )
    assert (np.diff(actual.popularity()) <= 0).all()


@pytest.mark.data
def test_half_of_movielens_1m_is_refused(data_root: Path, tmp_path: Path) -> None:
    for name in ("train.txt", "valid.txt", "test.txt"):
        (tmp_path / name).write_bytes((data_root / "ml-1m" / name).read_bytes())
    for name in ("train.txt", "valid.txt", "test.txt"):
        whole = (tmp_path / name).read_bytes()
        for half in (whole[: len(whole) // 2], whole[: whole.index(b"\n", len(whole) // 2) + 1]):
            (tmp_path / name).write_bytes(half)
            with pytest.raises(InputError, match="cut off"):
                load(LightGCN(path="-"), tmp_path)
        (tmp_path / name).write_bytes(whole)


@pytest.mark.data
def test_movielens_100k_is_split_by_time(data_root: Path) -> None:
    actual = load(RecBole(path=str(data_root / "ml-100k")))
    sizes = [len(part.items) for part in (actual.train, actual.valid, actual.test)]
    assert (actual.n_users, actual.n_items, sum(sizes)) == (943, 1682, 100_000)
    liked = load(RecBole(path=str(data_root / "ml-100k"), min_rating=4))
    assert len(liked.train.items) + len(liked.valid.items) + len(liked.test.items) == 55_375
