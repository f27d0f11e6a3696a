"""Ctrl-C in every phase of a run in real time: only its `.partial` folder is left."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from broker_config import mosquitto
from tests.emulator.realtime.test_by_hand import ROOT, SCENARIO

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed"),
]

PATIENCE_S = 90.0


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Where a run puts what is for its time only."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # mosquitto is another user
        yield Path(folder)


def connected(run: psutil.Process) -> int:
    """Return how many connections the shards of a run have."""
    shards = [process for process in run.children() if "devices" in process.cmdline()]
    return sum(len(process.net_connections("tcp")) for process in shards)


def connecting(run: psutil.Process, _: Path) -> bool:
    return connected(run) >= 3


def running(run: psutil.Process, folder: Path) -> bool:
    sizes = [file.stat().st_size for file in folder.glob("runs/*/.shard-*/update.arrows")]
    return len(sizes) == 2 and min(sizes) > 8_000


def reporting(run: psutil.Process, folder: Path) -> bool:
    return bool(list(folder.glob("runs/*/events")))  # the first of what is written when the fleet is done


PHASES = {
    # Two connections a second and shard: the fleet is together after eight seconds.
    "connect": (connecting, ["realtime.connect_rate=2", "fleet[0].start_within=0 s"]),
    "run": (running, ["stop_time=1000 h"]),
    "report": (reporting, ["realtime.speed=100"]),
}


ENDS = {
    signal.SIGINT: b"peelfleet: interrupted\n",
    signal.SIGTERM: b"peelfleet: interrupted by SIGTERM\n",
    signal.SIGHUP: b"peelfleet: interrupted by SIGHUP\n",
}


@pytest.mark.parametrize(
    ("phase", "number"),
    [("connect", signal.SIGHUP), ("run", signal.SIGTERM), ("report", signal.SIGINT)],
)
def test_an_interrupted_run_leaves_a_partial_folder_and_no_process(
    phase: str, number: signal.Signals, tmp_path: Path, store_root: Path, scratch: Path
) -> None:
    reached, settings = PHASES[phase]
    (tmp_path / "tiny.yaml").write_text(SCENARIO)
    command = [sys.executable, "-m", "emulator.cli", "run", "tiny.yaml", "--store", str(store_root)]
    command += ["--shards", "2", *(word for setting in settings for word in ("--set", setting))]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(scratch)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        seen = wait_until(run, reached, tmp_path)
        run.send_signal(number)
        time.sleep(0.03)
        run.send_signal(number)  # a second one does not cut short what ends the run in order
        _, errors = run.communicate(timeout=PATIENCE_S)
    assert (run.returncode, b"Traceback" in errors) == (128 + number, False), errors.decode()
    assert errors.endswith(ENDS[number])
    _, left = psutil.wait_procs(seen, timeout=PATIENCE_S)
    assert [process for process in left if process.status() != psutil.STATUS_ZOMBIE] == []
    # The broker with its guard, the cloud, and two shards, which have ended by themselves before the report.
    assert len(seen) >= 5
    assert [folder.suffix for folder in (tmp_path / "runs").iterdir()] == [".partial"]
    assert list(scratch.glob("peelfleet-*")) == []  # broker, passwords


def wait_until(
    run: "subprocess.Popen[bytes]", reached: Callable[[psutil.Process, Path], bool], folder: Path
) -> list[psutil.Process]:
    """Wait until a run is in a phase; return every process that it has had."""
    process, seen = psutil.Process(run.pid), set[psutil.Process]()
    deadline = time.monotonic() + PATIENCE_S
    while True:
        seen |= set(process.children(recursive=True))
        try:
            if reached(process, folder):
                return list(seen)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            pass  # one of them has just ended
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_run_that_is_killed_takes_everything_with_it(
    tmp_path: Path, store_root: Path, scratch: Path
) -> None:
    (tmp_path / "tiny.yaml").write_text(SCENARIO)
    command = [sys.executable, "-m", "emulator.cli", "run", "tiny.yaml", "--store", str(store_root)]
    command += ["--shards", "2", "--set", "stop_time=1000 h"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(scratch)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as run:
        seen = wait_until(run, running, tmp_path)
        run.kill()
    _, left = psutil.wait_procs(seen, timeout=PATIENCE_S)
    assert [process for process in left if process.status() != psutil.STATUS_ZOMBIE] == []
    assert len(seen) >= 5
    # Passwords of devices and of the broker stay behind, until the next command starts.
    assert list(scratch.glob("peelfleet-*/credentials.csv"))
    subprocess.run([sys.executable, "-m", "emulator.cli", "scenarios"], env=environment, check=True)
    assert list(scratch.glob("peelfleet-*")) == []
