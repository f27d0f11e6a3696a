"""The command line as a user meets it: one clear line for a mistake, exit status 2, nothing left behind."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.emulator.scenarios import TINY, Runner


def peelfleet(*arguments: str | Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "emulator.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def write(folder: Path, text: str = TINY) -> Path:
    file = folder / "x.yaml"
    file.write_text(text)
    return file


def light_gcn(folder: Path, *, cut: bool) -> Path:
    data = folder / "data"
    data.mkdir()
    train = "".join(f"{user} {user} {user + 1} {user + 2}\n" for user in range(40))
    (data / "train.txt").write_text(train[: len(train) // 2] if cut else train)
    for name, shift in (("valid", 3), ("test", 4)):
        (data / f"{name}.txt").write_text("".join(f"{user} {(user + shift) % 42}\n" for user in range(40)))
    return data


FROM_FILES = TINY.replace(
    "{type: synthetic, users: 120, items: 80, interactions_per_user: 12, user_groups: 2, item_kinds: 4}",
    "{type: lightgcn, path: nowhere}",
)


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (
            TINY.replace("stop_time", "stop_tme"),
            [],
            "x.yaml:6: unknown key 'stop_tme'; did you mean 'stop_time'?",
        ),
        (TINY + "seed: 7\n", [], "seed: key given twice, first at x.yaml:4"),
        (
            TINY.replace("20 min", "20 minutes"),
            [],
            "x.yaml:6: stop_time: cannot read '20 minutes' as a duration: write for example '250 ms'",
        ),
        (
            TINY.replace("min: 1 KiB", "min: 2 MiB"),
            [],
            "x.yaml:23: fleet[0].memory.min (=2 MiB) must not exceed max (=1200 KiB)",
        ),
        (
            TINY,
            ["--set", "fleet[0].count=0"],
            "--set fleet[0].count=0: fleet[0].count (=0) must be a whole number from 1",
        ),
        (
            TINY,
            ["--clock", "lockstep", "--broker", "mqtt://127.0.0.1:9"],
            "broker mqtt://127.0.0.1:9 does not answer",
        ),
        (
            TINY,
            ["--clock", "lockstep", "--broker", "http://127.0.0.1"],
            "scheme(='http') must be 'mqtt'",
        ),
        (TINY, ["--data", "here"], "--data here: the scenario's data are synthetic, they have no files"),
        (TINY, ["--clock", "lockstep", "--shards", "2"], "shards(=2) must be 1: the clock is lockstep"),
        (FROM_FILES, [], "nowhere: no such data; give --data FOLDER, or set PEELFLEET_DATA"),
        (FROM_FILES, ["--data", "missing"], "missing: no such data"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    tmp_path: Path, text: str, arguments: list[str], message: str
) -> None:
    done = peelfleet("run", write(tmp_path, text), *arguments, "--store", "stores", folder=tmp_path)
    assert message in done.stderr.replace(f"{tmp_path}/", "")
    assert (done.returncode, done.stdout) == (2, "")
    assert [line for line in done.stderr.splitlines() if line.startswith("peelfleet: ")] == [
        done.stderr.splitlines()[-1]
    ]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_missing_scenario_is_named(tmp_path: Path) -> None:
    done = peelfleet("run", "nothing.yaml", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("peelfleet: nothing.yaml: ")


def test_a_data_file_cut_in_half_is_found(tmp_path: Path) -> None:
    data = light_gcn(tmp_path, cut=True)
    done = peelfleet("run", write(tmp_path, FROM_FILES), "--data", data, "--store", "stores", folder=tmp_path)
    assert done.returncode == 2
    assert "train.txt" in done.stderr
    assert "cut off" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_data_from_files_train_and_run(tmp_path: Path) -> None:
    data = light_gcn(tmp_path, cut=False)
    done = peelfleet("run", write(tmp_path, FROM_FILES), "--data", data, "--store", "stores", folder=tmp_path)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    assert f"path: {data}" in (folder / "scenario.yaml").read_text()
    assert f"report: runs/{folder.name}/report.html" in done.stdout


def test_a_corrupted_store_is_found_by_its_checksum(tmp_path: Path, store_root: Path) -> None:
    scenario = write(tmp_path)
    done = peelfleet("train", scenario, "--store", store_root, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.rsplit("store: ", 1)[1].strip())
    shutil.copytree(folder, tmp_path / "stores" / folder.name)
    damaged = tmp_path / "stores" / folder.name / "group-0000.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\xff")
    for arguments in (
        ("run", scenario, "--store", tmp_path / "stores"),
        ("cloud", "--store", damaged.parent, "--broker", "mqtt://127.0.0.1:9", "--fleet", "tiny"),
    ):
        done = peelfleet(*arguments, folder=tmp_path)
        assert done.returncode == 2
        assert "group-0000.safetensors: block store is corrupted: SHA-256 is" in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_validate_says_yes_and_shows_every_default(tmp_path: Path) -> None:
    done = peelfleet("validate", write(tmp_path), folder=tmp_path)
    assert (done.returncode, done.stdout.replace(f"{tmp_path}/", "")) == (0, "x.yaml: tiny is valid\n")
    shown = peelfleet("validate", "x.yaml", "--show", "--set", "seed=9", folder=tmp_path).stdout
    again = peelfleet("validate", write(tmp_path, shown), "--show", folder=tmp_path).stdout
    assert "seed: 9" in shown
    assert "service_time: 5 ms" in shown
    assert again == shown


def test_the_shipped_scenarios_are_listed(tmp_path: Path) -> None:
    done = peelfleet("scenarios", folder=tmp_path)
    assert done.returncode == 0
    for name in ("quickstart", "ml-1m", "ml-100k", "squeeze"):
        assert name in done.stdout.splitlines()
    listed = json.loads(peelfleet("scenarios", "--json", folder=tmp_path).stdout)
    assert all(Path(each["file"]).is_file() for each in listed)


@pytest.mark.parametrize("arguments", [["--help"], ["validate", "x.yaml"], ["scenarios"]])
def test_what_needs_no_model_loads_no_torch(tmp_path: Path, arguments: list[str]) -> None:
    write(tmp_path)
    script = (
        "import sys\nfrom emulator.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'sklearn', 'pyarrow', 'plotly', 'aiomqtt'} & set(sys.modules)\n"
        "print('loaded:', sorted(heavy))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "loaded: []"


def test_a_report_is_written_again_and_only_of_a_finished_run(tmp_path: Path, store_root: Path) -> None:
    assert peelfleet("run", write(tmp_path), "--store", store_root, folder=tmp_path).returncode == 0
    (folder,) = (tmp_path / "runs").iterdir()
    before = (folder / "report.html").read_bytes()
    (folder / "report.html").unlink()
    done = peelfleet("report", folder, folder=tmp_path)
    assert (done.returncode, done.stdout.strip()) == (0, str(folder / "report.html"))
    assert (folder / "report.html").read_bytes() == before
    done = peelfleet("report", tmp_path, folder=tmp_path)
    assert (done.returncode, "no run directory" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    "name", ["events/quality/00000.parquet", "devices.parquet", "scenario.yaml", "summary.json"]
)
def test_a_damaged_run_directory_is_named(runner: Runner, name: str) -> None:
    folder = runner.run().folder
    (folder / name).write_bytes(b"PAR1")
    cut = peelfleet("report", folder, folder=folder)
    (folder / name).unlink()
    gone = peelfleet("report", folder, folder=folder)
    assert (gone.returncode, "Traceback" in gone.stderr, name in gone.stderr) == (2, False, True)
    if name != "scenario.yaml":  # any text is shown
        assert (cut.returncode, "Traceback" in cut.stderr, name in cut.stderr) == (2, False, True)


@pytest.mark.parametrize(("option", "message"), [("--out", "run directory"), ("--store", "store a model")])
def test_a_folder_that_cannot_be_written_is_named_before_anything_is_trained(
    tmp_path: Path, option: str, message: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    done = peelfleet("run", write(tmp_path), option, "file/folder", folder=tmp_path)
    assert (done.returncode, "pretrain" in done.stderr) == (2, False)
    assert done.stderr.splitlines()[-1].startswith("peelfleet: file/folder: cannot ")
    assert message in done.stderr


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
def test_an_interrupted_run_ends_soon_and_takes_its_processes_with_it(
    tmp_path: Path, store_root: Path
) -> None:
    """Ctrl-C while many messages are under way."""
    scenario = write(tmp_path, TINY.replace("20 min", "1000 h"))
    command = [sys.executable, "-m", "emulator.cli", "run", scenario.name, "--store", str(store_root)]
    command += ["--clock", "lockstep", "--broker", "amqtt"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("runs/*/.shard-0/update.arrows")) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(3)
        ours = [pid for pid, parent in parents().items() if parent == run.pid]
        run.send_signal(signal.SIGINT)
        _, errors = run.communicate(timeout=30)
    assert (run.returncode, b"Traceback" in errors) == (130, False)
    assert len(ours) == 2  # the broker and the cloud
    assert set(ours).isdisjoint(parents())
    assert [folder.suffix for folder in (tmp_path / "runs").iterdir()] == [".partial"]


def parents() -> dict[int, int]:
    """Return the parent of every process, by process id."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            found[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
    return found


def test_a_broken_threshold_is_exit_status_99_and_leaves_the_whole_run(tmp_path: Path) -> None:
    file = write(tmp_path, TINY)
    rules = "thresholds={update_bytes: [value<1 B], ndcg_at_10: [mean>0.01]}"
    done = peelfleet("run", file, "--set", rules, "--store", "stores", folder=tmp_path)
    assert done.returncode == 99
    assert re.search(r"update_bytes +value<1 B +[\d,]+ B +broken", done.stdout)
    assert re.search(r"ndcg_at_10 +mean>0.01 +0.\d+ +passed", done.stdout)
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "report.html").exists()


@pytest.mark.parametrize("command", ["run", "cloud", "devices", "agent"])
def test_help_shows_the_form_of_a_broker_url_whole(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "emulator.cli", command, "--help"],
        env=os.environ | {"COLUMNS": "200"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "mqtt[s]|ws[s]://[user:password@]host[:port]" in done.stdout
