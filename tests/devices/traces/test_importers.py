"""Importers, on small files made by hand in the documented formats of their sources."""
# ruff: noqa: E501 - tables of cases: what is wrong, and the exact message beside it

import contextlib
import csv
import itertools
import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.traces.availability import Availability, offline_spans
from devices.traces.columns import KINDS, read_columns
from devices.traces.importers import alibaba, fedscale, flash, greenhub
from devices.traces.importers.importer import Importer, ImportOptions, rows_of_changes
from devices.traces.importers.safe_pickle import UnsafePickleError, read_plain_pickle
from devices.traces.writer import Row, write_trace
from tests.devices.traces.reading import read_series
from wire.errors import InputError
from wire.units import NS_PER_S

GIB = 2**30


def imported(importer: Importer, source: Path, **options: Any) -> list[Row]:
    return list(importer.rows(source, ImportOptions(**options)))


def refused(importer: Importer, source: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        imported(importer, source, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message.removeprefix(f"{source}: ")


def pickled(folder: Path, value: object, protocol: int = 4) -> Path:
    file = folder / "client_behave_trace"
    file.write_bytes(pickle.dumps(value, protocol))
    return file


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=8)
        | st.dictionaries(st.integers(-(2**63), 2**63) | st.text(max_size=5), inner, max_size=5)
        | st.lists(inner, max_size=5).map(tuple)
    ),
    max_leaves=30,
)


@given(value=plain, protocol=st.integers(0, 5))
def test_plain_values_of_any_protocol_are_read_without_unpickling(value: object, protocol: int) -> None:
    assert read_plain_pickle(pickle.dumps(value, protocol)) == value


@given(st.binary(max_size=100))
def test_any_bytes_are_plain_values_or_a_clean_error(data: bytes) -> None:
    with contextlib.suppress(UnsafePickleError):
        read_plain_pickle(data)


@given(plain, st.data())
def test_a_damaged_pickle_is_plain_values_or_a_clean_error(value: object, data: st.DataObject) -> None:
    raw = bytearray(pickle.dumps(value, 4))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UnsafePickleError):
        read_plain_pickle(bytes(raw[: data.draw(st.integers(0, len(raw)))]))


class Harmful:
    """Its pickle runs a command."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.file}",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_calls_something_is_refused_and_nothing_is_called(
    tmp_path: Path, protocol: int
) -> None:
    file = pickled(tmp_path, {1: Harmful(tmp_path / "harm")}, protocol)
    assert "more than plain values, so it is not read" in refused(fedscale.IMPORTER, file)
    assert not (tmp_path / "harm").exists()


def test_a_place_in_the_memo_costs_no_memory() -> None:
    """LONG_BINPUT 2^32 - 1 makes the standard reader reserve 32 GiB or more."""
    assert read_plain_pickle(b"\x80\x02]r\xff\xff\xff\xff.") == []


CLIENT = {
    "duration": 211_625,
    "inactive": [30, 90],
    "finish_time": 100,
    "active": [10, 60],
    "model": "CPH1801",
}


def client(**changes: object) -> dict[str, object]:
    return CLIENT | changes


def test_fedscale_clients_are_online_from_active_to_inactive(tmp_path: Path) -> None:
    trace = {3: client(), "x": client(active=[0, 40, 50], inactive=[50, 45, 120])}
    assert imported(fedscale.IMPORTER, pickled(tmp_path, trace)) == [
        Row("3", 0.0, online=False), Row("3", 10.0, online=True), Row("3", 30.0, online=False),
        Row("3", 60.0, online=True), Row("3", 90.0, online=False), Row("3", 100.0),
        # 0 to 50, 40 to 45 and 50 to 120 are one span, and 100 s are all there is.
        Row("x", 0.0, online=True), Row("x", 100.0),
    ]  # fmt: skip


def test_an_imported_client_comes_and_goes_as_fedscale_has_it(tmp_path: Path) -> None:
    """Active at t if active[i] <= t modulo finish_time < inactive[i] for some i."""
    file = tmp_path / "x.parquet"
    rows = fedscale.IMPORTER.rows(pickled(tmp_path, {1: CLIENT}), ImportOptions())
    write_trace(file, rows, fedscale.IMPORTER.sidecar(file, ImportOptions()))
    (series,) = read_series(file, "online", "flag").values()
    spans = list(itertools.islice(offline_spans(series, Availability(file="x.csv")), 20))
    for t in range(600):
        active = any(begin <= t % 100 < end for begin, end in ((10, 30), (60, 90)))
        assert active != any(start <= t * NS_PER_S < end for start, end in spans)


@pytest.mark.parametrize(
    ("trace", "message"),
    [
        ([1], "must hold a dictionary of clients, not list"),
        ({1: [2]}, "row 1: client 1: Expected `object`, got `array`"),
        ({1: CLIENT, 2: client(active=[1])}, "row 2: client 2: active(=1 times) must have as many as inactive(=2 times)"),
        ({1: client(active="ab")}, "row 1: client 1: Expected `array`, got `str` - at `$.active`"),
        ({1: client(finish_time=0)}, "row 1: client 1: finish_time(=0) must be > 0"),
        ({1: client(active=[40, 60])}, "row 1: client 1: active(=40) to inactive(=30) must rise from 0 or more"),
        ({1: CLIENT, "1": CLIENT}, "row 2: client '1': must be a number or text that no other client has"),
        ({(1, 2): CLIENT}, "has a key that is neither a number nor text, but tuple"),
        ({1: {"active": []}}, "row 1: client 1: Object missing required field `finish_time`"),
    ],
)  # fmt: skip
def test_a_damaged_fedscale_trace_names_the_client(tmp_path: Path, trace: object, message: str) -> None:
    assert refused(fedscale.IMPORTER, pickled(tmp_path, trace)) == message


MESSAGES = """\
2020-01-28 10:00:00\tscreen_off
2020-01-28 10:00:00\t71.0%
2020-01-28 10:00:10\twifi
2020-01-28 10:00:20\tbattery_charged_on
2020-01-28 10:01:00\tscreen_on
2020-01-28 10:01:00\tscreen_unlock
2020-01-28 10:02:00\t4G
2020-01-28 10:02:30\tUnknown
2020-01-28 10:03:00\twifi
2020-01-28 10:04:00\tphone_off
2020-01-28 10:05:00\tbattery_okay
"""


def flash_file(folder: Path, messages: str = MESSAGES) -> Path:
    file = folder / "state_traces.json"
    file.write_text(json.dumps({"a1": {"guid": "a1", "model": "x", "messages": messages}}))
    return file


@pytest.mark.parametrize(
    ("rule", "online"),
    [
        ("network", {10.0: True, 120.0: True, 150.0: False, 180.0: True, 240.0: False}),
        ("wifi", {10.0: True, 120.0: False, 150.0: False, 180.0: True, 240.0: False}),
        ("eligible", {10.0: False, 20.0: True, 60.0: False}),
    ],
)
def test_flash_states_become_online_network_and_foreground(
    tmp_path: Path, rule: str, online: dict[float, bool]
) -> None:
    rows = imported(flash.IMPORTER, flash_file(tmp_path), online=rule)
    state, found = None, {}
    for row in rows:
        state = row.online if row.online is not None else state
        found[row.t_s] = state
    assert {t: found[t] for t in online} == online
    assert [(row.t_s, row.network) for row in rows if row.network] == [
        (10.0, "wifi"), (120.0, "4g"), (150.0, "unknown"), (180.0, "wifi"),
    ]  # fmt: skip
    assert [(row.t_s, row.foreground) for row in rows if row.foreground is not None] == [
        (0.0, False),
        (60.0, True),
    ]
    assert rows[-1].t_s == 300.0


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("2020-01-28 10:00:00\twify", "'a1': row 1: messages(='2020-01-28 10:00:00\\twify') must be a time, a tab and a known state"),
        (MESSAGES + "2020-01-28 10:00", "'a1': row 12: messages(='2020-01-28 10:00') must be a time, a tab and a known state"),
        ("yesterday\twifi", "'a1': row 1: time(='yesterday') must be YYYY-MM-DD HH:MM:SS"),
    ],
)  # fmt: skip
def test_a_damaged_flash_trace_names_phone_and_line(tmp_path: Path, messages: str, message: str) -> None:
    assert refused(flash.IMPORTER, flash_file(tmp_path, messages)) == message


def test_what_is_no_flash_trace_is_refused(tmp_path: Path) -> None:
    for content in (
        "",
        "[]",
        '{"a": 3}',
        '{"a": {}}',
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    ):
        (tmp_path / "x.json").write_text(content)
        assert refused(flash.IMPORTER, tmp_path / "x.json").startswith("is no FLASH state trace: ")
    assert "--online(='always') must be one of" in refused(
        flash.IMPORTER, flash_file(tmp_path), online="always"
    )


SAMPLE = {
    "uuId": "p1", "timestamp": 1_500_000_000_000, "memoryWired": 0, "memoryActive": 900, "memoryInactive": 300,
    "memoryFree": 4000, "memoryUser": 500, "networkStatus": "WIFI", "screenOn": 1,
}  # fmt: skip


def sample(**changes: object) -> dict[str, object]:
    return SAMPLE | changes


def json_lines(folder: Path, *samples: dict[str, object]) -> Path:
    file = folder / "samples.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in samples))
    return file


SAMPLES = [
    sample(timestamp=1_500_000_060_000, networkStatus="disconnected", memoryUser=700),
    sample(),
    sample(uuId="p2", screenOn=0),
    sample(timestamp=1_500_000_090_000, networkStatus="disconnected", memoryUser=700),
]


@pytest.mark.parametrize("kind", ["json", "csv", "snake"])
def test_greenhub_samples_become_memory_network_and_foreground(tmp_path: Path, kind: str) -> None:
    file = json_lines(tmp_path, *SAMPLES)
    if kind != "json":
        names = list(SAMPLE) if kind == "csv" else [
            "device_id", "timestamp", "memory_wired", "memory_active", "memory_inactive", "memory_free",
            "memory_user", "network_status", "screen_on",
        ]  # fmt: skip
        file = tmp_path / "samples.csv"
        with file.open("w", newline="") as out:
            writer = csv.writer(out, delimiter=";" if kind == "snake" else ",")
            writer.writerows([names, *(each.values() for each in SAMPLES)])
    kib = 1024
    assert imported(greenhub.IMPORTER, file) == [
        Row("p1", 0.0, mem_available_bytes=800 * kib, mem_total_bytes=4000 * kib, online=True, network="wifi", foreground=True),
        Row("p1", 60.0, mem_available_bytes=1000 * kib, online=False, network="disconnected"),
        Row("p1", 90.0),
        Row("p2", 0.0, mem_available_bytes=800 * kib, mem_total_bytes=4000 * kib, online=True, network="wifi", foreground=False),
    ]  # fmt: skip


def test_greenhub_fields_may_be_taken_at_their_word(tmp_path: Path) -> None:
    (row,) = imported(
        greenhub.IMPORTER, json_lines(tmp_path, sample(timestamp="2017-10-01 12:00:00")), layout="named"
    )
    assert (row.mem_available_bytes, row.mem_total_bytes) == (4300 * 1024, None)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (sample(uuId=None), "row 2: device_id(=nothing) must name the device; uuId does, too"),
        (sample(timestamp="soon"), "row 2: timestamp(=soon) must be a date and time, or a time since 1970"),
        (sample(memoryInactive=-1), "row 2: memory_inactive(=-1) must be a whole number of KiB, not negative"),
        (sample(memoryInactive="much"), "row 2: memory_inactive(=much) must be a whole number of KiB, not negative"),
        (sample(screenOn="perhaps"), "row 2: screen_on(=perhaps) must be true or false, 1 or 0"),
        (sample(memoryUser=5000), "row 2: memory_user(=5000) must not exceed memory_free(=4000), which the app uses for all memory; see --layout named"),
    ],
)  # fmt: skip
def test_a_damaged_greenhub_sample_names_its_row(
    tmp_path: Path, bad: dict[str, object], message: str
) -> None:
    assert refused(greenhub.IMPORTER, json_lines(tmp_path, SAMPLE, bad)) == message


def test_what_is_no_greenhub_file_is_refused(tmp_path: Path) -> None:
    file = json_lines(tmp_path, SAMPLE)
    file.write_text(file.read_text() + "{")
    assert refused(greenhub.IMPORTER, file).startswith("row 2: is no JSON: ")
    file.write_text("[1]\n")
    assert refused(greenhub.IMPORTER, file) == "row 1: must be a JSON object"
    (tmp_path / "x.csv").write_text("timestamp,memory_free\n1\n")
    assert refused(greenhub.IMPORTER, tmp_path / "x.csv") == "row 1: must have 2 fields, not 1"
    assert "--layout(='x') must be one of" in refused(greenhub.IMPORTER, file, layout="x")


USAGE = """\
m_1932,386640,41,92,,,43.04,33.08,4
m_1932,386650,43,92,,,43.04,33.08,4
m_1932,386670,46,90,,,43.05,33.09,4
m_7,386700,11,-1,,,43.05,33.09,4
m_7,386690,11,50,,,43.05,33.09,4
m_1932,386680,46,,,,43.05,33.09,4
"""


def usage(folder: Path, text: str = USAGE) -> Path:
    file = folder / "machine_usage.csv"
    file.write_text(text)
    return file


def test_alibaba_percentages_become_bytes_of_the_stated_total(tmp_path: Path) -> None:
    total = 8 * GIB
    first = [
        Row("m_1932", 0.0, mem_available_bytes=round(total * 0.08), mem_total_bytes=total),
        Row("m_1932", 30.0, mem_available_bytes=round(total * 0.1)),
    ]
    second = [Row("m_7", 0.0, mem_available_bytes=total // 2, mem_total_bytes=total)]
    assert imported(alibaba.IMPORTER, usage(tmp_path), total_bytes=total) == first + second
    assert imported(alibaba.IMPORTER, usage(tmp_path), total_bytes=total, devices=1) == first
    assert alibaba.IMPORTER.sidecar(usage(tmp_path), ImportOptions(total_bytes=total)).proxy_for is not None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("m_1,5,1,90", "row 7: must have 9 fields, not 4"),
        ("m_1,5,1,much,,,1,1,1", "row 7: mem_util_percent(=much) must be a number"),
        ("m_1,5,1,150,,,1,1,1", "row 7: mem_util_percent(=150) must be from 0 to 100"),
        ("m_1,soon,1,50,,,1,1,1", "row 7: time_stamp(=soon) must be a number"),
        (",5,1,50,,,1,1,1", "row 7: machine_id(=nothing) must name the device"),
    ],
)
def test_a_damaged_alibaba_row_is_named(tmp_path: Path, row: str, message: str) -> None:
    assert refused(alibaba.IMPORTER, usage(tmp_path, USAGE + row + "\n"), total_bytes=GIB) == message


def test_alibaba_needs_a_total(tmp_path: Path) -> None:
    assert refused(alibaba.IMPORTER, usage(tmp_path)).startswith("--total must say how much memory")


@pytest.mark.parametrize("importer", [fedscale.IMPORTER, flash.IMPORTER, greenhub.IMPORTER, alibaba.IMPORTER])
def test_a_missing_source_is_one_line(tmp_path: Path, importer: Importer) -> None:
    assert refused(importer, tmp_path / "none", total_bytes=1) == "cannot be read: No such file or directory"


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.fixed_dictionaries({}, optional={
            "online": st.booleans(), "mem_available_bytes": st.integers(0, 3)})),
        min_size=1, max_size=12,
    )
)  # fmt: skip
def test_rows_of_changes_say_at_each_moment_what_was_known(steps: list[tuple[int, dict[str, Any]]]) -> None:
    times = list(itertools.accumulate(wait for wait, _ in steps))
    moments = [(float(t - times[0]), known) for t, (_, known) in zip(times, steps, strict=True)]
    rows = list(rows_of_changes("d", moments))
    assert all(before.t_s < after.t_s for before, after in itertools.pairwise(rows))
    for t in range(int(moments[-1][0]) + 1):
        for name in ("online", "mem_available_bytes"):
            said = [getattr(row, name) for row in rows if row.t_s <= t and getattr(row, name) is not None]
            known = [each[name] for at, each in moments if at <= t and name in each]
            assert said[-1:] == known[-1:]
    if rows:
        assert rows[-1].t_s == moments[-1][0] or not any(known for _, known in moments)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_what_is_imported_obeys_the_format(tmp_path: Path, suffix: str) -> None:
    sources = [
        (fedscale.IMPORTER, pickled(tmp_path, {1: CLIENT})),
        (flash.IMPORTER, flash_file(tmp_path)),
        (greenhub.IMPORTER, json_lines(tmp_path, *SAMPLES)),
        (alibaba.IMPORTER, usage(tmp_path)),
    ]
    options = ImportOptions(total_bytes=GIB)
    for importer, source in sources:
        file = tmp_path / f"out{suffix}"
        written = write_trace(file, importer.rows(source, options), importer.sidecar(source, options))
        assert read_columns(file, KINDS).table.num_rows == written.rows > 0
