"""Traces: what the format allows, how a series plays, and which device plays which."""
# ruff: noqa: E501 - tables of cases: what is wrong, and the exact message beside it

import contextlib
import itertools
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.memory import Replay
from devices.traces.assignment import assigned_series, reuse_warnings, start_within
from devices.traces.availability import FOREVER, Availability, offline_spans
from devices.traces.cells import RefusedCellError, check_names, convert, read_cell
from devices.traces.columns import COLUMNS
from devices.traces.draft import read_draft
from devices.traces.series import Series, memory_changes, read_trace_column
from devices.traces.writer import Row, Sidecar, read_sidecar, sidecar_path, write_trace
from tests.devices.traces.reading import read_availability, read_memory, read_series
from wire.errors import InputError
from wire.units import NS_PER_S, Duration

S = NS_PER_S
REPLAY = Replay(file="x.csv")
HEAD_OF_A_DRAFT = b'{"source":"here","licence":"MIT","sampling":"by hand"}\n{"d":"a","t":0.0,"available":5,"total":9}\n{"d":"a",'
ONLINE = Availability(file="x.csv")


def trace(folder: Path, text: str) -> Path:
    file = folder / "trace.csv"
    file.write_bytes(text.encode("latin-1"))
    return file


def test_a_trace_file_holds_series_by_device_each_from_its_first_row(tmp_path: Path) -> None:
    file = trace(tmp_path, "device_id,t_s,mem_available_bytes\nb,5,70\na,0,10\na,1.5,20\nb,6,80\n")
    assert read_memory(REPLAY, file) == (
        Series((0, 1_500_000_000), (10, 20), 3 * S),
        Series((0, S), (70, 80), 2 * S),
    )


def test_without_device_ids_it_is_one_series_and_other_columns_are_not_read(tmp_path: Path) -> None:
    file = trace(tmp_path, "t_s,note,mem_available_bytes,online\n0,what,10,perhaps\n2,ever,20.0,\n")
    assert read_memory(REPLAY, file) == (Series((0, 2 * S), (10, 20), 4 * S),)


@pytest.mark.parametrize(
    ("rows", "series"),
    [
        # A last row without a value says when the series is over.
        ("0,10\n2,20\n7,\n", Series((0, 2 * S), (10, 20), 7 * S)),
        # Nothing new in between, and nothing known at first: the first value counts from the start.
        ("0,\n2,10\n3,\n4,20\n", Series((0, 4 * S), (10, 20), 8 * S)),
        # The last of equal times counts.
        ("0,10\n2,20\n2,30\n", Series((0, 2 * S), (10, 30), 4 * S)),
        ("3,10\n", Series((0,), (10,), 0)),
        ("3,10\n5,\n", Series((0,), (10,), 2 * S)),
    ],
)
def test_values_hold_until_the_next(tmp_path: Path, rows: str, series: Series[int]) -> None:
    assert read_memory(REPLAY, trace(tmp_path, "t_s,mem_available_bytes\n" + rows)) == (series,)


def test_parquet_says_the_same_as_csv(tmp_path: Path) -> None:
    columns = {
        "t_s": [0, 1],
        "device_id": ["a", "a"],
        "online": [True, None],
        "mem_available_bytes": [5.0, 6.0],
    }
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    pa.csv.write_csv(pa.table(columns), tmp_path / "x.csv")
    assert read_memory(REPLAY, tmp_path / "x.csv") == (Series((0, S), (5, 6), 2 * S),)
    assert read_memory(REPLAY, tmp_path / "x.parquet") == (Series((0, S), (5, 6), 2 * S),)
    assert read_availability(ONLINE, tmp_path / "x.csv") == (Series((0,), (True,), S),)
    assert read_availability(ONLINE, tmp_path / "x.parquet") == (Series((0,), (True,), S),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("t_s,free\n0,1\n", "column 'mem_available_bytes' is missing; the file has t_s, free"),
        ("mem_available_bytes\n1\n", "column 't_s' is missing; the file has mem_available_bytes"),
        ("", "column 't_s' is missing; the file has "),
        ("t_s,mem_available_bytes,t_s\n0,1,0\n", "column 't_s' occurs twice"),
        ("t_s,mem_available_bytes\n", "the trace is empty"),
        ("t_s,mem_available_bytes\n5,5\n4,6\n", r"row 2: t_s\(=4\) must not fall: it follows 5"),
        ("device_id,t_s,mem_available_bytes\na,5,5\nb,1,1\na,4,6\n", r"row 3: t_s\(=4\) must not fall"),
        ("t_s,mem_available_bytes\n0,5\n,6\n", r"row 2: t_s\(=nothing\) must have a value in every row"),
        ("t_s,mem_available_bytes\n-1,5\n", r"row 1: t_s\(=-1\) must be a number of seconds, not negative"),
        ("t_s,mem_available_bytes\nnan,5\n", r"row 1: t_s\(=nan\) must be a number of seconds"),
        ("t_s,mem_available_bytes\ninf,5\n", r"row 1: t_s\(=inf\) must be a number of seconds"),
        ("t_s,mem_available_bytes\n0,5\n1,x\n", r"row 2: mem_available_bytes\(=x\) must be a whole number"),
        ("t_s,mem_available_bytes\n0,-5\n", r"row 1: mem_available_bytes\(=-5\) must be a whole"),
        ("t_s,mem_available_bytes\n0,5.5\n", r"row 1: mem_available_bytes\(=5.5\) must be a whole number"),
        ("t_s,mem_available_bytes\n0,\n1,\n", "mem_available_bytes must have a value in some row"),
        ("device_id,t_s,mem_available_bytes\na,0,5\n,1,5\n", r"row 2: device_id\(=nothing\) must have"),
        ("t_s,mem_available_bytes\n0,5\n1\n", "cannot be read as a trace: row 2: must have 2 fields as the header, not 1"),
        ("t_s,mem_available_bytes\n0,9223372036854775807\n1,9223372036854775808\n", r"row 2: mem_available_bytes\(=9223372036854775808\) must be a whole number, not negative, below 2\^63"),
        ("t_s,mem_available_bytes\n0,5\n1,0x1F\n", r"row 2: mem_available_bytes\(=0x1F\) must be a whole"),
        ("t_s,mem_available_bytes\n0,5\n1,1_000\n", r"row 2: mem_available_bytes\(=1_000\) must be a whole"),
        ("t_s,mem_available_bytes\n0,5\n1,1e999999999\n", r"row 2: mem_available_bytes\(=1e999999999\) must be a whole"),
        ("t_s,mem_available_bytes\n0,5\n9e15,6\n9.1e15,6\n", r"row 3: t_s\(=9.1e15\) must be a number of seconds"),
        ("t_s,mem_available_bytes\n0,5\n9e9,6\n", r"row 2: t_s\(=9e\+09\) must be less than 4294967296 s after the first, 0"),
        ("device_id,t_s,mem_available_bytes\n1,0,5\nNaN,1,5\n", r"row 2: device_id\(=NaN\) must be a name"),
        ("device_id,t_s,mem_available_bytes\n-inf,0,5\n", r"row 1: device_id\(=-inf\) must be a name"),
        ("device_id,t_s,mem_available_bytes\na,0,5\nb,0,\nc,0,\n", r"device 'b': mem_available_bytes must have a value in some row \(2 of 3 devices have none; `without_data: leave_out` leaves them out\)"),
        ("t_s,mem_available_bytes\n0,5\n1,\x1b[31m\n", r"row 2: mem_available_bytes\(=\\x1b\[31m\) must be a whole"),
        ("\xff\xfet_s,free\n0,5\n", "cannot be read as a trace: it is not UTF-8 text"),
        ("t_s,\x1b[31mfree\n0,5\n", r"the file has t_s, \\x1b\[31mfree"),
        ("t_s,mem_available_bytes\n0,99999999999999999999\n", r"mem_available_bytes\(=9+\) must be a whole"),
    ],
)  # fmt: skip
def test_a_damaged_trace_is_refused_with_its_row(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_memory(REPLAY, trace(tmp_path, text))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1.0, float("nan")], r"row 2: device_id\(=nan\) must be a name: text or a whole number"),
        ([float("inf"), 1.0], r"row 1: device_id\(=inf\) must be a name"),
        ([1.0, None], r"row 2: device_id\(=nothing\) must have a value in every row"),
        ([1.5, 1.0], r"row 1: device_id\(=1.5\) must be a name"),
        ([True, False], r"row 1: device_id\(=True\) must be a name"),
        ([[1], [2]], r"row 1: device_id\(=\[1\]\) must be a name"),
    ],
)
def test_what_is_no_name_never_becomes_a_device(tmp_path: Path, ids: list[object], message: str) -> None:
    columns = {"device_id": ids, "t_s": [0, 1], "mem_available_bytes": [5, 6]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=message):
        read_memory(REPLAY, tmp_path / "x.parquet")


def test_bytes_that_a_file_calls_text_are_refused_with_their_row(tmp_path: Path) -> None:
    no_text = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0\3\0\0\0"), pa.py_buffer(b"a\xff\xfe")]
    )
    columns = {"device_id": no_text, "t_s": [0, 1], "mem_available_bytes": [5, 6]}
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=r"row 2: device_id\(=b'\\xff\\xfe'\) must be a name"):
        read_memory(REPLAY, tmp_path / "x.parquet")


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6))
@settings(deadline=None, derandomize=True)
def test_a_damaged_parquet_file_is_a_trace_or_a_clean_error(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
) -> None:
    file = tmp_path_factory.getbasetemp() / "damaged.parquet"
    columns = {"device_id": ["a", "b"] * 50, "t_s": list(range(100)), "mem_available_bytes": list(range(100))}
    pq.write_table(pa.table(columns), file)
    raw = bytearray(file.read_bytes())
    for at, byte in changes:
        raw[at % len(raw)] = byte
    file.write_bytes(bytes(raw))
    with contextlib.suppress(InputError):
        assert read_memory(REPLAY, file)


def test_names_are_what_is_written_however_the_file_keeps_them(tmp_path: Path) -> None:
    def devices(ids: object) -> list[str]:
        columns = {"device_id": ids, "t_s": [0, 1], "mem_available_bytes": [5, 6]}
        pq.write_table(pa.table(columns), tmp_path / "x.parquet")
        return list(read_series(tmp_path / "x.parquet", "mem_available_bytes", "whole"))

    assert devices([1.0, 2.0]) == devices([1, 2]) == devices(["1", "2"]) == ["1", "2"]
    assert devices(pa.array(["a", "b"]).dictionary_encode()) == devices(
        pa.array(["a", "b"], pa.large_string())
    )
    assert devices(["nan", "bob"]) == ["bob", "nan"]  # among words it is one


def test_whole_numbers_are_exact_beside_others_that_have_a_point(tmp_path: Path) -> None:
    file = trace(tmp_path, "t_s,mem_available_bytes\n0,9007199254740993\n1,20.0\n2, 3e3 \n")
    assert read_memory(REPLAY, file)[0].values == (9007199254740993, 20, 3000)


@given(
    st.lists(
        st.one_of(
            st.integers(-5, 2**64).map(str), st.floats().map(str), st.text(max_size=4), st.sampled_from(
                ["", "true", "FALSE", "low", "0x1F", "1e3", " 7 ", "+4", "-0", ".5", "5.", "nan", "1_0", "٣"]),
        ),
        min_size=1, max_size=5,
    ),
    st.sampled_from(["seconds", "whole", "flag", "level", "text"]),
)  # fmt: skip
def test_a_column_at_once_says_what_its_cells_say_one_by_one(texts: list[str], kind: str) -> None:
    bad = None
    cells: list[object] = []
    for row, text in enumerate(texts, start=1):
        try:
            cells.append(read_cell(text, kind))
        except (ValueError, ArithmeticError):
            bad = bad or row
    odd = check_names(texts) if kind == "text" else None
    refused, converted = None, None
    try:
        converted = convert(pa.array(texts), kind).to_pylist()
    except RefusedCellError as error:
        refused = error.row
    assert refused == (bad or (odd is not None and texts.index(str(odd)) + 1) or None)
    assert converted == (cells if refused is None else None)


def test_devices_without_data_can_be_left_out(tmp_path: Path) -> None:
    file = trace(tmp_path, "device_id,t_s,mem_available_bytes,online\na,0,10,\nb,0,,true\n")
    assert read_memory(Replay(file="x.csv", without_data="leave_out"), file) == (Series((0,), (10,), 0),)
    leaving_out = Availability(file="x.csv", without_data="leave_out")
    assert read_availability(leaving_out, file) == (Series((0,), (True,), 0),)
    assert read_trace_column(file, "online", "flag").without == ("a",)
    file = trace(tmp_path, "device_id,t_s,mem_available_bytes\na,0,\nb,0,\n")
    with pytest.raises(InputError, match=r"must have a value in some row \(2 of 2 devices have none\)"):
        read_memory(Replay(file="x.csv", without_data="leave_out"), file)


def test_what_a_file_declares_is_bounded_before_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {"device_id": ["x" * 1000] * 5000, "t_s": [0] * 5000, "mem_available_bytes": [1] * 5000}
    file = tmp_path / "x.parquet"
    for table in (pa.table(columns), pa.table(columns | {
        "device_id": pa.array(columns["device_id"]).dictionary_encode()})):  # fmt: skip
        pq.write_table(table, file)
        assert file.stat().st_size < 20_000
        with monkeypatch.context() as limits:
            limits.setattr("devices.traces.columns.MAX_BYTES", 1_000_000)
            with pytest.raises(InputError, match="holds more than 1000000 bytes; a trace is read whole"):
                read_memory(REPLAY, file)
            limits.setattr("devices.traces.columns.MAX_ROWS", 4999)
            with pytest.raises(InputError, match="holds 5000 rows; a trace has at most 4999"):
                read_memory(REPLAY, file)
    endless = tmp_path / "endless.csv"
    endless.symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"endless\.csv: is no regular file, and cannot be a trace"):
        read_memory(REPLAY, endless)
    endless.with_name("endless.meta.json").symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"endless\.meta\.json: is no regular file, and cannot be a sidecar"):
        read_sidecar(endless)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("yes", r"row 1: online\(=yes\) must be true or false"),
        ("1", r"row 1: online\(=1\) must be true or false"),
    ],
)
def test_a_damaged_availability_is_refused_with_its_row(tmp_path: Path, value: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_availability(ONLINE, trace(tmp_path, f"t_s,online\n0,{value}\n"))


def test_a_file_that_is_no_trace_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such trace file"):
        read_memory(REPLAY, tmp_path / "x.csv")
    for name, content in (
        ("x.parquet", b"PAR1 not really"),
        ("y.csv", b"\xff\xfe\x00"),
        ("z.csv", b"a\0b\n"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError) as caught:
            read_memory(REPLAY, tmp_path / name)
        assert "\n" not in str(caught.value)


@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_trace_or_a_clean_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    for suffix in (".csv", ".parquet"):
        file = folder / f"any{suffix}"
        file.write_bytes(b"t_s,mem_available_bytes\n" * (suffix == ".csv") + content)
        with contextlib.suppress(InputError):
            assert read_memory(REPLAY, file)


@given(content=st.binary(max_size=200) | st.binary(max_size=60).map(lambda tail: HEAD_OF_A_DRAFT + tail))
def test_any_bytes_are_a_draft_or_a_clean_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.csv.partial"
    file.write_bytes(content)
    with contextlib.suppress(InputError):
        sidecar, rows = read_draft(file)
        assert sidecar.source == "here"
        assert all(isinstance(row, Row) for row in rows)


SERIES = Series((0, 10, 30), (7, 8, 9), 50)


@pytest.mark.parametrize(
    ("trace", "from_ns", "expected"),
    [
        (Replay(file="x.csv", on_end="hold"), 0, [(0, 7), (10, 8), (20, 9)]),
        (Replay(file="x.csv"), 0, [(0, 7), (10, 8), (20, 9), (20, 7), (10, 8), (20, 9), (20, 7)]),
        (Replay(file="x.csv"), 25, [(0, 8), (5, 9), (20, 7), (10, 8), (20, 9), (20, 7), (10, 8)]),
        (Replay(file="x.csv"), 50 * 7 + 30, [(0, 9), (20, 7), (10, 8), (20, 9), (20, 7), (10, 8), (20, 9)]),
        (Replay(file="x.csv", on_end="hold"), 70, [(0, 9)]),
        (Replay(file="x.csv", scale=0.5), 25, [(0, 8), (3, 9), (10, 7), (5, 8), (10, 9), (10, 7), (5, 8)]),
        (Replay(file="x.csv", scale=3, on_end="hold"), 5, [(0, 7), (15, 8), (60, 9)]),
    ],
)
def test_a_series_is_replayed(trace: Replay, from_ns: int, expected: list[tuple[int, int]]) -> None:
    assert list(itertools.islice(memory_changes(SERIES, trace, from_ns), 7)) == expected


def test_a_single_value_holds_for_ever() -> None:
    assert list(memory_changes(Series((0,), (7,), 0), REPLAY)) == [(0, 7)]


ON_OFF = Series((0, 10, 30), (True, False, True), 40)
OFF_ON_OFF = Series((0, 10, 30), (False, True, False), 40)


@pytest.mark.parametrize(
    ("series", "on_end", "from_ns", "expected"),
    [
        (ON_OFF, "wrap", 0, [(10, 30), (50, 70), (90, 110)]),
        (ON_OFF, "wrap", 15, [(0, 15), (35, 55), (75, 95)]),
        (ON_OFF, "hold", 0, [(10, 30)]),
        (ON_OFF, "stop", 0, [(10, 30), (40, FOREVER)]),
        (ON_OFF, "stop", 35, [(5, FOREVER)]),
        (OFF_ON_OFF, "wrap", 0, [(0, 10), (30, 50), (70, 90)]),  # one span across the end, not two
        (OFF_ON_OFF, "hold", 0, [(0, 10), (30, FOREVER)]),
        (OFF_ON_OFF, "stop", 0, [(0, 10), (30, FOREVER)]),
        (Series((0,), (True,), 0), "wrap", 0, []),
        (Series((0,), (True,), 50), "wrap", 0, []),
        (Series((0,), (True,), 50), "stop", 0, [(50, FOREVER)]),
        (Series((0, 5), (False, False), 50), "wrap", 7, [(0, FOREVER)]),
    ],
)  # fmt: skip
def test_spans_without_connection(
    series: Series[bool], on_end: str, from_ns: int, expected: list[tuple[int, int]]
) -> None:
    trace = Availability(file="x.csv", on_end=on_end)  # type: ignore[arg-type]
    assert list(itertools.islice(offline_spans(series, trace, from_ns), 3)) == expected


@given(
    gaps=st.lists(st.integers(1, 20), min_size=1, max_size=8),
    states=st.lists(st.booleans(), min_size=9, max_size=9),
    on_end=st.sampled_from(["wrap", "hold", "stop"]),
    from_ns=st.integers(0, 200),
)
def test_offline_spans_say_at_each_moment_what_the_series_says(
    gaps: list[int], states: list[bool], on_end: str, from_ns: int
) -> None:
    times = (0, *itertools.accumulate(gaps[:-1]))
    length = times[-1] + gaps[-1]
    series = Series(times, tuple(states[: len(times)]), length)
    trace = Availability(file="x.csv", on_end=on_end)  # type: ignore[arg-type]
    from_ns = from_ns if on_end == "wrap" else from_ns % length
    spans = list(itertools.islice(offline_spans(series, trace, from_ns), 40))
    assert all(start < end for start, end in spans)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(spans))
    for t in range(150 if len(spans) < 40 else min(150, spans[-1][1])):
        at = from_ns + t
        gone = on_end == "stop" and at >= length
        place = at % length if on_end == "wrap" else min(at, length)
        online = not gone and series.values[sum(time <= place for time in times) - 1]
        assert online != any(start <= t < end for start, end in spans)


def assigned(assign: str, devices: int, series: int, seed: int = 1, group: str = "g") -> list[int]:
    trace = Replay(file="x.csv", assign=assign)  # type: ignore[arg-type]
    return [
        assigned_series(trace, count=series, seed=seed, group=group, index=at, drawn=at / devices)
        for at in range(devices)
    ]


def test_series_are_assigned_by_order_from_the_start_again_after_the_last() -> None:
    assert assigned("by_order", 7, 3) == [0, 1, 2, 0, 1, 2, 0]


def test_without_replacement_no_series_is_played_twice() -> None:
    found = assigned("sample_without_replacement", 20, 20)
    assert sorted(found) == list(range(20)) != found
    assert found == assigned("sample_without_replacement", 20, 20)
    assert found != assigned("sample_without_replacement", 20, 20, seed=2)
    assert found != assigned("sample_without_replacement", 20, 20, group="h")
    # Another device changes no other device.
    assert assigned("sample_without_replacement", 5, 20) == found[:5]


def test_sampling_takes_what_is_drawn_for_the_device() -> None:
    assert Counter(assigned("sample", 100, 4)) == {0: 25, 1: 25, 2: 25, 3: 25}


def test_reuse_is_warned_of_and_refused_where_it_is_excluded() -> None:
    def one(assign: str, devices: int, series: int) -> list[str]:
        return reuse_warnings([("phone", devices, Replay(file="x.csv", assign=assign), series)])  # type: ignore[arg-type]

    have = "x.csv has 3 series of mem_available_bytes for the 7 devices of group phone: "
    assert one("by_order", 7, 3) == [have + "each is played by up to 3 of them"]
    assert one("sample", 7, 3) == [have + "drawn with replacement, each is played by about 2.33 of them"]
    assert one("by_order", 3, 3) == one("sample", 3, 3) == one("sample_without_replacement", 3, 3) == []
    with pytest.raises(InputError, match="without replacement there must be one for each; see assign: by_or"):
        one("sample_without_replacement", 7, 3)


def test_a_device_starts_anywhere_within_the_shift_and_always_there() -> None:
    assert start_within(REPLAY, 1, "a") == 0
    shifted = Replay(file="x.csv", shift=Duration(1000))
    starts = [start_within(shifted, 1, str(device)) for device in range(2000)]
    assert starts == [start_within(shifted, 1, str(device)) for device in range(2000)]
    assert 0 <= min(starts) < 20 < 980 < max(starts) <= 1000


ROWS = [
    Row("b", 1.0, mem_available_bytes=2**40, online=True, network="wifi"),
    Row("a", 0.5, pressure="low", foreground=False),
    Row("a", 0.0, mem_available_bytes=5),
]
SIDECAR = Sidecar(source="here", licence="MIT", sampling="by hand")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_is_written_reads_back_and_has_a_sidecar(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"x{suffix}"
    written = write_trace(file, ROWS, SIDECAR)
    assert (written.rows, written.series) == (3, 2)
    assert read_memory(REPLAY, file) == (
        Series((0,), (5,), S // 2),
        Series((0,), (2**40,), 0),
    )
    assert read_sidecar(file) == written
    assert {path.name for path in tmp_path.iterdir()} == {"x.meta.json", f"x{suffix}"}
    names = (
        pq.read_table(file).column_names
        if suffix == ".parquet"
        else file.read_text().split("\n")[0].split(",")
    )
    assert [name.strip('"') for name in names] == [
        "device_id", "t_s", "mem_available_bytes", "pressure", "online", "network", "foreground",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("x.pickle", lambda: ROWS, "x.pickle: a trace must end in .csv or .parquet"),
        ("x.csv", list, "x.csv: nothing to write: the source has no row"),
        ("no/x.csv", lambda: ROWS, "no/x.csv: cannot be written: No such file or directory"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(
    tmp_path: Path, name: str, make: Callable[[], list[Row]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_trace(tmp_path / name, make(), SIDECAR)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_sidecar_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    assert read_sidecar(file) is None
    sidecar_path(file).write_text("{}")
    with pytest.raises(InputError, match=r"x\.meta\.json: is not a sidecar of a trace"):
        read_sidecar(file)


def test_the_page_lists_the_columns_of_the_format() -> None:
    page = (Path(__file__).parents[3] / "docs" / "traces.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (text|seconds|whole|level|flag) \| (.*) \|$", page, re.MULTILINE)
    assert rows == [(column.name, column.kind, column.meaning) for column in COLUMNS]
    assert tuple(column.name for column in COLUMNS) == Row._fields
