"""What only Linux and macOS have is hidden: everything works without it, as it must on Windows."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wire.event_loops import call_on_signals

HIDE = """
import asyncio, os, sys

for module in ("resource", "pwd", "grp", "termios", "tty", "syslog"):
    sys.modules[module] = None
for name in ("geteuid", "killpg", "fchmod", "O_NOFOLLOW", "sched_getaffinity"):
    delattr(os, name)

def refuse(*args):
    raise NotImplementedError

asyncio.SelectorEventLoop.add_signal_handler = refuse
"""
QUICKSTART = ("quickstart", "--set", "stop_time=10 min", "--set", "thresholds={}")


def peelfleet(folder: Path, *args: str) -> None:
    """Run the command line without POSIX, also in its child processes."""
    (folder / "sitecustomize.py").write_text(HIDE)
    done = subprocess.run(
        [sys.executable, "-m", "emulator.cli", *args],
        cwd=Path(__file__).parents[1], env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_run_and_its_report(tmp_path: Path) -> None:
    args = ("--set", "clock=virtual", "--workers", "2", "--out", str(tmp_path / "runs"))
    peelfleet(tmp_path, "run", *QUICKSTART, *args)
    (run,) = (tmp_path / "runs").iterdir()
    (run / "report.html").unlink()
    peelfleet(tmp_path, "report", str(run))
    assert (run / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("clock", ["lockstep", "realtime"])
def test_runs_with_the_embedded_broker(clock: str, tmp_path: Path) -> None:
    fleet = ("--set", f"clock={clock}", "--set", "broker=amqtt", "--set", "realtime.speed=60")
    peelfleet(tmp_path, "run", *QUICKSTART, *fleet, "--out", str(tmp_path / "runs"))
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_the_files_of_a_broker(tmp_path: Path) -> None:
    peelfleet(tmp_path, "broker", "init", str(tmp_path / "broker"), "--fleet", "f", "--host", "localhost")
    assert (tmp_path / "broker" / "mosquitto.conf").exists()


def test_a_signal_stops_a_loop_that_has_no_handlers_of_signals() -> None:
    class LoopOfWindows(asyncio.SelectorEventLoop):
        def add_signal_handler(self, *args: object) -> None:
            raise NotImplementedError

    async def wait() -> str:
        stopped = asyncio.Event()
        call_on_signals([signal.SIGTERM], stopped.set)
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(20):
            await stopped.wait()
        return "stopped"

    before = signal.getsignal(signal.SIGTERM)
    try:
        with asyncio.Runner(loop_factory=LoopOfWindows) as runner:
            assert runner.run(wait()) == "stopped"
    finally:
        signal.signal(signal.SIGTERM, before)
