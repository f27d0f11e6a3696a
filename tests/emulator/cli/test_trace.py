"""``peelfleet trace``: record, import, inspect, and a fleet that plays what was written."""
# ruff: noqa: E501 - tables of cases: what is wrong, and the exact message beside it

import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from devices.memory import Replay
from devices.traces.availability import Availability, offline_spans
from devices.traces.columns import COLUMNS, KINDS, read_columns
from devices.traces.inspect import inspect
from devices.traces.procfs import Sample, pressure_level, read_proc, rows_of
from devices.traces.series import Series
from devices.traces.writer import Row, digest, read_sidecar
from emulator.cli.trace.record import sampled
from scenarios.language.load import load, parse
from tests.devices.traces.reading import read_memory, read_series
from tests.emulator.cli.test_main import peelfleet, write
from tests.emulator.scenarios import TINY, Runner
from wire.errors import InputError
from wire.units import NS_PER_S

TRACES = Path(__file__).parents[3] / "scenarios" / "traces"
SECOND = NS_PER_S
MEMINFO = "MemTotal:        4096 kB\nMemFree:          100 kB\nMemAvailable:    {} kB\n"
STALLS = (
    "some avg10={:.2f} avg60=0.00 avg300=0.00 total=1\nfull avg10={:.2f} avg60=0.00 avg300=0.00 total=1\n"
)


def a_proc(folder: Path, available: int = 1024, stalls: tuple[float, float] | None = (0.0, 0.0)) -> Path:
    proc = folder / "proc"
    (proc / "pressure").mkdir(parents=True, exist_ok=True)
    (proc / "meminfo").write_text(MEMINFO.format(available))
    if stalls is not None:
        (proc / "pressure" / "memory").write_text(STALLS.format(*stalls))
    return proc


@pytest.mark.parametrize(
    ("stalls", "level"),
    [
        ((0.0, 0.0), "normal"),
        ((0.99, 0.0), "normal"),
        ((1.0, 0.5), "moderate"),
        ((6.99, 6.99), "moderate"),
        ((7.0, 0.0), "low"),
        ((50.0, 7.0), "critical"),
        (None, None),
    ],
)
def test_what_the_kernel_says_becomes_a_sample(
    tmp_path: Path, stalls: tuple[float, float] | None, level: str | None
) -> None:
    assert read_proc(a_proc(tmp_path, 1024, stalls)) == Sample(1024 * 1024, 4096 * 1024, level)


def test_nothing_is_made_of_a_damaged_proc(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="meminfo: cannot be read: No such file or directory"):
        read_proc(tmp_path)
    (tmp_path / "meminfo").write_text("MemTotal: 1 kB\n")
    with pytest.raises(InputError, match="meminfo: must have a line 'MemAvailable: N kB'"):
        read_proc(tmp_path)
    assert pressure_level("some nonsense") is None


def test_a_row_is_written_where_something_changed_and_at_the_end() -> None:
    looks = [
        (SECOND, Sample(1000, 5000, "normal")),
        (2 * SECOND, Sample(1009, 5000, "normal")),  # less than the resolution
        (3 * SECOND, Sample(1010, 5000, "normal")),
        (4 * SECOND, Sample(1010, 5000, "low")),
        (6 * SECOND, Sample(1010, 5000, "low")),
    ]
    assert list(rows_of("me", looks, 10)) == [
        Row("me", 0.0, mem_available_bytes=1000, mem_total_bytes=5000, pressure="normal"),
        Row("me", 2.0, mem_available_bytes=1010, mem_total_bytes=5000, pressure="normal"),
        Row("me", 3.0, mem_available_bytes=1010, mem_total_bytes=5000, pressure="low"),
        Row("me", 5.0),
    ]


def never() -> bool:
    return False


class Clock:
    """Time that passes only while one sleeps, or as long as looking takes."""

    def __init__(self, looks_ns: Iterator[int]) -> None:
        self.now = 0
        self._looks_ns = looks_ns

    def time(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)

    def look(self) -> Sample:
        self.now += next(self._looks_ns)
        return Sample(1, 2, None)


def test_samples_lie_on_a_grid_whatever_a_look_takes() -> None:
    """The third look, at 2 s, takes 2.5 s: the grid's 3 s and 4 s are skipped, not made up for."""
    clock = Clock(itertools.chain([0, 0, 25 * SECOND // 10], itertools.repeat(0)))
    times = [
        at // SECOND for at, _ in sampled(clock.look, SECOND, 7 * SECOND, never, clock.time, clock.sleep)
    ]
    assert times == [0, 1, 2, 5, 6, 7]


def test_control_c_ends_the_samples_and_keeps_them() -> None:
    """Ctrl-C in the middle of the third second, and a nap is a tenth of one."""
    clock = Clock(itertools.repeat(0))
    looks = sampled(
        clock.look, SECOND, 60 * SECOND, lambda: clock.now > 25 * SECOND // 10, clock.time, clock.sleep
    )
    assert [at // SECOND for at, _ in looks] == [0, 1, 2]
    assert clock.now == 26 * SECOND // 10


def test_a_recording_is_a_trace_with_a_sidecar(tmp_path: Path) -> None:
    done = peelfleet(
        "trace", "record", "--out", "x.csv", "--every", "50 ms", "--for", "100 ms", "--proc", a_proc(tmp_path),
        "--name", "me", "--source", "a made-up machine", "--licence", "MIT", folder=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    sidecar = read_sidecar(tmp_path / "x.csv")
    assert sidecar is not None
    assert (sidecar.source, sidecar.licence, sidecar.rows) == ("a made-up machine", "MIT", 2)
    (series,) = read_memory(Replay(file="x.csv"), tmp_path / "x.csv")
    assert (series.times_ns, series.values) == ((0,), (1024 * 1024,))
    assert series.length_ns >= SECOND // 10


def recorder(folder: Path, proc: Path, out: str = "x.parquet") -> subprocess.Popen[str]:
    """Start a recorder, and wait until its draft holds a row."""
    command = [sys.executable, "-m", "emulator.cli", "trace", "record", "--out", out, "--for", "1 h",
               "--every", "10 ms", "--proc", str(proc)]  # fmt: skip
    running = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    draft = folder / f"{out}.partial"
    deadline = time.monotonic() + 60
    while not (draft.exists() and draft.read_bytes().count(b"\n") >= 2):
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return running


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_recording_that_is_ended_leaves_a_whole_trace(tmp_path: Path, number: signal.Signals) -> None:
    running = recorder(tmp_path, a_proc(tmp_path))
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert (running.returncode, err) == (0, "")
    assert out.startswith("x.parquet: ")
    assert read_sidecar(tmp_path / "x.parquet") is not None
    assert len(read_memory(Replay(file="x.parquet"), tmp_path / "x.parquet")) == 1
    assert not list(tmp_path.glob("*.partial"))


def test_a_recording_that_is_killed_is_recovered_by_a_command_or_set_aside_by_the_next(
    tmp_path: Path,
) -> None:
    proc = a_proc(tmp_path)
    for after in (
        ["trace", "recover", "x.csv"],
        ["trace", "record", "-o", "x.csv", "--for", "1 ms", "--proc", "proc"],
    ):
        running = recorder(tmp_path, proc, "x.csv")
        busy = peelfleet("trace", "recover", "x.csv", folder=tmp_path)
        assert (busy.returncode, busy.stderr) == (
            2,
            "peelfleet: x.csv.partial: another process records there\n",
        )
        running.kill()
        running.communicate()
        done = peelfleet(*after, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        if after[1] == "recover":
            assert (done.stdout, done.stderr) == ("x.csv: 1 rows\n", "")
        else:
            assert done.stderr == ("x.csv.partial: left by an unfinished recording; it is now x-1.csv\n")
            assert read_memory(Replay(file="x.csv"), tmp_path / "x-1.csv")[0].values == (1024 * 1024,)
        assert read_memory(Replay(file="x.csv"), tmp_path / "x.csv")[0].values == (1024 * 1024,)
        assert not list(tmp_path.glob("*.partial"))
    none = peelfleet("trace", "recover", "x.csv", folder=tmp_path)
    assert none.stderr == "peelfleet: x.csv.partial: cannot be read: No such file or directory\n"


def test_what_is_in_the_way_is_told_before_the_first_look(tmp_path: Path) -> None:
    proc = a_proc(tmp_path)
    (tmp_path / "f.csv").mkdir()
    (tmp_path / "l.csv").symlink_to("f.csv")
    (tmp_path / "s.meta.json").symlink_to("f.csv")
    os.mkfifo(tmp_path / "p.csv")
    (tmp_path / "mine.csv.partial").write_text("mine")
    for out, message in {
        "nofolder/rec.csv": "nofolder/rec.csv: cannot be written: No such file or directory",
        "f.csv": "f.csv: is a folder, not a file to write",
        "l.csv": "l.csv: is a folder, not a file to write",
        "s.csv": "s.meta.json: is a folder, not a file to write",
        "p.csv": "p.csv: is a named pipe, not a file to write",
        "mine.csv": "mine.csv.partial: is not a draft of a recording",
        "x" * 300 + ".csv": "x" * 300 + ".csv: cannot be written: File name too long",
    }.items():
        done = peelfleet("trace", "record", "-o", out, "--for", "1 h", "--proc", proc, folder=tmp_path)
        assert (done.returncode, done.stderr) == (2, f"peelfleet: {message}\n")
    assert (tmp_path / "mine.csv.partial").read_text() == "mine"


def test_a_recording_ends_whole_where_the_memory_cannot_be_read_any_more(tmp_path: Path) -> None:
    proc = a_proc(tmp_path)
    running = recorder(tmp_path, proc, "x.csv")
    (proc / "meminfo").unlink()
    out, err = running.communicate(timeout=60)
    assert (running.returncode, out) == (1, "x.csv: 2 rows\n") or out == "x.csv: 1 rows\n"
    assert err == (
        f"peelfleet: {proc}/meminfo: cannot be read: No such file or directory; "
        "the rows until then are in x.csv\n"
    )
    assert read_memory(Replay(file="x.csv"), tmp_path / "x.csv")[0].values == (1024 * 1024,)


def test_a_folder_may_have_a_name_that_is_no_text(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    proc, out = a_proc(tmp_path), folder / "x.parquet"
    done = peelfleet("trace", "record", "-o", out, "--for", "1 ms", "--proc", proc, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "caf\\udce9/x.parquet: 1 rows" in done.stdout
    done = peelfleet("trace", "inspect", out, folder=tmp_path)
    assert done.returncode == 0
    assert "caf\\udce9/x.parquet: 1 series" in done.stdout


CLIENT = {"duration": 1, "inactive": [30], "finish_time": 100, "active": [10], "model": "x"}


def test_an_import_says_what_it_wrote_and_what_it_did(tmp_path: Path) -> None:
    (tmp_path / "behave").write_bytes(pickle.dumps({1: CLIENT, 2: CLIENT, 3: CLIENT}))
    done = peelfleet(
        "trace", "import", "fedscale", "behave", "--out", "out.csv", "--devices", "2", folder=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "out.csv: 2 series, 8 rows; see out.meta.json\n"
    assert json.loads((tmp_path / "out.meta.json").read_text())["sha256"] == digest(tmp_path / "out.csv")


def test_an_import_says_what_it_left_out_and_a_scenario_plays_what_it_wrote(tmp_path: Path) -> None:
    messages = {"a": "2020-01-28 00:00:00\tscreen_on", "=b": "2020-01-28 00:00:00\twifi", "c": ""}
    phones = {guid: {"guid": guid, "model": "x", "messages": each} for guid, each in messages.items()}
    (tmp_path / "phones.json").write_text(json.dumps(phones))
    done = peelfleet("trace", "import", "flash", "phones.json", "-o", "x.csv", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, "x.csv: 1 series, 1 rows; see x.meta.json\n")
    assert done.stderr == (
        "2 of 3 phones have no value of online: left out\n"
        "1 device ids begin with one of = + - @, '=b' for one: a spreadsheet takes them for formulas; ids are kept "
        "as they are\n"
    )
    assert json.loads((tmp_path / "x.meta.json").read_text())["notes"] == (
        "2 of 3 phones have no value of online: left out"
    )
    write(tmp_path, TINY + "    availability: {type: trace, file: x.csv}\n")
    assert peelfleet("validate", "x.yaml", folder=tmp_path).returncode == 0


def test_an_import_doubts_the_units_that_were_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("ts,mem\n1772283575770,3986832\n1772283636619,3925240\n")
    columns = ("x.csv", "-o", "out.csv", "--time", "ts", "--available", "mem")
    done = peelfleet(
        "trace", "import", "columns", *columns, "--time-unit", "ms", "--unit", "B", folder=tmp_path
    )
    assert (done.returncode, done.stdout) == (0, "out.csv: 1 series, 2 rows; see out.meta.json\n")
    assert done.stderr == (
        "warning: half of the time at most 3.74 MiB are available: bytes, or KiB? `peelfleet trace import columns "
        "--unit KiB` reads other units\n"
    )
    done = peelfleet(
        "trace", "import", "columns", *columns, "--time-unit", "ms", "--unit", "KiB", folder=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_validate_refuses_a_trace_that_run_would_refuse(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("device_id,t_s,online\na,0,true\nb,0,\n")
    for rest, said in {
        "": (2, "peelfleet: x.csv: device 'b': online must have a value in some row (1 of 2 devices have none; "
                "`without_data: leave_out` leaves them out)\n"),
        ", without_data: leave_out": (0, "warning: x.csv: 1 of 2 devices have no value in a column that group tvbox "
                                         "plays: left out\n"),
    }.items():  # fmt: skip
        write(tmp_path, TINY + f"    availability: {{type: trace, file: x.csv{rest}}}\n")
        done = peelfleet("validate", "x.yaml", folder=tmp_path)
        assert (done.returncode, done.stderr.splitlines(keepends=True)[-1:]) == (said[0], [said[1]])
    write(tmp_path, TINY + "    availability: {type: trace, file: x.csv}\n")
    trained = peelfleet("train", "x.yaml", "--store", "store", folder=tmp_path)
    assert trained.returncode == 0, trained.stderr
    assert "warning: `run` would refuse this scenario: x.csv: device 'b': online must have" in trained.stderr
    for verb in ("run", "sweep"):
        write(
            tmp_path,
            TINY + "    availability: {type: trace, file: x.csv}\nsweep: {grid: {model.layers: [8, 16]}}\n",
        )
        done = peelfleet(verb, "x.yaml", "--out", "out", folder=tmp_path)
        assert done.returncode == 2, verb
        assert "online must have a value in some row" in done.stderr
        assert "train" not in done.stderr
        assert not (tmp_path / "out").exists()
    (tmp_path / "x.csv").write_text("t_s,online\n0,true\n0.0000001,false\n0.0000002,true\n")
    done = peelfleet("validate", "x.yaml", folder=tmp_path)
    assert done.returncode == 2
    assert "x.csv: online: a device of group tvbox plays up to " in done.stderr
    assert "changes until stop_time(=" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "carat", "x", "--out", "o.csv"], "kind(='carat') must be one of fedscale, flash, greenhub, alibaba, columns, meminfo, dumpsys"),
        (["import", "fedscale", "x", "--out", "o.csv"], "x: cannot be read: No such file or directory"),
        (["import", "fedscale", "x", "--out", "o.pkl"], "o.pkl: a trace must end in .csv or .parquet"),
        (["import", "alibaba", "x", "--out", "o.csv", "--total", "8"], "--total(='8') must be a size such as 8 GiB"),
        (["record", "--out", "o.csv", "--every", "0 s"], "--every(='0 s') must be a duration above 0 s"),
        (["record", "--out", "o.csv", "--for", "ever"], "--for(='ever') must be a duration such as 250 ms or 1 h 30 min (units: ns, us, ms, s, min, h, d)"),
        (["record", "--out", "o.csv", "--proc", "none"], "none/meminfo: cannot be read: No such file or directory"),
        (["inspect", "o.csv"], "o.csv: no such trace file"),
        (["inspect", "o.txt"], "o.txt: a trace must end in .csv or .parquet"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_leaves_nothing(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = peelfleet("trace", *arguments, folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"peelfleet: {message}\n")
    assert list(tmp_path.iterdir()) == []


def test_inspect_prints_figures_of_each_series_and_of_all(tmp_path: Path) -> None:
    """a: 1 KiB for 60 s, 3 KiB for 30 s; b: 2 KiB for 10 s, and it is offline for 4 of them."""
    (tmp_path / "x.csv").write_text(
        "device_id,t_s,mem_available_bytes,pressure,online,mood\n"
        "a,0,1024,normal,,good\na,60,3072,low,,bad\na,90,,,,\n"
        "b,5,2048,,true,\nb,9,,,false,\nb,13,,,true,\nb,15,,,,\n"
    )
    done = peelfleet("trace", "inspect", "x.csv", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "x.csv: 2 series, 7 rows; device_id, t_s, mem_available_bytes, pressure, online\n"
        "besides: mood\n"
        "no x.meta.json says where it comes from\n"
        "series  rows  span  least  median   most  online  changes/h\n"
        "a          3  90 s  1 KiB   1 KiB  3 KiB       -         40\n"
        "  pressure: normal 66.7%, low 33.3%\n"
        "b          4  10 s  2 KiB   2 KiB  2 KiB   60.0%          0\n"
        "all        7  90 s  1 KiB   1 KiB  3 KiB   60.0%         36\n"
        "  pressure: normal 66.7%, low 33.3%\n"
    )
    assert done.stderr == (
        "warning: 1 of 2 devices have no value in online ('a'): a scenario that plays it needs without_data: "
        "leave_out\n"
        "warning: half of the time at most 1 KiB are available: bytes, or KiB? `peelfleet trace import columns "
        "--unit KiB` reads other units\n"
    )
    (tmp_path / "x.csv").write_text("t_s,pressure\n0,high\n")
    done = peelfleet("trace", "inspect", "x.csv", folder=tmp_path)
    assert done.stderr == (
        "peelfleet: x.csv: row 1: pressure(=high) must be one of normal, moderate, low, critical\n"
    )


def test_inspect_keeps_to_80_columns_and_cuts_no_number(tmp_path: Path) -> None:
    name = "3f1c0f5e-0000-4000-8000-0123456789ab"
    (tmp_path / "x.csv").write_text(
        "device_id,t_s,mem_available_bytes,online\n"
        + "".join(
            f"{name},{at * 7777.7},{2**33 + at * 999_999_937 % 2**34},{str(at % 3 > 0).lower()}\n"
            for at in range(12_000)
        )
    )
    done = peelfleet("trace", "inspect", "x.csv", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[2:] == [
        "series   rows      span  least  median    most  online  changes/h",
        name,
        "        12000  1080.1 d  8 GiB  16 GiB  24 GiB   66.7%     0.4629",
        "all     12000  1080.1 d  8 GiB  16 GiB  24 GiB   66.7%     0.4629",
    ]


def test_inspect_doubts_units_that_are_hardly_meant(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        "device_id,t_s,mem_available_bytes\n1,1772283575770,3986832\n1,1772283576619,3925240\n"
    )
    done = peelfleet("trace", "inspect", "x.csv", folder=tmp_path)
    assert done.returncode == 0
    assert done.stderr == (
        "warning: half of the time at most 3.74 MiB are available: bytes, or KiB? `peelfleet trace import columns "
        "--unit KiB` reads other units\n"
        "warning: its first t_s is 1.772283576e+12: seconds, or milliseconds since 1970? `peelfleet trace import "
        "columns --time-unit ms` reads other units\n"
    )


def test_nothing_of_a_trace_reaches_the_terminal_raw(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        "device_id,t_s,mem_available_bytes,\x1b[31mcol\n\x1b[31mEVIL\x1b]0;pwned\x07,0,100000000,1\nb,1,200000000,2\n"
    )
    sidecar = {"source": "\x1b[2J", "licence": "a\nb", "sampling": "", "transform": "\u202e", "notes": "\x07"}
    (tmp_path / "x.meta.json").write_text(json.dumps(sidecar | {"proxy_for": "\x9b1m"}))
    done = peelfleet("trace", "inspect", "x.csv", folder=tmp_path)
    assert done.returncode == 0
    assert "\\x1b[31mEVIL\\x1b]0;pwned\\x07" in done.stdout
    assert "source: \\x1b[2J\nlicence: a\\nb\n" in done.stdout
    assert not {char for char in done.stdout + done.stderr if not char.isprintable()} - {"\n"}


def test_what_inspect_says_of_being_online_is_what_is_played(tmp_path: Path) -> None:
    """Known late: before its first value it is as that says; the last value holds as long as the one before."""
    file = tmp_path / "x.csv"
    file.write_text("device_id,t_s,online\na,0,\na,100,true\na,110,false\na,120,\n")
    played = read_series(file, "online", "flag")["a"]
    spans = list(itertools.islice(offline_spans(played, Availability(file="x.csv")), 1))
    share = 1 - (spans[0][1] - spans[0][0]) / played.length_ns
    assert inspect(file).overall.online_share == share == 110 / 120


def test_help_loads_nothing_heavy() -> None:
    heavy = ("torch", "pyarrow", "simpy", "yaml")
    for arguments, more in ((["trace", "--help"], ("numpy", "msgspec")), (["trace", "record", "--help"], ())):
        script = (
            "import sys\nfrom emulator.cli.main import main\n"
            "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
            f"print(sorted({{*{heavy!r}, *{more!r}}} & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("file", sorted(TRACES.glob("*.csv")), ids=lambda file: file.stem)
def test_the_recordings_that_ship_are_what_their_sidecars_say(file: Path) -> None:
    sidecar = read_sidecar(file)
    assert sidecar is not None
    assert "not a phone" in sidecar.source
    assert sidecar.sha256 == digest(file)
    columns = read_columns(file, KINDS)
    assert set(columns.names) <= {column.name for column in COLUMNS}
    assert (columns.table.num_rows, file.stat().st_size < 100_000) == (sidecar.rows, True)
    (series,) = read_memory(Replay(file=file.name), file)
    assert series.length_ns >= 299 * SECOND


def test_three_recordings_ship() -> None:
    assert [file.stem for file in sorted(TRACES.glob("*.csv"))] == ["idle", "leak", "periodic"]


PLAYED = """
fleet:
  - name: phone
    count: 6
    memory: {type: trace, file: x.csv, assign: by_order, scale: 0.5, shift: 30 s}
    shocks: [{every: 5 min, lasting: 1 min, over: 10 s, share: 60 %}]
    budget: {share: 50 %, reserve: 100 B, max: 900 B}
  - name: thrash
    count: 3
    memory: {type: boundary, low_for: 20 s, high_for: 20 s}
    budget: {share: 0.1 %}
  - name: tablet
    count: 4
    memory: {type: pressure_states, normal: {min: 1 MiB, max: 2 MiB, dwell: 1 min}}
    budget: {share: 0.1 %, max: 1 KiB}
  - name: tvbox
    count: 3
    memory: {type: sawtooth, low: 100 KiB, high: 1 MiB, leak: 100 KiB, step_every: 10 s}
    budget: {share: 0.1 %}
"""


def test_a_fleet_of_all_processes_logs_the_same_twice_and_sharded(runner: Runner, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("device_id,t_s,mem_available_bytes\na,0,2000\na,60,300\na,120,\nb,0,500\nb,10,1500\n")
    text = TINY[: TINY.index("fleet:")] + PLAYED.replace("x.csv", str(file))
    once, sharded = runner.run(text), runner.run(text, shards=2)
    assert once.summary["event_log_sha256"] == sharded.summary["event_log_sha256"]
    assert once.summary["budget_changes"] > 500  # type: ignore[operator]
    assert once.summary["over_budget_device_seconds"] == 0


def test_more_devices_than_series_cannot_play_without_replacement(runner: Runner, tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("device_id,t_s,mem_available_bytes\na,0,2000\nb,0,500\n")
    text = TINY[: TINY.index("fleet:")] + PLAYED.replace("x.csv", str(file))
    with pytest.raises(
        InputError, match="has 2 series of mem_available_bytes for the 6 devices of group phone"
    ):
        runner.run(text, "fleet[phone].memory.assign=sample_without_replacement")
    runner.run(text, "fleet[phone].memory.assign=sample_without_replacement", "fleet[phone].count=2")


def test_a_trace_is_looked_up_beside_the_scenario_file(tmp_path: Path) -> None:
    text = TINY[: TINY.index("fleet:")] + PLAYED
    file = write(tmp_path, text)
    assert load(file) == parse(text)  # there is none: as written, in the working folder
    (tmp_path / "x.csv").write_text("t_s,mem_available_bytes\n0,1\n")
    memory = load(file).fleet[0].memory
    assert isinstance(memory, Replay)
    assert Path(memory.file) == tmp_path / "x.csv"
    assert read_memory(memory, Path(memory.file)) == (Series((0,), (1,), 0),)
    assert os.path.isabs(memory.file) == tmp_path.is_absolute()
