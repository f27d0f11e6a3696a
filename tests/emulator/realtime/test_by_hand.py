"""The pieces of a run, started by hand as on several machines: a broker, a cloud, shards, and `gather`."""

import contextlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow.compute as pc
import pytest

from broker_config import mosquitto
from broker_config.accounts import read_credentials
from devices.simulated.roster import DeviceNames
from emulator.processes.cloud_process import url_with_password
from emulator.run_directory.event_log import read_draft
from scenarios.language.load import load
from tests.emulator.scenarios import TINY, RecordingObserver, Runner
from tests.served import FLEET, Served, served
from wire.topics import Role
from wire.units import NS_PER_S

pytestmark = [
    pytest.mark.broker,
    pytest.mark.skipif(mosquitto.executable() is None, reason="mosquitto is not installed"),
]

ROOT = Path(__file__).parents[3]
REALTIME = """clock: realtime
realtime: {speed: 20, connections: per_device, max_lag: 30 s}"""
SCENARIO = (
    TINY.replace("    network: flaky\n", "")
    .replace("clock: virtual", REALTIME)
    .replace("stop_time: 20 min", "stop_time: 2 min")
)
COUNTS = (
    "devices", "budget_changes", "budget_reports", "updates_lost", "updates_rejected", "model_version",
)  # fmt: skip
"""Not the bytes: reports that are counted from the clock on have longer numbers."""
ENDS = ("updates_applied", "updates_confirmed", "updates_superseded")


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    file.write_text(SCENARIO)
    return file


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "emulator.cli", *map(str, words)]


def environment(broker: str | None = None) -> dict[str, str]:
    more = {} if broker is None else {"PEELFLEET_BROKER": broker}
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def peelfleet(
    *words: str | Path, broker: str | None = None, **more: Any
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*words),
        env=environment(broker),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **more,
    )


@contextlib.contextmanager
def started(*words: str | Path, broker: str) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        command(*words), env=environment(broker), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextlib.contextmanager
def installed(scenario: Path) -> Iterator[tuple[Callable[[Role], str], Path]]:
    """Run the broker of `broker init`; yield the URLs of the roles, and the credentials."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # mosquitto is another user
        directory = Path(folder) / "broker"
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        made = peelfleet(
            "broker", "init", directory, "--fleet", "byhand", "--host", "localhost", "--port", str(port),
            "--bind", "127.0.0.1", "--scenario", scenario,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        accounts = {account.role: account for account in read_credentials(directory / "credentials.csv")}

        def url(role: Role) -> str:
            account = accounts[role]
            return f"mqtts://{account.user}:{account.password}@localhost:{port}?ca={directory / 'ca.crt'}"

        program = mosquitto.executable()
        assert program is not None
        with subprocess.Popen(
            [program, "-c", "mosquitto.conf"], cwd=directory, stderr=subprocess.DEVNULL
        ) as process:
            try:
                yield url, directory / "credentials.csv"
            finally:
                process.terminate()


@pytest.mark.slow
def test_shards_that_ran_by_hand_are_gathered_into_the_same_run(
    scenario: Path, runner: Runner, tmp_path: Path
) -> None:
    observer = RecordingObserver()
    virtual = runner.run(SCENARIO, "clock=virtual", observer=observer)
    store = observer.models[0].folder
    shards = []
    with installed(scenario) as (url, credentials), contextlib.ExitStack() as stack:
        serving = ("cloud", "--fleet", "byhand", "--store", store)
        stack.enter_context(started(*serving, broker=url(Role.CLOUD)))
        for number in (1, 2):
            words: tuple[str | Path, ...] = (
                "devices",
                scenario,
                "--shard",
                f"{number}/2",
                "--out",
                tmp_path / f"shard-{number}",
            )
            words += ("--store", runner.store_root, "--credentials", credentials, "--fleet", "byhand")
            words += ("--run", "first")
            shards.append(stack.enter_context(started(*words, broker=url(Role.FLEET))))
        output = [shard.communicate(timeout=120) for shard in shards]
    assert [shard.returncode for shard in shards] == [0, 0], output
    half = peelfleet("gather", tmp_path / "shard-1", "--out", tmp_path / "g", "--store", runner.store_root)
    assert (half.returncode, half.stderr.splitlines()[-1]) == (
        2,
        "peelfleet: there must be each of 2 shards once; missing: 2",
    )
    mixed = tmp_path / "mixed"
    shutil.copytree(tmp_path / "shard-2", mixed)
    shutil.copy(tmp_path / "shard-1" / "measured.json", mixed)  # all else is whole, and of the other shard
    (mixed / "journal.json").write_text(
        (mixed / "journal.json").read_text().replace('"measured.json"', '"x"')
    )
    wrong = peelfleet(
        "gather", mixed, tmp_path / "shard-2", "--out", tmp_path / "g", "--store", tmp_path / "s"
    )
    assert (wrong.returncode, wrong.stderr) == (
        2,
        f"peelfleet: {mixed / 'budget.arrows'}: holds devices that are not of shard 1 of 2: it is the log of "
        "another shard or run\n",
    )
    both = (tmp_path / "shard-2", tmp_path / "shard-1")
    done = peelfleet("gather", *both, "--out", tmp_path / "g", "--store", runner.store_root)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "g").iterdir()
    summary = json.loads((run / "summary.json").read_text())
    assert {key: summary[key] for key in COUNTS} == {key: virtual.summary[key] for key in COUNTS}
    assert sum(summary[key] for key in ENDS) == sum(virtual.summary[key] for key in ENDS)  # type: ignore[misc]
    assert summary["ndcg_at_10"] == pytest.approx(virtual.summary["ndcg_at_10"], rel=0.01)
    assert (summary["shards"], summary["connections_made"], summary["connections_broken"]) == (2, 30, 0)
    assert summary["broker_messages_dropped"] is None  # a shard may not read what the broker says of itself
    assert (run / "report.html").exists()


@pytest.fixture(scope="module")
def service(store_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(store_root, tmp_path_factory.mktemp("served"), ["d"]) as running:
        yield running


def fleet_url(service: Served) -> str:
    return url_with_password(service.broker.endpoint, Role.FLEET)


@pytest.mark.slow
def test_who_comes_late_joins_the_fleet_where_it_is(
    scenario: Path, service: Served, runner: Runner, tmp_path: Path
) -> None:
    settings = ("speed=10", "connect_rate=4", "max_lag=2 s")  # to connect takes longer than it may be late
    words = [word for setting in settings for word in ("--set", f"realtime.{setting}")]
    done = peelfleet(
        "devices", scenario, "--start-at", repr(time.time()), "--store", runner.store_root, "--fleet", FLEET,
        "--out", tmp_path / "shard", "--set", "stop_time=150 s", *words, broker=fleet_url(service),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    connections = read_draft(tmp_path / "shard", "connection")
    first_s = pc.min(connections["t_ns"]).as_py() / NS_PER_S
    assert 10 <= first_s < 150
    came = {row["values"]: row["counts"] for row in pc.value_counts(connections["why"]).to_pylist()}
    assert came["resumed"] >= 10  # half of the fleet starts at 0, before this shard
    assert connections.num_rows == 30
    measured = json.loads((tmp_path / "shard" / "measured.json").read_text())
    assert measured["counts"]["connections"] == 30


MISTAKES = [
    (
        ["--start-at", "nan"],
        "--start-at(='nan') must be a time such as 2026-11-24T12:00:00Z",
    ),
    (["--start-at", "0"], "--start-at: 2 min of simulated time after that time are over already"),
    (["--shard", "3/2"], "--shard(='3/2') must be a shard such as 2/4: the second of four"),
    (["--fleet", "a/b"], "--fleet(='a/b') must be 1 to 64 letters, digits, '.', '_' or '-'"),
    (["--credentials", "nowhere.csv"], "nowhere.csv: must be credentials, as `broker init` writes them"),
    (["--broker", "mqtt://127.0.0.1:1"], "broker mqtt://127.0.0.1:1 does not answer"),
    (["--broker", "mosquitto"], "broker URL must be mqtt[s]|ws[s]://[user:password@]host[:port]"),
    (["--set", "data={type: lightgcn, path: nowhere}"], "nowhere"),
]


@pytest.mark.parametrize(("words", "said"), MISTAKES)
def test_a_mistake_is_a_line_and_leaves_nothing(
    scenario: Path, service: Served, runner: Runner, tmp_path: Path, words: list[str], said: str
) -> None:
    done = peelfleet(
        "devices", scenario, "--store", runner.store_root, "--out", tmp_path / "shard", *words,
        broker=fleet_url(service), cwd=tmp_path,
    )  # fmt: skip
    line = done.stderr.strip()
    assert (done.returncode, line.startswith("peelfleet: "), said in line) == (2, True, True), line
    assert "\n" not in line
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_a_wrong_password_is_told_of_without_showing_it(
    scenario: Path, service: Served, tmp_path: Path
) -> None:
    url = fleet_url(service).replace(":secret@", ":wr0ng@")
    done = peelfleet("devices", scenario, "--out", tmp_path / "shard", broker=url)
    line = done.stderr.strip()
    assert (done.returncode, "refuses user '_fleet'" in line, "wr0ng" in line) == (2, True, False), line
    assert "\n" not in line


def test_a_device_whose_password_is_wrong_ends_its_shard_at_once(
    scenario: Path, service: Served, runner: Runner, tmp_path: Path
) -> None:
    credentials = tmp_path / "credentials.csv"
    first = DeviceNames(load(scenario).fleet)[0]
    credentials.write_text(f"role,user,password\ndevice,{first},wr0ng\n")
    began_s = time.monotonic()
    done = peelfleet(
        "devices", scenario, "--store", runner.store_root, "--out", tmp_path / "shard", "--fleet", FLEET,
        "--credentials", credentials, broker=fleet_url(service),
    )  # fmt: skip
    last = done.stderr.splitlines()[-1]
    assert (done.returncode, f"the broker refuses device {first}" in last, "wr0ng" in last) == (
        1,
        True,
        False,
    )
    assert time.monotonic() - began_s < 60  # not the two minutes that a broker may be away
    # The device comes when simulated time has begun: what the others have done by then is kept.
    assert last.endswith(f"the shard's files are in {tmp_path / 'shard'}")
    assert (tmp_path / "shard" / "scenario.yaml").exists()


@pytest.mark.parametrize("words", [("devices", "--broker", "mqtt://127.0.0.1:1"), ("run", "--shards", "2")])
def test_too_few_open_files_are_told_of_before_anything_begins(
    scenario: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    name, *options = words

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (140, 140))

    done = peelfleet(name, scenario, "--out", tmp_path / "out", *options, preexec_fn=few)
    line = done.stderr.strip()
    assert done.returncode == 2, done.stderr
    assert line.startswith("peelfleet: 30 connections need 158 open files, and the limit is 140: raise it")
    assert not (tmp_path / "out").exists()


def test_a_shard_that_cannot_write_fails_and_says_so(
    scenario: Path, service: Served, runner: Runner, tmp_path: Path
) -> None:
    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8_192, 8_192))

    done = peelfleet(
        "devices", scenario, "--store", runner.store_root, "--out", tmp_path / "shard", "--fleet", FLEET,
        broker=fleet_url(service), preexec_fn=small,
    )  # fmt: skip
    assert (done.returncode, "Traceback" in done.stderr) == (1, False), done.stderr
    assert "File too large" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "shard" / "measured.json").exists()
    gathered = peelfleet("gather", tmp_path / "shard", "--out", tmp_path / "runs")
    assert gathered.stderr.splitlines()[-1] == f"peelfleet: {tmp_path / 'shard'}: this shard did not end"
    assert not [process for process in psutil.Process().children() if "devices" in process.cmdline()]
