"""How a run under the virtual clock ends that does not end by itself, and what it leaves."""

import os
import resource
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from broker_config import mosquitto
from emulator.run_directory.layout import new_run_directory
from scenarios.language.load import check_readable, dump, parse
from tests.emulator.scenarios import TINY
from wire.errors import InputError, RunError

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 90.0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_shards_end_with_the_run_that_started_them(
    number: signal.Signals, tmp_path: Path, store_root: Path
) -> None:
    (tmp_path / "x.yaml").write_text(TINY.replace("20 min", "20000 h"))
    command = [sys.executable, "-m", "emulator.cli", "run", "x.yaml", "--store", str(store_root)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*command, "--workers", "2", "--set", "fleet[0].count=2100", "--force"], cwd=tmp_path,
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as run:  # fmt: skip
        deadline = time.monotonic() + PATIENCE_S
        while not list(tmp_path.glob("runs/*/.ranges")):
            assert run.poll() is None, run.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        seen = psutil.Process(run.pid).children(recursive=True)
        run.send_signal(number)
        _, errors = run.communicate(timeout=PATIENCE_S)
    _, left = psutil.wait_procs(seen, timeout=PATIENCE_S)
    assert [each for each in left if each.status() != psutil.STATUS_ZOMBIE] == []
    assert len(seen) >= 2
    assert [folder.suffix for folder in (tmp_path / "runs").iterdir()] == [".partial"]
    if number is signal.SIGTERM:
        last = errors.decode().splitlines()[-1]
        assert (run.returncode, last) == (143, "peelfleet: interrupted by SIGTERM")


def test_a_wrong_input_deletes_nothing_once_the_simulation_has_begun(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match=r"^too early$"),
        new_run_directory(tmp_path / "a", "x", 1, datetime.now()),
    ):
        raise InputError("too early")
    assert not (tmp_path / "a").exists()

    def fail_late() -> None:
        with new_run_directory(tmp_path / "b", "x", 1, datetime.now()) as draft:
            (draft.folder / "table").write_text("hours of work")
            draft.keep()
            raise InputError("too late")

    with pytest.raises(RunError, match=r"^too late; what the run has written is in .*\.partial$"):
        fail_late()
    assert [path.read_text() for path in (tmp_path / "b").rglob("table")] == ["hours of work"]


def a_fleet(groups: int, extra: str = "") -> str:
    head = TINY[: TINY.index("fleet:")]
    walk = "{{type: bounded_walk, min: 1 MiB, max: 2 MiB, max_step: 1 KiB}}"
    group = f"  - {{{{name: g{{}}, count: 1, memory: {walk}{{}}}}}}\n"
    return f"{head}fleet:\n" + "".join(group.format(at, extra) for at in range(groups))


def test_what_a_run_writes_of_its_scenario_can_be_read_again() -> None:
    scenario = parse(a_fleet(600))
    text = dump(scenario)
    assert len(text) > 2**18  # more than people write: with every default
    check_readable(scenario)
    assert dump(parse(text)) == text


def test_a_scenario_that_could_not_be_read_again_is_refused_before_it_runs() -> None:
    labels = ", ".join(f"{'l' * 56}{at:04}: {'v' * 60}" for at in range(400))
    scenario = parse(f"x-l: &l {{{labels}}}\n" + a_fleet(50, ", labels: *l"))
    with pytest.raises(InputError, match=r"^tiny: has 2\d+ characters with every default written out"):
        check_readable(scenario)


def test_a_run_whose_words_nobody_can_take_is_whole(tmp_path: Path, store_root: Path) -> None:
    (tmp_path / "x.yaml").write_text(TINY)
    with Path("/dev/full").open("wb") as full:  # a log on a full disk; a terminal that was closed fails alike
        done = subprocess.run(
            [sys.executable, "-m", "emulator.cli", "run", "x.yaml", "--store", str(store_root)],
            cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL, stderr=full,
            check=False,
        )  # fmt: skip
    (folder,) = (tmp_path / "runs").iterdir()
    assert (done.returncode, folder.suffix, (folder / "report.html").exists()) == (0, "", True)


@pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed")
@pytest.mark.parametrize(
    ("words", "kib"),
    [
        ("--clock virtual", 250),
        pytest.param("--clock virtual", 1500, marks=pytest.mark.slow),  # only the report is larger
        pytest.param(
            "--clock virtual --workers 2 --set fleet[0].count=2100 --set engine=simpy --set stop_time=4min",
            250,
            marks=pytest.mark.slow,
        ),
        pytest.param("--clock lockstep", 250, marks=pytest.mark.slow),
        pytest.param("--clock realtime --shards 2", 250, marks=pytest.mark.slow),
    ],
)
def test_a_disk_that_is_full_ends_any_run_in_one_line_and_what_it_wrote_can_be_reported(
    words: str, kib: int, tmp_path: Path, store_root: Path
) -> None:
    """Files have a largest size here, which a disk says in the same way."""
    often = TINY.replace("step_every: 20 s", "step_every: 2 s")
    (tmp_path / "x.yaml").write_text(f"{often}realtime: {{speed: 60, max_lag: 30 s}}\n")
    emulator = [sys.executable, "-m", "emulator.cli"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PEELFLEET_STORE": str(store_root)}

    def peelfleet(*arguments: str, most_bytes: int = resource.RLIM_INFINITY) -> tuple[int, str]:
        done = subprocess.run(
            [*emulator, *arguments], cwd=tmp_path, env=environment, text=True, capture_output=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes)),
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        return done.returncode, done.stderr

    assert peelfleet("train", "x.yaml")[0] == 0
    status, said = peelfleet("run", "x.yaml", *words.split(), most_bytes=kib * 1024)
    assert (status, "Traceback" in said) == (1, False), said
    (folder,) = (tmp_path / "runs").iterdir()
    last = said.splitlines()[-1]
    assert folder.suffix == ".partial"
    assert last.startswith((f"peelfleet: {folder.relative_to(tmp_path)}/", f"peelfleet: {folder}/"))
    assert ": File too large; what the " in last
    assert said.count("File too large") == 1
    status, said = peelfleet("report", str(folder))
    assert status == 0, said
    assert (folder / "report.html").exists()
