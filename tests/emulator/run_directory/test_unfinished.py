"""A run that did not finish: what it had logged can be reported, and the report says what it is of."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from tests.emulator.cli.test_main import peelfleet
from tests.emulator.scenarios import TINY

PATIENCE_S = 90.0
COMMAND = [sys.executable, "-m", "emulator.cli"]


@pytest.mark.slow
def test_what_an_interrupted_run_had_logged_is_reported(tmp_path: Path, store_root: Path) -> None:
    (tmp_path / "x.yaml").write_text(TINY.replace("20 min", "20000 h"))
    command = [*COMMAND, "run", "x.yaml", "--store", str(store_root), "--set", "engine=simpy", "--force"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as run:
        deadline = time.monotonic() + PATIENCE_S
        while not list(tmp_path.glob("runs/*/.ranges")):
            assert (run.poll(), time.monotonic() < deadline) == (None, True)
            time.sleep(0.1)
        time.sleep(3.0)
        run.send_signal(signal.SIGINT)
        run.communicate(timeout=PATIENCE_S)
    (folder,) = (tmp_path / "runs").iterdir()
    note = msgspec.json.decode((folder / ".model.json").read_bytes())
    assert note["store"] == str(store_root)
    done = peelfleet("report", folder, folder=tmp_path)  # the run remembers where its model is
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    said, page = done.stdout.splitlines()
    assert re.fullmatch(
        r"NOT FINISHED: this run had come to [\d,]+ s of 72,000,000 s .* of 30 of 30 devices", said
    )
    summary = msgspec.json.decode((folder / "summary.json").read_bytes())
    assert (summary["unfinished"], 0 < summary["simulated_seconds"] < 72e6) == (True, True)
    assert "NOT FINISHED" in Path(page).read_text()
    assert (folder / ".ranges" / "quality" / "00000.parquet").exists()  # it can be reported again
    (folder / ".model.json").write_bytes(msgspec.json.encode(note | {"versions": ["another"]}))
    other = peelfleet("report", folder, folder=tmp_path)
    words = f"peelfleet: {folder}: this run had model another, but the cached or newly trained model is "
    assert (other.returncode, words in other.stderr, "Traceback" in other.stderr) == (2, True, False)
    (folder / ".model.json").write_text('{"store": 1}')
    damaged = peelfleet("report", folder, folder=tmp_path)
    assert (damaged.returncode, damaged.stderr) == (
        2,
        f"peelfleet: {folder / '.model.json'}: is damaged: Expected `str`, got `int` - at `$.store`\n",
    )
    refused = peelfleet("diff", folder, folder, folder=tmp_path)
    assert (refused.returncode, "this run did not finish" in refused.stderr) == (2, True)


@pytest.mark.slow
def test_interrupted_workers_write_what_they_have_in_memory(tmp_path: Path, store_root: Path) -> None:
    (tmp_path / "x.yaml").write_text(TINY.replace("20 min", "20000 h"))
    command = [*COMMAND, "run", "x.yaml", "--store", str(store_root), "--workers", "2"]
    command += ["--set", "fleet[0].count=2100", "--set", "engine=simpy", "--force"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as run:
        deadline = time.monotonic() + PATIENCE_S
        while not list(tmp_path.glob("runs/*/.ranges")):
            assert (run.poll(), time.monotonic() < deadline) == (None, True)
            time.sleep(0.05)
        time.sleep(8.0)  # long before the first devices have ended, of both ranges
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=PATIENCE_S)
    (folder,) = (tmp_path / "runs").iterdir()
    done = peelfleet("report", folder, "--store", store_root, folder=tmp_path)
    # Of each range one environment: 256 devices, and the 62 of the second range.
    assert (done.returncode, "of 318 of 2110 devices" in done.stdout) == (0, True), done.stdout + done.stderr


def test_a_partial_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = peelfleet("report", "x.partial", folder=tmp_path)
    assert (done.returncode, done.stderr) == (2, "peelfleet: x.partial: no such folder\n")


def test_a_partial_folder_without_a_log_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.partial").mkdir()
    done = peelfleet("report", "x.partial", folder=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "peelfleet: x.partial: this run did not finish, and had logged nothing\n",
    )


def test_any_name_of_a_folder_is_written_to_and_shown(tmp_path: Path, store_root: Path) -> None:
    (tmp_path / "x.yaml").write_text(TINY)
    odd = [b"caf\xe9", b"runs [old]", b"[/b]", "ö".encode()]
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for name in odd:
        done = subprocess.run(
            [*COMMAND, "run", "x.yaml", "--store", str(store_root), "--out", name],
            cwd=tmp_path, env=environment, capture_output=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
        (folder,) = (tmp_path / os.fsdecode(name)).iterdir()
        shown = name.decode("ascii", "surrogateescape").encode("ascii", "backslashreplace")
        assert b"report: " + shown + b"/" + folder.name.encode() + b"/report.html" in done.stdout


def test_a_log_file_gets_plain_lines_to_the_end(tmp_path: Path, store_root: Path) -> None:
    (tmp_path / "x.yaml").write_text(TINY)
    done = peelfleet("run", "x.yaml", "--store", store_root, folder=tmp_path)
    lines = [line.split()[:3] for line in done.stderr.splitlines()]
    assert lines[-3:] == [["model", "100", "%"], ["simulate", "100", "%"], ["report", "100", "%"]]


def test_names_that_can_be_none_are_one_line(tmp_path: Path, store_root: Path) -> None:
    (tmp_path / "x.yaml").write_text(TINY)
    empty = "(='') must be the name of a file or folder: is a variable not set?"
    long = "n" * 300
    for arguments, words in (
        (["--out", ""], f"--out{empty}"),
        (["--store="], f"--store{empty}"),
        (["--out", long], f"{long}: cannot make a run directory here: File name too long"),
    ):
        done = peelfleet("run", "x.yaml", *arguments, folder=tmp_path)
        assert (done.returncode, done.stderr) == (2, f"peelfleet: {words}\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_without_a_home_is_told_what_to_name() -> None:
    script = """
import os
from cloud.blocks.store_cache import default_root
from wire.errors import InputError
os.setuid(4242)
os.environ.pop("HOME", None), os.environ.pop("XDG_CACHE_HOME", None), os.environ.pop("PEELFLEET_STORE", None)
try:
    default_root()
except InputError as error:
    print(error)
os.environ["PEELFLEET_STORE"] = "there"
print(default_root())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "this user has no home folder to keep models in: name a folder with --store or PEELFLEET_STORE",
        "there",
    ]
