"""Calls from inside a running event loop, as in a notebook, under every clock."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

import peelfleet as pf

SHORT = {"fleet[0].count": 4, "fleet[1].count": 2, "stop_time": "3 min"}


@pytest.mark.broker
def test_lockstep_inside_a_running_loop_gives_the_log_of_the_virtual_clock(
    tiny: Path, stores: Path, tmp_path: Path
) -> None:
    async def cell() -> list[pf.Run]:
        return [
            pf.run(tiny, SHORT, clock=clock, broker="mosquitto", out=tmp_path, store=stores, report=False)
            for clock in ("virtual", "lockstep")
        ]

    virtual, lockstep = asyncio.run(cell())
    assert virtual.summary["event_log_sha256"] == lockstep.summary["event_log_sha256"]
    assert (virtual.summary["clock"], lockstep.summary["clock"]) == ("virtual", "lockstep")


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::peelfleet.PeelfleetWarning")  # about a slow machine
def test_real_time_inside_a_running_loop(tiny: Path, stores: Path, tmp_path: Path) -> None:
    async def cell() -> pf.Run:
        return pf.run(tiny, SHORT, clock="realtime", speed=60, broker="mosquitto", out=tmp_path, store=stores)

    real = asyncio.run(cell())
    assert real.summary["clock"] == "realtime"
    assert real.summary["updates_applied"] > 0


PROGRAM = """
import peelfleet as pf

print("begins")
swept = pf.sweep({tiny!r}, {{"stop_time": "1 min"}}, seeds=[1, 2], jobs=2, out={out!r}, store={stores!r})
print(swept.table["seed"].to_pylist())
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["a script without a guard", "standard input"])
def test_worker_processes_of_a_sweep_start_from_any_program(
    form: str, tiny: Path, stores: Path, tmp_path: Path
) -> None:
    program = PROGRAM.format(tiny=str(tiny), out=str(tmp_path / "swept"), stores=str(stores))
    (tmp_path / "script.py").write_text(program)
    script = form != "standard input"
    ended = subprocess.run(
        [sys.executable, str(tmp_path / "script.py") if script else "-"],
        input=None if script else program, capture_output=True, text=True, cwd=tmp_path, check=True,
    )  # fmt: skip
    assert (ended.stdout, ended.stderr) == ("begins\n[1, 2]\n", "")
