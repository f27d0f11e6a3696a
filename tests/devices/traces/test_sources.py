"""Sources as they are published: packed, in other encodings, with other columns, as logs of memory."""
# ruff: noqa: E501 - tables of cases: what is wrong, and the exact message beside it

import bz2
import contextlib
import csv
import gzip
import io
import itertools
import json
import lzma
import os
import pickle
import tarfile
import zipfile
from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devices.traces.columns import KINDS, read_columns
from devices.traces.importers.importer import ImportOptions, check_devices, formula_note
from devices.traces.importers.registry import IMPORTERS
from devices.traces.importers.safe_pickle import UnsafePickleError, read_plain_pickle
from devices.traces.importers.sources import read_records
from devices.traces.importers.timestamps import read_moment_ns, read_zone
from devices.traces.writer import Row, write_trace
from tests.devices.traces.reading import read_series
from wire.errors import InputError
from wire.text import printable
from wire.units import NS_PER_S

KIB = 1024


def imported(kind: str, source: Path, **options: Any) -> tuple[list[Row], list[str]]:
    taken = ImportOptions(**options)
    return list(IMPORTERS[kind].rows(source, taken)), taken.notes


def refused(kind: str, source: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        imported(kind, source, **options)
    message = str(caught.value)
    assert message.isprintable()
    return message.removeprefix(f"{source}: ")


def zipped(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/", "")
        archive.writestr("folder/usage.csv", content)
        archive.writestr("__MACOSX/folder/._usage.csv", b"x")
    return out.getvalue()


def tarred(*contents: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for at, content in enumerate(contents):
            member = tarfile.TarInfo(f"folder/usage{at}.csv")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


USAGE = b"m_1,0,1,90,,,1,1,1\nm_1,10,1,80,,,1,1,1\n\n"
TWO = [
    Row("m_1", 0.0, mem_available_bytes=100, mem_total_bytes=1000),
    Row("m_1", 10.0, mem_available_bytes=200),
]


@pytest.mark.parametrize("pack", [
    bytes, bytes.rstrip, gzip.compress, bz2.compress, lzma.compress, zstd, zipped, tarred,
    lambda raw: raw.replace(b"\n", b"\r\n"),
    lambda raw: b"\xef\xbb\xbf" + raw,
    lambda raw: raw.decode().encode("utf-16"),
    lambda raw: b"\xfe\xff" + raw.decode().encode("utf-16-be"),
    lambda raw: gzip.compress(raw.decode().encode("utf-16")),
])  # fmt: skip
def test_a_source_is_read_as_it_is_published(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    source = tmp_path / "machine_usage"
    source.write_bytes(pack(USAGE))
    assert imported("alibaba", source, total_bytes=1000) == (TWO, [])


def test_a_source_may_be_a_pipe(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.write(write, gzip.compress(USAGE))
    os.close(write)
    try:
        assert imported("alibaba", Path(f"/dev/fd/{read}"), total_bytes=1000) == (TWO, [])
    finally:
        os.close(read)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tarred(USAGE, USAGE), "is an archive of several files (folder/usage0.csv, folder/usage1.csv): unpack the one to import"),
        (tarred(), "is an archive without a file"),
        (gzip.compress(USAGE, mtime=0)[:-9], "is damaged: Compressed file ended before the end-of-stream marker was reached"),
        (b"\xfd7zXZ\0nothing", "is damaged: Corrupt input data"),
        (b"PK\x03\x04nothing", "is damaged: File is not a zip file"),
        (USAGE + b"\xe9\n", "line 4: is not UTF-8 text; --encoding names another, such as latin-1"),
        (b'"' + b"x" * 200_000 + b'",1\n', "row 1: is no CSV: field larger than field limit (131072)"),
        (b"x" * 2**24, "line 1: is longer than 16777216 bytes"),
        (b"", "holds no reading"),
        (b"\n\n", "holds no reading"),
    ],
    ids=map(str, range(10)),  # the bytes hold the time
)  # fmt: skip
def test_a_damaged_source_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x").write_bytes(content)
    assert refused("alibaba", tmp_path / "x", total_bytes=1000) == message


def test_endless_and_too_large_sources_are_refused_before_memory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in IMPORTERS:
        options = {"time": "t", "time_unit": "s", "available": "a", "unit": "B"}
        assert (
            refused(kind, Path("/dev/zero"), total_bytes=1, **options)
            == "is no regular file, and cannot be a source"
        )
    bomb = tmp_path / "bomb"
    bomb.write_bytes(gzip.compress(b"\n" * 10**6))
    monkeypatch.setattr("devices.traces.importers.sources.MAX_SOURCE_BYTES", 10**5)
    assert refused("alibaba", bomb, total_bytes=1) == "holds more than 100000 bytes"
    monkeypatch.setattr("devices.traces.importers.sources.MAX_SOURCE_BYTES", 10**7)
    monkeypatch.setattr("devices.traces.importers.sources.MAX_WHOLE_BYTES", 10**5)
    assert refused("flash", bomb) == "holds more than 100000 bytes; it is read whole"


def test_sources_that_were_published_again_are_read_too(tmp_path: Path) -> None:
    source = tmp_path / "x"
    source.write_bytes(
        b"machine_id,time_stamp,cpu_util_percent,mem_util_percent,mem_gps,mkpi,net_in,net_out,disk_io_percent\n"
        + USAGE
    )
    assert imported("alibaba", source, total_bytes=1000) == (TWO, [])
    source.write_text(
        '{"7": {"duration": 1, "inactive": [5], "finish_time": 10, "active": [0], "model": "x"}}'
    )
    assert imported("fedscale", source)[0] == [
        Row("7", 0.0, online=True), Row("7", 5.0, online=False), Row("7", 10.0),
    ]  # fmt: skip
    phone = '{"guid": "%s", "model": "x", "messages": "2020-01-28 00:00:00\\twifi"}'
    both = [Row("a", 0.0, online=True, network="wifi"), Row("b", 0.0, online=True, network="wifi")]
    for text in (f"{phone % 'a'}\n{phone % 'b'}\n", f"[{phone % 'a'}, {phone % 'b'}]"):
        source.write_text(text)
        assert imported("flash", source)[0] == both


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=6)
        .map(str.strip).filter(lambda name: name and name.lower().lstrip("+-") not in ("nan", "inf", "infinity")),
        st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 100)), min_size=1, max_size=5, unique_by=lambda each: each[0]),
        min_size=1, max_size=4,
    ),
    st.booleans(),
)  # fmt: skip
def test_random_samples_and_readings_round_trip(
    tmp_path_factory: pytest.TempPathFactory, devices: dict[str, list[tuple[int, int]]], packed: bool
) -> None:
    """What was free in each sample is what the trace says at that time, whatever the devices are called."""
    file, out = (tmp_path_factory.getbasetemp() / name for name in ("samples", "samples.parquet"))
    samples = "".join(
        json.dumps({"uuId": name, "timestamp": 1_500_000_000 + t, "memoryFree": 1000, "memoryUser": free, "memoryInactive": 0}) + "\n"
        for name, taken in devices.items() for t, free in taken
    )  # fmt: skip
    readings = io.StringIO(newline="")
    csv.writer(readings).writerows(
        [name, t, 1, 100 - free, "", "", 1, 1, 1] for name, taken in devices.items() for t, free in taken
    )
    for kind, text, scale in (("greenhub", samples, KIB), ("alibaba", readings.getvalue(), 10)):
        file.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
        options = ImportOptions(total_bytes=1000)
        write_trace(out, IMPORTERS[kind].rows(file, options), IMPORTERS[kind].sidecar(file, options))
        found = read_series(out, "mem_available_bytes", "whole")
        assert sorted(found) == sorted(devices)
        for name, taken in devices.items():
            start = min(t for t, _ in taken)
            for t, free in taken:
                series = found[name]
                at = bisect_right(series.times_ns, (t - start) * NS_PER_S) - 1
                assert series.values[at] == free * scale


def test_what_is_left_out_is_counted_and_said(tmp_path: Path) -> None:
    usage = tmp_path / "usage.csv"
    usage.write_bytes(USAGE + b"m_2,0,1,-1,,,1,1,1\nm_2,5,1,,,,1,1,1\nm_1,20,1,101,,,1,1,1\n")
    assert imported("alibaba", usage, total_bytes=1000) == (TWO, [
        "3 readings of -1, of 101 or empty: left out", "1 of 2 machines has no value of mem_available_bytes: left out",
    ])  # fmt: skip
    phones = tmp_path / "phones.json"
    phones.write_text(json.dumps({
        "a": {"guid": "a", "messages": "2020-01-28 00:00:00\tscreen_on\n2020-01-28 01:00:00\tscreen_off"},
        "b": {"guid": "b", "messages": "2020-01-28 00:00:00\twifi"},
        "c": {"guid": "c", "messages": ""},
        "d": {"guid": "d", "messages": None},
        "e": {"guid": "e"},
    }))  # fmt: skip
    only_b = Row("b", 0.0, online=True, network="wifi")
    assert imported("flash", phones) == ([only_b], ["4 of 5 phones have no value of online: left out"])
    rows, notes = imported("flash", phones, incomplete="keep")
    assert [row.device_id for row in rows] == ["a", "a", "b"]
    assert notes == ["4 of 5 phones have no value of online: kept, a scenario that plays it refuses them"]
    assert refused("flash", phones, incomplete="x") == "--incomplete(='x') must be one of leave_out, keep"
    phones.write_text('[{"guid": 7, "messages": ""}]')
    assert refused("flash", phones) == (
        "1 of 1 phones has no value of online: nothing can be imported (--incomplete keep writes the other columns)"
    )


SAMPLE = {"uuId": "a", "memoryFree": 8000, "memoryUser": 5, "memoryInactive": 1}


def test_the_time_zone_of_a_sample_counts(tmp_path: Path) -> None:
    times = [
        "2020-01-01T00:00:00+00:00",
        "2020-01-01T02:00:01+02:00",
        "2020-01-01 00:00:02Z",
        "2020-01-01 01:00:03",
    ]
    source = tmp_path / "x.json"
    for text in (
        "".join(json.dumps(SAMPLE | {"timestamp": t, "memoryUser": at}) + "\n\n" for at, t in enumerate(times)),
        json.dumps([SAMPLE | {"timestamp": t, "memoryUser": at} for at, t in enumerate(times)], indent=1),
        "﻿uuId\ttimestamp\tmemoryFree\tmemoryUser\tmemoryInactive\n"
        + "".join(f"a\t{t}\t8000\t{at}\t1\n" for at, t in enumerate(times)) + "\n\n",
    ):  # fmt: skip
        source.write_text(text)
        rows, _ = imported("greenhub", source, zone="+01:00")
        assert [(row.t_s, row.mem_available_bytes) for row in rows] == [
            (float(at), (at + 1) * KIB) for at in range(4)
        ]
    table = pa.table({name: [value] * 2 for name, value in SAMPLE.items()}
        | {"timestamp": pa.array([datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 1, 0, 0, 1, tzinfo=UTC)],
            pa.timestamp("ns", "UTC")), "network_status": ["wifi", "none"]})  # fmt: skip
    pq.write_table(table, source)
    assert [row.t_s for row in imported("greenhub", source)[0]] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"uuId": "a", "memoryFree": 1' + "0" * 400 + "}", "row 1: is no JSON: a number has 401 digits"),
        ('{"uuId": "a", "timestamp": 1, "memoryFree": 1' + "0" * 300 + "}", "row 1: memory_free(=1" + "0" * 39 + "...) must be a whole number of KiB, not negative"),
        ('{"uuId": "a", "timestamp": 1, "memoryFree": 1e400}', "row 1: memory_free(=inf) must be a whole number of KiB, not negative"),
        ('{"uuId": "\\ud800", "timestamp": 1}', "row 1: device_id(=\\ud800) must name the device"),
        ('{"uuId": NaN, "timestamp": 1}', "row 1: is no JSON: NaN is no number"),
        ('{"uuId": "NaN", "timestamp": 1}', "row 1: device_id(=NaN) must name the device"),
        ('{"uuId": [1], "timestamp": 1}', "row 1: device_id(=[1]) must name the device"),
        ('{"uuId": "a", "timestamp": 1, "screenOn": "\\u001b[2J"}', "row 1: screen_on(=\\x1b[2j) must be true or false, 1 or 0"),
        ("{" * 100_000, "row 1: is no JSON: "),
        ("[" * 100_000, "is no JSON: it is nested too deeply"),
    ],
    ids=map(str, itertools.count()),
)  # fmt: skip
def test_a_hostile_sample_is_one_line(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "x.json").write_text(line)
    assert refused("greenhub", tmp_path / "x.json").startswith(message)


BASE = {"time": "ts", "time_unit": "ms", "available": "mem", "unit": "KiB"}


def table(folder: Path, text: str) -> Path:
    file = folder / "log.csv"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("text", "options", "rows"),
    [
        ("ts,mem\n1772283575770,3986832\n1772283576619,3925240\n", {}, [(0.0, 3986832 * KIB), (0.849, 3925240 * KIB)]),
        ("ts;mem\n0;1.5\n1000;2.25", {"unit": "MiB"}, [(0.0, 1536 * KIB), (1.0, 2304 * KIB)]),
        ("ts,mem\n0,1\n1000,2", {"unit": "kB"}, [(0.0, 1000), (1.0, 2000)]),
        ("ts, mem\n0, 7 KiB\n1000, 8 KiB\n", {}, [(0.0, 7 * KIB), (1.0, 8 * KIB)]),
        ("ts,mem\n2,7\n1,8\n", {"time_unit": "s"}, [(0.0, 8 * KIB), (1.0, 7 * KIB)]),
        ("ts,mem\n2024-05-01T10:00:00,7\n2024-05-01 10:00:05.250,8\n", {"time_unit": "iso"}, [(0.0, 7 * KIB), (5.25, 8 * KIB)]),
        ("ts,mem\n1714557600,7\n1714557600500,8\n1714557601000000,9\n", {"time_unit": "epoch"}, [(0.0, 7 * KIB), (0.5, 8 * KIB), (1.0, 9 * KIB)]),
        # Clocks go back at 3:00 on that day: 2:30 comes twice.
        ("ts,mem\n2024-10-27 02:30:00,7\n2024-10-27 02:45:00,8\n2024-10-27 02:30:00,9\n", {"time_unit": "iso", "zone": "Europe/Berlin"}, [(0.0, 7 * KIB), (900.0, 8 * KIB), (3600.0, 9 * KIB)]),
        ("ts,mem\n0,7\n1000,\n2000,8\n", {}, [(0.0, 7 * KIB), (2.0, 8 * KIB)]),
    ],
)  # fmt: skip
def test_a_table_is_read_by_its_columns_and_units(
    tmp_path: Path, text: str, options: dict[str, Any], rows: list[tuple[float, int]]
) -> None:
    found, notes = imported("columns", table(tmp_path, text), **BASE | options)
    assert ([(row.t_s, row.mem_available_bytes) for row in found], notes) == (rows, [])


def test_a_table_has_devices_totals_and_states(tmp_path: Path) -> None:
    file = table(tmp_path, "ts,id,mem,all,up\n0,=b,1,9,yes\n0,a,,,off\n5,=b,2,9,no\n")
    options = BASE | {"time_unit": "s", "device": "id", "total": "all", "online_column": "up"}
    assert imported("columns", file, **options) == (
        [
            Row("=b", 0.0, mem_available_bytes=KIB, mem_total_bytes=9 * KIB, online=True),
            Row("=b", 5.0, mem_available_bytes=2 * KIB, online=False),
            Row("a", 0.0, online=False),
        ],
        [
            "1 of 2 devices has no value of mem_available_bytes: a scenario that plays it needs without_data: leave_out"
        ],
    )
    assert formula_note(["a"]) == []
    assert formula_note(["=b", "a"]) == [
        "1 device ids begin with one of = + - @, '=b' for one: a spreadsheet takes them for formulas; ids are kept as they are"
    ]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("ts,mem\n0,1\n", {"time": None}, "--time must name the column of the time"),
        ("ts,mem\n0,1\n", {"available": None}, "--available must name the column of the available memory, or --online that of a state"),
        ("ts,mem\n0,1\n", {"time_unit": None}, "--time-unit(=nothing) must say what 'ts' counts: s, ms, us, ns, iso, epoch"),
        ("ts,mem\n0,1\n", {"unit": "kb"}, "--unit(=kb) must be the unit of memory: B, kB, MB, GB, TB, KiB, MiB, GiB, TiB (the kB of /proc/meminfo are KiB)"),
        ("ts,mem\n0,1\n", {"zone": "Mars"}, "--time-zone(='Mars') must be a time zone, such as Europe/Berlin or +02:00"),
        ("ts,mem\n0,1\n", {"encoding": "klingon"}, "--encoding(='klingon') must be an encoding, such as latin-1"),
        ("t,\x1b[1m\n0,1\n", {}, "column 'ts' is missing; the file has t, \\x1b[1m"),
        ("ts,mem\n0,1\n1,2,3\n", {}, "row 2: must have 2 fields, not 3"),
        ("ts,ts\n0,1\n", {}, "column 'ts' occurs twice"),
        ("ts,mem\n\n0,1\nsoon,2\n", {}, "row 2: ts(=soon) must be a number, not negative (--time-unit ms)"),
        ("ts,mem\n0,1\n,2\n", {}, "row 2: ts(=nothing) must be a number, not negative (--time-unit ms)"),
        ("ts,mem\n0,nan\n", {}, "row 1: mem(=nan) must be a number of KiB, not negative"),
        ("ts,mem\n0,5 MiB\n", {}, "row 1: mem(=5 MiB) must be a number of KiB, not negative"),
        ("ts,mem\n0,-1\n", {}, "row 1: mem(=-1) must be a number of KiB, not negative"),
        ("ts,mem\n0,9007199254740992\n", {}, "row 1: mem(=9007199254740992) must be a number of KiB, not negative"),
        ("ts,mem\n0,1\n", {"time_unit": "iso"}, "row 1: ts(=0) must be a date and time (--time-unit iso)"),
        ("ts,mem\n0,1\n", {"available": None, "online_column": "mem", "time": "ts", "unit": None}, ""),
        ("ts,mem\n0,perhaps\n", {"available": None, "online_column": "mem"}, "row 1: mem(=perhaps) must be true or false, 1 or 0, yes or no, on or off, online or offline, connected or disconnected"),
        ("ts,mem\n", {}, "holds no row"),
        ("ts,mem\n0,\n", {}, "1 of 1 devices has no value of mem_available_bytes: nothing can be imported (--incomplete keep writes the other columns)"),
    ],
)  # fmt: skip
def test_nothing_of_a_table_is_guessed(
    tmp_path: Path, text: str, options: dict[str, Any], message: str
) -> None:
    file = table(tmp_path, text)
    if message:
        assert refused("columns", file, **BASE | options) == message
    else:
        assert imported("columns", file, **BASE | options)[0] == [Row("recording", 0.0, online=True)]


def test_latin_1_is_read_where_it_is_named(tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_bytes("ts,id,mem\n0,é,1\n".encode("latin-1"))
    assert (
        refused("columns", file, **BASE)
        == "line 2: is not UTF-8 text; --encoding names another, such as latin-1"
    )
    assert imported("columns", file, encoding="latin-1", device="id", **BASE)[0] == [
        Row("é", 0.0, mem_available_bytes=KIB)
    ]


MEMINFO = "MemTotal:        9000 kB\nMemFree:          5 kB\nMemAvailable:    {} kB\nBuffers:   6 kB\nCached:   7 kB\nSwapCached:   0 kB\n"
DUMP = """Applications Memory Usage (in Kilobytes):
Uptime: {up} Realtime: {real}

Total PSS by process:
    123,456K: system (pid 1234)
     99,000K: com.example (pid 77 / activities)

Total RAM: 9,000K (status {status})
 Free RAM: {free}K (  1,234K cached pss +   567K cached kernel +   543K free)
 Used RAM: 2,345K (1,200K used pss + 300K kernel)
"""
LOOKS = ((0, 1000), (5, 1001), (65, 1002))


def logged(stamp: Callable[[int], str], body: str = MEMINFO) -> str:
    return "".join(stamp(at) + body.format(free) for at, free in LOOKS)


def date(at: int, form: str) -> str:
    return (datetime(2024, 5, 1, 9, 59, 58) + timedelta(seconds=at)).strftime(form)


MEMORY_LOGS = {
    "epoch": logged(lambda at: f"{1714557600 + at}\n"),
    "epoch in ms": logged(lambda at: f"{1714557600000 + at * 1000}\n\n"),
    "seconds": logged(lambda at: f"t={at}\n"),
    "framed": logged(lambda at: date(at, "=== %Y-%m-%d %H:%M:%S ===\n")),
    "named": logged(lambda at: date(at, "Timestamp: %Y-%m-%dT%H:%M:%S.000+02:00\n")),
    "date": logged(lambda at: date(at, "Wed May  1 %H:%M:%S UTC 2024\n")),
    "date, 12 hours": logged(lambda at: date(at, "Wed 01 May 2024 %I:%M:%S %p CEST\n")),
    "date -R": logged(lambda at: date(at, "Wed, 01 May 2024 %H:%M:%S +0200\n")),
    "compact": logged(lambda at: date(at, "%Y%m%d-%H%M%S\n")),
    "of the day": logged(lambda at: date(at + 50_400, "%H:%M:%S\n")),  # around midnight
    "uptime": logged(lambda at: f"{100 + at}.12 200.13\n"),
    "after": "".join(MEMINFO.format(free) + f"{1714557600 + at}\n" for at, free in LOOKS),
    "before each line": "".join(
        date(at, f"[%Y-%m-%d %H:%M:%S.000] {line}\n") for at, free in LOOKS for line in MEMINFO.format(free).splitlines()
    ),
    "one line": "".join(date(at, f"%Y-%m-%dT%H:%M:%S MemTotal: 9000 kB MemFree: 5 kB MemAvailable: {free} kB\n") for at, free in LOOKS),
    "logcat": "".join(date(at, f"%m-%d %H:%M:%S.000  1234  1234 I mem: MemTotal: 9000 kB MemAvailable: {free} kB\n") for at, free in LOOKS),
    "prompt": logged(lambda at: date(at, "phone:/ $ date; cat /proc/meminfo\n%Y/%m/%d %H:%M:%S\n")).replace("\n", "\r\n"),
    "dumpsys": "".join(DUMP.format(up=at * 10, real=7 + at * 1000, status="normal", free=f"{free:,}") for at, free in LOOKS),
    "dumpsys with dates": "".join(
        date(at, "%Y-%m-%d %H:%M:%S\n") + DUMP.format(up=1, real=2, status="normal", free=free) for at, free in LOOKS),
    "old dumpsys": "".join(f"{1714557600 + at}\nTotal RAM: 9000 kB (status normal)\n Free RAM: {free} kB (419 cached pss + 2 free)\n" for at, free in LOOKS),
    "dumpsys -c": "".join(f"time,{at},{at * 1000}\nproc,native,system,1,123,N/A,e\nram,9000,{free},2761440\n" for at, free in LOOKS),
}  # fmt: skip


@pytest.mark.parametrize("name", MEMORY_LOGS)
def test_a_log_of_memory_is_read_in_the_shape_that_it_has(tmp_path: Path, name: str) -> None:
    file = tmp_path / "x.log"
    file.write_text(MEMORY_LOGS[name], newline="")
    rows, notes = imported("dumpsys" if "dump" in name else "meminfo", file)
    assert [(row.t_s, row.mem_available_bytes) for row in rows] == [
        (float(at), free * KIB) for at, free in LOOKS
    ]
    assert (rows[0].mem_total_bytes, notes) == (9000 * KIB, [])
    assert {row.pressure for row in rows} <= {None, "normal"}


def test_the_status_of_a_dump_is_the_pressure(tmp_path: Path) -> None:
    file = tmp_path / "x.log"
    file.write_text(
        "".join(
            DUMP.format(up=1, real=at * 1000, status=status, free=1)
            for at, status in enumerate(["normal", "Critical", "?"])
        )
    )
    assert [row.pressure for row in imported("dumpsys", file)[0]] == ["normal", "critical", None]


def test_an_old_kernel_and_a_log_without_times(tmp_path: Path) -> None:
    file = tmp_path / "x.log"
    file.write_text(logged(lambda at: f"{1714557600 + at}\n").replace("MemAvailable", "Nothing"))
    rows, notes = imported("meminfo", file)
    assert rows[0].mem_available_bytes == (5 + 6 + 7) * KIB
    assert notes == ["3 of 3 looks have no MemAvailable: MemFree + Buffers + Cached instead"]
    file.write_text(logged(lambda at: ""))
    assert refused("meminfo", file) == "line 1: the look has no time; --every says how far apart looks are"
    assert [row.t_s for row in imported("meminfo", file, every_ns=2 * 10**9)[0]] == [0.0, 2.0, 4.0]
    file.write_text("1\n" + MEMINFO + MEMINFO + "2\n" + MEMINFO)
    assert refused("meminfo", file) == "line 8: the look has no time; --every says how far apart looks are"
    file.write_text("hello\nworld\n")
    assert (
        refused("meminfo", file)
        == "holds no look at memory, neither MemAvailable of meminfo nor Free RAM of dumpsys; "
        "`peelfleet trace import columns` reads tables"
    )
    file.write_text("2\n" + MEMINFO.format(1) + "1\n" + MEMINFO.format(2))
    assert refused("meminfo", file) == "line 9: the time of the look falls"
    file.write_text("1\nMemAvailable: 5 pages\n")
    assert refused("meminfo", file) == "line 2: unit(=pages) must be kB"
    file.write_text("1\nMemTotal: 5 kB\n")
    assert refused("meminfo", file) == "line 2: the look has neither MemAvailable nor MemFree"


def test_a_log_may_end_anywhere(tmp_path: Path) -> None:
    file = tmp_path / "x.log"
    whole = logged(lambda at: f"{1714557600 + at}\n").encode()
    begin = whole.index(b"1714557665\n")  # of the last look
    for end in range(begin, len(whole)):
        file.write_bytes(whole[:end])
        rows, notes = imported("meminfo", file)
        available = [row.mem_available_bytes for row in rows]
        said = whole[:end].count(b"1002 k") > 0
        assert available == [free * KIB for _, free in LOOKS][: 3 if said else 2]
        cut = [] if said or b"MemTotal:        9000 k" not in whole[begin:end] else [16]
        assert notes == [f"line {line}: the last look is cut off: left out" for line in cut]


def test_sizes_have_units_and_not_too_many_digits(tmp_path: Path) -> None:
    file = tmp_path / "x.log"
    file.write_text("1\nMemAvailable: 1392120\nBuffers: 5\n")
    assert refused("meminfo", file) == "line 2: MemAvailable(=1392120) must have a unit"
    file.write_text("1\nMemAvailable: 1392120")
    assert refused("meminfo", file) == "line 2: MemAvailable(=1392120) must have a unit"
    file.write_text(f"1\nMemTotal: {'9' * 30} kB\nMemAvailable: 5 kB\n")
    assert refused("meminfo", file) == f"line 2: MemTotal(={'9' * 20}...) must have at most 15 digits"


@pytest.mark.parametrize(
    "stamp", ["14.11.2023 22:13:20", "11/14/2023 10:13:20 PM", "Di 14. Nov 22:13 CET 2023"]
)
def test_what_is_no_time_is_shown(stamp: str, tmp_path: Path) -> None:
    file = tmp_path / "x.log"
    file.write_text(f"{stamp}\n{MEMINFO}")
    assert refused("meminfo", file) == (
        f"line 2: the look has no time that is read in {stamp!r} before it; --every says how far apart looks are"
    )
    file.write_text("".join(f"{stamp} {line}\n" for line in MEMINFO.splitlines()))
    assert refused("meminfo", file) == (
        f"line 1: the look has no time that is read in {stamp + ' '!r} before it; "
        "--every says how far apart looks are"
    )


def test_tables_are_aligned_by_blanks_and_begin_with_comments(tmp_path: Path) -> None:
    expected = [
        Row("recording", 0.0, mem_available_bytes=KIB),
        Row("recording", 0.001, mem_available_bytes=2 * KIB),
    ]
    for text in ("  ts    mem\n   0      1\n   1      2\n", "# of my phone\n# in KiB\nts,mem\n0,1\n1,2\n"):
        assert imported("columns", table(tmp_path, text), **BASE)[0] == expected


def test_a_word_for_nothing_is_no_device_among_numbers(tmp_path: Path) -> None:
    for word in ("NULL", "None", "<NA>", r"\N"):
        with pytest.raises(InputError, match="must name the device; all others are numbers"):
            check_devices(tmp_path / "log.csv", ["1", "2", word])
        check_devices(tmp_path / "log.csv", ["Max", word])


@settings(deadline=None)
@given(
    looks=st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 2**40)), min_size=1, max_size=8),
    unit=st.sampled_from(["s", "ms", "us", "ns", "iso"]),
    zone=st.sampled_from(["UTC", "+02:00", "Europe/Berlin", "America/St_Johns"]),
    separator=st.sampled_from([",", ";", "\t"]),
)
def test_a_table_round_trips(
    tmp_path_factory: pytest.TempPathFactory,
    looks: list[tuple[int, int]],
    unit: str,
    zone: str,
    separator: str,
) -> None:
    times = list(itertools.accumulate(wait for wait, _ in looks))
    begin = datetime(2024, 3, 30, 22, tzinfo=UTC)  # in the night of the next day Berlin's clocks change
    forms: dict[str, Callable[[int], str]] = {
        "s": lambda t: f"{t / 1000:.3f}", "ms": str, "us": lambda t: f"{t}000", "ns": lambda t: f"{t}000000",
        "iso": lambda t: (begin + timedelta(milliseconds=t)).astimezone(read_zone(zone)).replace(tzinfo=None).isoformat(),
    }  # fmt: skip
    shown = forms[unit]
    file = tmp_path_factory.getbasetemp() / "table.csv"
    lines = [
        f"ts{separator}mem",
        *(f"{shown(t)}{separator}{size}" for t, (_, size) in zip(times, looks, strict=True)),
    ]
    file.write_text("\n".join(lines))
    rows, _ = imported("columns", file, time="ts", time_unit=unit, available="mem", unit="B", zone=zone)
    at, said = {}, None
    for row in rows:
        said = row.mem_available_bytes if row.mem_available_bytes is not None else said
        at[row.t_s] = said
    for t, (_, size) in zip(times, looks, strict=True):
        assert at[max(known for known in at if known <= (t - times[0]) / 1000)] == size
    assert rows[-1].t_s == (times[-1] - times[0]) / 1000
    out = file.with_name("round.parquet")
    write_trace(out, rows, IMPORTERS["columns"].sidecar(file, ImportOptions()))
    assert read_columns(out, KINDS).table.num_rows == len(rows)


HEADS = [b"", b"\x1f\x8b\x08\0\0\0\0\0\0\x03", b"BZh9", b"\xfd7zXZ\0\0\x04", b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"PAR1", b"\xff\xfe",
         b"\xff\xfe\0\0", b"\xef\xbb\xbf", b"[{", b'{"uuId": "a", ', b"ts,mem\n", b'ts,mem\n"', b"MemAvailable: 1 kB\n", b"1\nMemTotal: ",
         b"m_1,0,1,", b'{"a": {"messages": "', b"\x80\x04}"]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.sampled_from(HEADS),
    st.binary(max_size=80) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace")),
)
def test_any_bytes_are_rows_or_one_line_of_refusal(
    tmp_path_factory: pytest.TempPathFactory, head: bytes, tail: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz"
    file.write_bytes(head + tail)
    for kind, importer in IMPORTERS.items():
        options = ImportOptions(
            total_bytes=1000,
            time="ts",
            time_unit="iso" if len(tail) % 2 else "epoch",
            available="mem",
            unit="KiB",
        )
        refusals, rows = [], []
        try:
            rows = list(importer.rows(file, options))
        except InputError as error:
            refusals.append(str(error))
        assert [printable(refusal) for refusal in refusals] == refusals, kind
        with contextlib.suppress(InputError):
            write_trace(file.with_name("fuzz.csv"), rows, importer.sidecar(file, options))
    with contextlib.suppress(InputError):
        list(read_records(file))


@given(st.text(max_size=40) | st.floats() | st.integers(), st.sampled_from(["s", "ms", "iso", "epoch"]))
def test_any_text_is_a_moment_or_a_value_error(value: object, unit: str) -> None:
    with contextlib.suppress(ValueError, ArithmeticError):
        read_moment_ns(value, unit)


SHARED = list(range(1000))
NESTED = b"\x80\x04}K\x01" + b")" + b"\x85" * 200_000 + b"s."
KEYED = b"\x80\x04}" + b")" + b"\x85" * 200_000 + b"K\x01s."


def doubled() -> list[Any]:
    value: list[Any] = [1]
    for _ in range(60):
        value = [value, value]
    return value


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (NESTED, "is nested more than 100 deep"),
        (KEYED, "has a key that is neither a number nor text, but tuple"),
        (pickle.dumps({(1, 2): 3}), "has a key that is neither a number nor text, but tuple"),
        (pickle.dumps({10**5000: 1}), "holds a number of 16610 bits at byte 13"),
        (pickle.dumps({2**100: 1}), "has a key of 101 bits"),
        (b"(lp0\nL" + b"1" * 5000 + b"L\na.", "is damaged, or no pickle: at byte 2"),
        (pickle.dumps({i: {"active": SHARED} for i in range(400)}), "holds the same containers many times over, so it is not read"),
        (pickle.dumps(doubled()), "holds the same containers many times over, so it is not read"),
        (pickle.dumps(endless()), "holds a container that holds itself"),
    ],
    ids=map(str, range(9)),
)  # fmt: skip
def test_a_few_bytes_cannot_build_what_never_ends(data: bytes, message: str) -> None:
    with pytest.raises(UnsafePickleError) as caught:
        read_plain_pickle(data)
    assert str(caught.value) == message


def test_a_little_sharing_is_harmless() -> None:
    assert read_plain_pickle(pickle.dumps({1: SHARED, 2: SHARED})) == {1: SHARED, 2: SHARED}


def test_a_client_that_cannot_be_named_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "x"
    for client, shown in (
        ("\ud800", "\\ud800"),
        ("", "nothing"),
        ("nan", "nan"),
        ("x" * 2000, "x" * 40 + "..."),
    ):
        file.write_bytes(pickle.dumps({client: {"finish_time": 1, "active": [], "inactive": []}}))
        assert refused("fedscale", file) == f"row 1: client(={shown}) must name the device"


def test_blank_lines_before_the_header_of_a_trace_are_no_rows(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    for blank in ("", "\n", "\r\n\n"):
        file.write_text(f"{blank}device_id,t_s,online\n1,0,true\n\n1,5,no\n", newline="")
        with pytest.raises(InputError, match=r"x.csv: row 2: online\(=no\) must be true or false"):
            read_columns(file, KINDS)
        file.write_text(f"{blank}device_id,t_s,online\n1,0,true\n\n1,5,false\n", newline="")
        assert read_columns(file, KINDS).table["online"].to_pylist() == [True, False]
