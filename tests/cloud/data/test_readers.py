"""Interactions do not depend on the file format; files that cannot be read are refused in one line."""

import bz2
import contextlib
import csv
import gzip
import io
import lzma
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.data.interactions import Interactions, ReadCounts
from cloud.data.load import check_measurable, load
from cloud.data.sources import ByRatio, ByTime, Data, LightGCN, MovieLens, RecBole, Table
from wire.errors import InputError

START = datetime(2020, 1, 31, 10, tzinfo=UTC)
Row = tuple[str, str, float, int]
WORLD: list[Row] = [
    (f"u{n % 7}", f"0{n % 11}", float(n % 5), 1_580_000_000 + 977 * n) for n in range(60) if n % 13
]


def read(actual: Interactions) -> ReadCounts:
    assert actual.read is not None
    return actual.read


def refused(data: Data, path: Path) -> str:
    """Return the line by which *path* is refused, without the folder it lies in."""
    with pytest.raises(InputError) as caught:
        load(data, path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.isprintable()
    return text.replace(f"{path.parent}{os.sep}", "")


def written(rows: Sequence[Sequence[object]], separator: str, end: str, *, quote: bool) -> str:
    if len(separator) > 1:
        return "".join(separator.join(map(str, row)) + end for row in rows)
    out = io.StringIO()
    csv.writer(
        out, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL if quote else csv.QUOTE_MINIMAL
    ).writerows(rows)
    return out.getvalue()


def zstd(raw: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(raw)
    return bytes(sink.getvalue())


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
}
STAMPS: dict[str, Callable[[int], str]] = {
    "seconds": str,
    "milliseconds": lambda second: f"{second}000",
    "float": lambda second: f"{second}.0",
    "iso": lambda second: datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S"),
    "zone": lambda second: (datetime.fromtimestamp(second, UTC) + timedelta(hours=2)).strftime(
        "%Y-%m-%dT%H:%M:%S+02:00"
    ),
    "utc": lambda second: datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
}


@settings(deadline=None)
@given(st.data())
def test_the_same_interactions_in_every_shape(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    names = {"user": "user", "item": "item", "rating": "rating", "time": "time"}
    separator = data.draw(st.sampled_from([",", "\t", ";", "|", "::"]), "separator")
    said = data.draw(st.booleans(), "separator said")
    header = data.draw(st.booleans(), "header")
    encoding = data.draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]), "encoding")
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]), "line end")
    last = data.draw(st.sampled_from(["", "break", "blank"]), "last line")
    packed = data.draw(st.sampled_from(list(PACKED)), "packed")
    stamp = STAMPS[data.draw(st.sampled_from(list(STAMPS)), "times")]
    decimal = data.draw(st.sampled_from([".", ","] if separator == ";" else ["."]), "decimal")
    order = data.draw(st.permutations(list(names)), "order of columns")
    quote = data.draw(st.booleans(), "quoted") and len(separator) == 1
    table = [
        {"user": u, "item": i, "rating": str(r).replace(".", decimal), "time": stamp(t)}
        for u, i, r, t in WORLD
    ]
    rows = [[row[name] for name in order] for row in table]
    text = written([*([order] if header else []), *rows], separator, end, quote=quote)
    text = {"": text.removesuffix(end), "break": text, "blank": text + end}[last]
    path = tmp_path_factory.mktemp("shape") / f"w.csv{packed}"
    path.write_bytes(PACKED[packed](text.encode(encoding)))
    source = Table(
        path="-",
        rating="rating",
        time="time",
        split=ByTime(),
        min_rating=1.0,
        header=header,
        columns=() if header else tuple(order),
        separator=separator if said else None,
        encoding=encoding,
        decimal=decimal,  # type: ignore[arg-type]
    )
    actual = load(source, path)
    assert actual.digest() == load(PLAIN, write_plain(tmp_path_factory)).digest()
    assert (
        read(actual).describe() == f"{len(WORLD)} rows, {sum(row[2] < 1 for row in WORLD)} below min_rating 1"
    )


PLAIN = Table(path="-", rating="rating", time="time", split=ByTime(), min_rating=1.0)


def write_plain(factory: pytest.TempPathFactory) -> Path:
    path = factory.getbasetemp() / "plain.csv"
    path.write_text("user,item,rating,time\n" + "".join(f"{','.join(map(str, row))}\n" for row in WORLD))
    return path


@settings(deadline=None)
@given(st.data())
def test_any_bytes_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A table of which some bytes are others, or some are gone."""
    path = write_plain(tmp_path_factory).with_name("fuzzed.csv")
    raw = bytearray(write_plain(tmp_path_factory).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(
            st.sampled_from(b'\0\n\r\t ,;"\xff\x1f-1e') | st.integers(0, 255)
        )
    del raw[data.draw(st.integers(0, len(raw))) :]
    path.write_bytes(raw)
    for source in (PLAIN, Table(path="-", header=False, split=ByRatio()), LightGCN(path="-")):
        with contextlib.suppress(InputError):
            assert load(source, path).n_users > 0


# --- ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["user", "item"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_no_number_is_no_name(column: str, value: float, tmp_path: Path) -> None:
    ids = {"user": [1.0, 2.0, 3.0], "item": [7.0, 8.0, 9.0]}
    ids[column][1] = value
    pyarrow.parquet.write_table(pa.table(ids), tmp_path / "w.parquet")
    words = f"found {value} in column '{column}', expected a name"
    assert refused(Table(path="-"), tmp_path / "w.parquet") == f"w.parquet, row 2: {words}"
    lines = "".join(f"{user},{item}\n" for user, item in zip(*ids.values(), strict=True))
    (tmp_path / "w.csv").write_text("user,item\n" + lines)
    words = f"found '{value}' in column '{column}', expected a name"
    assert refused(Table(path="-"), tmp_path / "w.csv") == f"w.csv, line 3: {words}"


def test_nan_is_a_name_among_names(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("user,item\nnan,Inf\nada,Lovelace\n")
    assert load(Table(path="-"), tmp_path / "w.csv").user_ids == ("nan", "ada")


def test_ids_keep_their_digits(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("user,item\n007,18446744073709551617\n7,1.0\n1e3,x\n")
    actual = load(Table(path="-"), tmp_path / "w.csv")
    assert (actual.user_ids, sorted(actual.item_ids)) == (
        ("007", "7", "1e3"),
        ["1.0", "18446744073709551617", "x"],
    )
    big = pa.table({"user": pa.array([2**63, 5], pa.uint64()), "item": pa.array([1e15, 2.0])})
    pyarrow.parquet.write_table(big, tmp_path / "w.parquet")
    actual = load(Table(path="-"), tmp_path / "w.parquet")
    assert (actual.user_ids, sorted(actual.item_ids)) == (
        ("9223372036854775808", "5"),
        ["1000000000000000", "2"],
    )


def test_whole_decimals_are_written_without_a_point(tmp_path: Path) -> None:
    ids = pa.array(["1", "20", "7"]).cast(pa.decimal128(12, 2))
    pa.parquet.write_table(pa.table({"user": ids, "item": ids}), tmp_path / "w.parquet")
    assert load(Table(path="-"), tmp_path / "w.parquet").user_ids == ("1", "20", "7")


@pytest.mark.parametrize(
    "kind",
    [pa.string(), pa.large_string(), pa.binary(), pa.dictionary(pa.int32(), pa.string())],
    ids=str,
)
def test_texts_of_every_type_are_names(kind: object, tmp_path: Path) -> None:
    users, items = pa.array(["b", "a", "b"]), pa.array(["x", "y", "z"])
    columns = {"user": users, "item": items}
    cast = {
        name: each.dictionary_encode() if pa.types.is_dictionary(kind) else each.cast(kind)
        for name, each in columns.items()
    }
    pyarrow.parquet.write_table(pa.table(cast), tmp_path / "w.parquet", row_group_size=2)
    assert load(Table(path="-"), tmp_path / "w.parquet").user_ids == ("b", "a")


# --- ratings and times ----------------------------------------------------------------------------


def rated(path: Path, *ratings: str) -> Path:
    lines = "".join(f"u{n % 2},i{n},{rating}\n" for n, rating in enumerate(ratings))
    path.write_text("user,item,rating\n" + lines)
    return path


def test_what_is_dropped_is_counted(tmp_path: Path) -> None:
    path = rated(tmp_path / "w.csv", "-1", "3", "-1", "0", "5", "")
    assert read(load(Table(path="-", rating="rating"), path)).describe() == "6 rows, 2 below min_rating 0"
    path.write_text("user,item\na,x\na,y\na,x\nb,x\nb,y\nc,z\n")
    actual = load(Table(path="-", min_user_interactions=2), path)
    assert read(actual).dropped == {"repeated": 1, "of users or items with too few interactions": 1}


def test_ratings_are_numbers_where_something_is_asked_of_them(tmp_path: Path) -> None:
    path = rated(tmp_path / "w.csv", "good", "", "4", "bad")
    actual = load(Table(path="-", rating="rating"), path)
    assert (read(actual).describe(), read(actual).notes) == (
        "4 rows",
        ("w.csv: ratings that are no numbers: 3; their rows stay",),
    )
    asked = Table(path="-", rating="rating", min_rating=1)
    assert refused(asked, path) == "w.csv, line 2: found 'good' in column 'rating', expected a number"


@pytest.mark.parametrize(
    ("rating", "hint"),
    [
        ("4,5", '; where the comma is the decimal mark, set data.decimal: ","'),
        ("1,234.5", " without marks between thousands"),
        ("1 234", " without marks between thousands"),
    ],
)
def test_marks_in_numbers_are_named(rating: str, hint: str, tmp_path: Path) -> None:
    path = rated(tmp_path / "w.csv", "4", f'"{rating}"')
    words = f"w.csv, line 3: found '{rating}' in column 'rating', expected a number{hint}"
    assert refused(Table(path="-", rating="rating", min_rating=1), path) == words


def timed(path: Path, *times: str) -> Path:
    path.write_text("user,item,time\n" + "".join(f"u,i{n},{time}\n" for n, time in enumerate(times)))
    return path


BY_TIME = Table(path="-", time="time", split=ByTime(valid_share=0.0, test_share=0.3))


@pytest.mark.parametrize(
    "times",
    [
        ("1969-12-31", "1960-01-01", "2020-01-01"),
        ("-5", "-10", "3.5"),
        ("2020-01-01T00:30:00+01:00", "2020-01-01T00:00:00+02:00", "2019-12-31T23:45:00Z"),
        ("2020-01-01 00:00:00.5", "2020-01-01 00:00:00.25", "2020-01-01 00:00:00.75"),
    ],
)
def test_the_last_by_time_is_the_test(times: Sequence[str], tmp_path: Path) -> None:
    """Item i2 is the last, before 1970 or not, whatever the zone."""
    actual = load(BY_TIME, timed(tmp_path / "w.csv", *times))
    assert [actual.item_ids[item] for item in actual.test[0]] == ["i2"]


def test_times_that_do_not_compare_are_refused(tmp_path: Path) -> None:
    path = timed(tmp_path / "w.csv", "2020-01-01T00:00:00Z", "2020-01-01T00:00:00", "2020-01-01T00:00:00Z")
    assert refused(BY_TIME, path).startswith(
        "w.csv, line 3: found '2020-01-01T00:00:00' in column 'time', exp"
    )
    path = timed(tmp_path / "w.csv", "2020-01-01", "13/01/2020")
    assert refused(BY_TIME, path).startswith(
        "w.csv, line 3: found '13/01/2020' in column 'time', expected a n"
    )


def test_seconds_among_milliseconds_are_told(tmp_path: Path) -> None:
    path = timed(tmp_path / "w.csv", "1580000000", "1580000001000", "1580000002")
    assert read(load(BY_TIME, path)).notes == (
        "w.csv: column time seems to have seconds in some rows and milliseconds in others",
    )


def test_ratings_and_times_of_parquet_may_be_texts_or_nothing(tmp_path: Path) -> None:
    columns: dict[str, object] = {
        "user": ["u"] * 3,
        "item": ["i0", "i1", "i2"],
        "time": ["2020-01-01", "2019-01-01", "2020-01-01T00:01"],
        "rating": pa.array([1, 2, 3], pa.timestamp("s")),
    }
    pyarrow.parquet.write_table(pa.table(columns), tmp_path / "w.parquet")
    actual = load(msgspec.structs.replace(BY_TIME, rating="rating"), tmp_path / "w.parquet")
    assert [actual.item_ids[item] for item in actual.test[0]] == ["i2"]
    assert read(actual).notes == ("w.parquet: ratings that are no numbers: 3; their rows stay",)
    pyarrow.parquet.write_table(pa.table(columns | {"time": [1, None, 3]}), tmp_path / "w.parquet")
    assert refused(BY_TIME, tmp_path / "w.parquet") == (
        "w.parquet, row 2: found nothing in column 'time', expected a number"
    )
    pyarrow.parquet.write_table(pa.table(columns | {"user": [[1]] * 3}), tmp_path / "w.parquet")
    assert refused(BY_TIME, tmp_path / "w.parquet") == (
        "w.parquet: column 'user' has values of type list<element: int64>, expected names"
    )


def test_times_in_parquet(tmp_path: Path) -> None:
    for kind in (pa.timestamp("ms"), pa.timestamp("us", "Europe/Berlin"), pa.date32(), pa.date64()):
        stamps = pa.array([START + timedelta(days=days) for days in (0, -3, 1)]).cast(kind)
        table = pa.table({"user": ["u"] * 3, "item": ["i0", "i1", "i2"], "time": stamps})
        pyarrow.parquet.write_table(table, tmp_path / "w.parquet")
        actual = load(BY_TIME, tmp_path / "w.parquet")
        assert [actual.item_ids[item] for item in actual.test[0]] == ["i2"]


# --- tables as people have them -------------------------------------------------------------------


def test_a_table_without_a_header_has_numbers_or_names(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("3,a,x\n4,a,y\n1,b,x\n")
    expected = load(
        Table(path="-", header=False, columns=("r", "u", "i"), user="u", item="i"), tmp_path / "w.csv"
    )
    numbered = load(Table(path="-", header=False, user=2, item=3), tmp_path / "w.csv")
    assert (numbered.user_ids, numbered.digest()) == (("a", "b"), expected.digest())
    (tmp_path / "w.csv").write_text("a,x\na,y\nb,x\n")
    assert load(Table(path="-", header=False), tmp_path / "w.csv").digest() == expected.digest()
    assert refused(Table(path="-"), tmp_path / "w.csv").endswith("the columns are a, x")


@pytest.mark.parametrize("blank", ["\n", "\n\n", "  \n \n"])
@pytest.mark.parametrize("header", ["user,item", '"user","item"'])
def test_blank_lines_before_the_header_are_no_rows(header: str, blank: str, tmp_path: Path) -> None:
    path = tmp_path / "w.csv"
    path.write_text(f"{blank}{header}\na,x\n\nb,x\n")
    actual = load(Table(path="-"), path)
    assert (actual.user_ids, actual.item_ids, read(actual).rows) == (("a", "b"), ("x",), 2)
    path.write_text(f"{blank}{header}\na,x\n\n,x\n")
    line = blank.count("\n") + 4
    assert (
        refused(Table(path="-"), path)
        == f"w.csv, line {line}: found nothing in column 'user', expected a name"
    )


def test_lists_of_pairs_begin_with_a_comment(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    for comment in ("% bip weighted\n% 3 2 2\n", "# Directed graph\n\n# From\tTo\n", "%\n"):
        path.write_text(f"{comment}a\tx\na\ty\n#b\tx\n")
        actual = load(Table(path="-", header=False), path)
        assert (actual.user_ids, read(actual).rows) == (("a", "#b"), 3)
        assert [note.partition(": ")[2][:44] for note in read(actual).notes] == [
            "a comment before the first row is left out: "
        ]
        path.write_text(f"{comment}a\tx\na\n")
        line = comment.count("\n") + 2
        assert (
            refused(Table(path="-", header=False), path)
            == f"out.txt, line {line}: found 1 field, expected 2: 1, 2"
        )
    path.write_text("# nothing\n# at all\n")
    assert refused(Table(path="-", header=False), path) == "out.txt: has no line with a name or a value"
    path.write_text("# Directed graph\n# From To\n1\t2\n")
    assert refused(Table(path="-"), path).endswith(
        "the columns are #, Directed, graph; where the file begins with a comment and has no header, "
        "set data.header: false"
    )
    path.write_text("#a\tx\n#b\tx\n")
    assert load(Table(path="-", header=False), path).user_ids == ("#a", "#b")


@pytest.mark.parametrize("word", ["NULL", "null", "None", "NA", "N/A", "#N/A", "<NA>", "NaN", " nan", r"\N"])
def test_words_for_nothing_are_no_names_among_numbers(word: str, tmp_path: Path) -> None:
    path = tmp_path / "w.csv"
    path.write_text(f"user,item\n1,7\n{word},7\n2,8\n")
    assert refused(Table(path="-"), path) == (
        f"w.csv, line 3: found {word.strip()!r} in column 'user', expected a name"
    )
    path.write_text(f"user,item\nMax,7\n{word},7\n2,8\n")
    assert word.strip() in load(Table(path="-"), path).user_ids


def test_columns_that_are_not_there_get_a_hint(tmp_path: Path) -> None:
    path = tmp_path / "w.csv"
    path.write_text('"User-ID";"ISBN";"Book-Rating"\n"1";"5";"2"\n')
    assert refused(Table(path="-"), path) == (
        "w.csv: found no column 'user', expected one; the columns are User-ID, ISBN, Book-Rating; "
        "did you mean user: 'User-ID'? (with the separator ';')"
    )
    assert load(Table(path="-", user="User-ID", item="ISBN"), path).n_items == 1
    path.write_text("1,5,978301000\n1,6,978301001\n")
    assert refused(Table(path="-"), path) == (
        "w.csv: found no column 'user', expected one; the columns are 1, 5, 978301000; "
        "where the file has no header, set data.header: false"
    )
    path.write_bytes(b"user,\x1b[31mitem\x1b[0m," + b",".join(b"c%d" % n for n in range(20000)) + b"\n1,2\n")
    assert refused(Table(path="-"), path).startswith(
        r"w.csv: found no column 'item', expected one; the columns are user, \x1b[31mitem\x1b[0m, c0, c1, c2"
    )
    assert len(refused(Table(path="-"), path)) < 400


def test_a_name_may_hold_line_breaks_and_separators(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text('user, item\n1, "a,\nb"\n1, "c ""d"""\n')
    assert load(Table(path="-"), tmp_path / "w.csv").item_ids == ("a,\nb", 'c "d"')


def test_fields_of_any_length_are_read(tmp_path: Path) -> None:
    long = "x" * 200_000
    (tmp_path / "w.csv").write_text(f"user,item,{long}\n1,{long},3\n")
    assert load(Table(path="-"), tmp_path / "w.csv").item_ids == (long,)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "w.csv: the file is empty"),
        (b"\n\n", "w.csv: the file is empty"),
        (b"user,item\n", "w.csv: has no line after the header"),
        (b"user,item", "w.csv: has no line after the header"),
        (b"user,item\n1,Am\xe9lie\n", "w.csv, line 2: found '\\\\xe9', expected text in UTF-8; where it h"),
        ("user,item\n1,2\n".encode("utf-16-le"), "w.csv, line 1: found a NUL, expected text; where it is U"),
        (b"PK\x03\x04rest", "w.csv: is a zip archive or a spreadsheet; unpack it, or save it as .csv"),
        (b"x" * 257 + b"ustar\x0000", "w.csv: is a tar archive; unpack it"),
        (b"PAR1rest", "w.csv: is a Parquet file; its name must end in .parquet"),
        (gzip.compress(b"user,item\n1,2\n" * 9, mtime=0)[:-9], "w.csv: cannot be unpacked, it seems cut off"),
        (gzip.compress(bytes(2**27), mtime=0), "w.csv: unpacks to more than 67,108,864 bytes"),
        (b'user,item\n1,"2\n1,3\n', "w.csv, line 2: a quote begins in this row and does not"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused(raw: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_bytes(raw)
    assert refused(Table(path="-"), tmp_path / "w.csv").startswith(words)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    for name in ("pipe.csv", "zero.csv"):
        assert refused(Table(path="-"), tmp_path / name) == f"{name}: is no regular file"
    folder = refused(Table(path="-"), tmp_path)
    assert folder.endswith("is a folder, expected a file; it holds pipe.csv, zero.csv")


def test_equal_rows_of_parquet_take_little_memory(tmp_path: Path) -> None:
    """Thirty million rows may lie in a file of some kilobytes: the text of each is kept once."""
    rows = 1_000_000
    names = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), ["x" * 1000])
    column = pa.chunked_array([names] * (rows // 1000))
    table = pa.table({"user": column, "item": column})
    pyarrow.parquet.write_table(table, tmp_path / "w.parquet")
    del table
    before = pa.total_allocated_bytes()
    actual = load(Table(path="-"), tmp_path / "w.parquet")
    assert read(actual).describe() == "1,000,000 rows, 999,999 repeated"
    assert pa.default_memory_pool().max_memory() - before < 400 * 2**20  # as text: 2 GB


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4), st.booleans()
)
def test_a_damaged_parquet_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]], once: bool
) -> None:
    """A dictionary may lack the words that rows name: pyarrow itself looks past its end."""
    path = tmp_path_factory.getbasetemp() / "damaged.parquet"
    users, items, ratings, times = (list(column) for column in zip(*WORLD, strict=True))
    table = pa.table({"user": users, "item": items, "rating": ratings, "time": list(map(str, times))})
    pyarrow.parquet.write_table(table, path, use_dictionary=once)
    raw = bytearray(path.read_bytes())
    for at, value in flips:
        raw[at % len(raw)] = value
    path.write_bytes(raw)
    with contextlib.suppress(InputError):
        assert load(PLAIN, path).n_users > 0


def test_bytes_that_a_file_calls_text_are_refused(tmp_path: Path) -> None:
    ends, raw = (pa.py_buffer(each) for each in (bytes([0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]), b"\xff\xfe"))
    words = pa.Array.from_buffers(pa.string(), 2, [None, ends, raw])
    pyarrow.parquet.write_table(pa.table({"user": words, "item": [1, 2]}), tmp_path / "w.parquet")
    text = refused(Table(path="-"), tmp_path / "w.parquet")
    assert text.startswith("w.parquet: cannot be read: In column 0: Invalid")


# --- sources with files of their own --------------------------------------------------------------

INTER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"


def inter(rows: Sequence[Row]) -> str:
    return INTER + "".join("\t".join(map(str, row)) + "\n" for row in rows)


def test_recbole_files_that_are_split_already(tmp_path: Path) -> None:
    parts = {"train": WORLD[:30], "valid": WORLD[30:34], "test": WORLD[34:]}
    for part, rows in parts.items():
        (tmp_path / f"ds.{part}.inter").write_text(inter(rows))
    actual = load(RecBole(path="-"), tmp_path)
    pairs = {part: {row[:2] for row in rows} for part, rows in parts.items()}
    pairs["valid"] -= pairs["train"]
    pairs["test"] -= pairs["train"] | pairs["valid"]
    for part, expected in pairs.items():
        users, items = getattr(actual, part).pairs()
        assert {
            (actual.user_ids[u], actual.item_ids[i]) for u, i in zip(users, items, strict=True)
        } == expected
    assert read(actual).rows == len(WORLD)
    (tmp_path / "ds.valid.inter").unlink()
    assert len(load(RecBole(path="-", split=ByTime(valid_share=0.2)), tmp_path).valid.items) > 0
    (tmp_path / "ds.test.inter").unlink()
    assert refused(RecBole(path="-"), tmp_path).endswith("NAME.valid.inter or none, NAME.test.inter)")


def test_recbole_columns_have_other_names(tmp_path: Path) -> None:
    plain = inter(WORLD)
    (tmp_path / "w.inter").write_text(plain)
    expected = load(RecBole(path="-"), tmp_path).digest()
    renamed = plain.replace("item_id:token", "artist_id:token").replace("rating:float", "weight:float")
    (tmp_path / "w.inter").write_text(renamed.replace("\t", ",") + "\n")
    assert "did you mean item: 'artist_id:token'?" in refused(RecBole(path="-"), tmp_path / "w.inter")
    for item in ("artist_id", "artist_id:token", 2):
        assert load(RecBole(path="-", item=item), tmp_path).digest() == expected
    table = Table(path="-", user="user_id", item=2, time="timestamp:float", split=ByTime())
    assert load(table, tmp_path / "w.inter").digest() == expected


FOLDER = {"train": "0 1 2 3 4\n1 2 3\n2 4 0\n", "test": "0 0\n1 1\n2 2\n"}


def folder_of(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    for name, text in (FOLDER | files).items():
        (folder / f"{name}.txt").write_text(text)
    return folder


def test_a_folder_without_valid_has_a_share_held_out(tmp_path: Path) -> None:
    source = LightGCN(path="-", valid_share=0.25)
    actual = load(source, folder_of(tmp_path / "w"))
    assert [part.counts().tolist() for part in (actual.train, actual.valid, actual.test)] == [
        [3, 1, 1],
        [1, 1, 1],
        [1, 1, 1],
    ]
    assert read(actual).notes == (
        "w: without valid.txt, 25 % of each user's training items are held out for validation: 3 of 8",
    )
    for name, files in {
        "empty": {"valid": ""},
        "users": {"valid": "0\n1\n\n"},
        "order": {"train": "2 4 0\n\n1 3 2\n0 4 3 2 1"},
        "mark": {"train": "\ufeff0 1 2\r\n0 3 4\r\n1 2 3\r\n2 4 0\r\n"},
        "nested/inside": {},
    }.items():
        folder_of(tmp_path / name, **files)
        assert load(source, tmp_path / name.split("/")[0]).digest() == actual.digest(), name


def test_numbers_of_a_folder_have_gaps(tmp_path: Path) -> None:
    actual = load(
        LightGCN(path="-"),
        folder_of(tmp_path / "w", train="7 900 5\n3 5\n", valid="3 900\n", test="9 5\n7 77\n"),
    )
    assert (actual.user_ids, sorted(actual.item_ids)) == (("3", "7", "9"), ["5", "77", "900"])
    assert read(actual).notes == ("w: 1 users have nothing in train.txt",)


def test_movielens_lies_in_a_folder_of_its_archive(tmp_path: Path) -> None:
    (tmp_path / "ml" / "inside").mkdir(parents=True)
    lines = "".join(f"{user}::{item}::{rating}::{time}\r\n" for user, item, rating, time in WORLD)
    (tmp_path / "ml" / "inside" / "ratings.dat.gz").write_bytes(gzip.compress(lines.encode()))
    assert load(MovieLens(path="-"), tmp_path / "ml").n_users == 7


def test_movielens_of_other_shapes_is_read_or_sent_to_the_table(tmp_path: Path) -> None:
    (tmp_path / "rating.csv").write_text(
        '"userId","movieId","rating","timestamp"\n1,"2",3.5,"2005-04-02 23:53:47"\n1,29,3.5,2005-04-03\n'
    )
    assert load(MovieLens(path="-"), tmp_path).item_ids == ("2", "29")
    shapes = {
        "ratings.csv": ("UserID,MovieID,Rating,Timestamp", "userId,movieId,rating,timestamp"),
        "r.csv": ("userId;movieId;rating;timestamp", "userId,movieId,rating,timestamp"),
        "ratings.dat": ("1;2;3;4", "userId::movieId::rating::timestamp, without a header"),
    }
    for name, (first, expected) in shapes.items():
        (tmp_path / name).write_text(f"{first}\n1,2,3,4\n")
        assert refused(MovieLens(path="-"), tmp_path / name) == (
            f"{name}: found '{first}' in the first line, expected {expected}; "
            "data.type: table reads other columns and separators"
        )


def test_nobody_to_measure_is_said(tmp_path: Path) -> None:
    path = timed(tmp_path / "w.csv", "1")
    with pytest.raises(
        InputError, match="w: no user has test interactions, so quality cannot be measured: its 1 u"
    ):
        check_measurable(load(BY_TIME, path))
