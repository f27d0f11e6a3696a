"""Shards of two runs of one scenario and seed are told apart when they are gathered; damaged ones refused."""

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulator.cli.gather import check_one_run, read_shards
from emulator.metrics.realtime_measurements import (
    ShardMeasurements,
    ShardRun,
    StoredHistogram,
    read_measurements,
    write_measurements,
)
from emulator.run_directory.manifest import add_entries
from emulator.simulation.job import prepare
from emulator.simulation.simulation import Simulation
from scenarios.language.load import dump, parse
from tests.emulator.scenarios import TINY
from wire.errors import InputError

NONE = StoredHistogram({}, 0, None, None)
FIRST = ShardRun(name=None, fleet="f", models=("a", "b"), start_at=None, began_at=1000.0)
FOLDERS = [Path("shard-1"), Path("shard-2")]


def shard(place: int, run: ShardRun | None) -> ShardMeasurements:
    return ShardMeasurements(
        shard=place, shards=2, wall_seconds=100.0, aborted_ns=None, lag=NONE, connects=NONE, round_trips=NONE,
        connected_first=0, connect_first_seconds=0.0, has_checksums=True, counts={}, run=run,
    )  # fmt: skip


def notes(one: ShardRun | None, other: ShardRun | None) -> list[str]:
    return check_one_run(FOLDERS, [shard(0, one), shard(1, other)])


def changed(**keys: Any) -> ShardRun:
    return msgspec.structs.replace(FIRST, **keys)


SAME = [
    (changed(name="x"), changed(name="x", began_at=90_000.0), []),
    (changed(start_at=1000.0), changed(start_at=1000.0), []),
    (FIRST, changed(began_at=1150.0),
     ["the shards have no --run and no --start-at: only their times say that they are of one run"]),
    (None, None, ["shard-1: an older version wrote it: it cannot be checked that all shards are of one run"]),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "said"), SAME)
def test_shards_of_one_run_may_be_gathered(
    one: ShardRun | None, other: ShardRun | None, said: list[str]
) -> None:
    assert notes(one, other) == said


MIXED = [
    (changed(name="x"), changed(name="y"), "--run was x and y"),
    (FIRST, changed(name="y"), "--run was not given and y"),
    (FIRST, changed(fleet="g"), "fleet was f and g"),
    (FIRST, changed(models=("a",)), "model was a, b and a"),
    (changed(start_at=0.0), changed(start_at=1.5),
     "--start-at was 1970-01-01T00:00:00.000000Z and 1970-01-01T00:00:01.500000Z"),
    (FIRST, changed(began_at=1161.0), "they began 161 s apart and took 100 s; give the shards of one run the "
     "same --start-at, or --run"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "why"), MIXED)
def test_shards_of_two_runs_are_refused(one: ShardRun, other: ShardRun, why: str) -> None:
    with pytest.raises(InputError) as caught:
        notes(one, other)
    assert str(caught.value) == f"shard-1 and shard-2 are shards of different runs: {why}"


def test_a_shard_that_says_nothing_of_its_run_is_not_mixed_with_one_that_does() -> None:
    with pytest.raises(InputError) as caught:
        notes(FIRST, None)
    assert str(caught.value) == "shard-2: does not name its run, as shard-1 does"


def test_what_a_shard_measured_has_a_checksum(tmp_path: Path) -> None:
    (tmp_path / "journal.json").write_text('{"format": 1, "files": {}}')
    path = tmp_path / "measured.json"
    write_measurements(path, shard(0, FIRST))
    assert read_measurements(path) == shard(0, FIRST)
    path.write_bytes(path.read_bytes().replace(b'"place":0', b'"place":1'))
    with pytest.raises(InputError) as caught:
        read_measurements(path)
    assert str(caught.value).startswith(f"{path}: the shard is damaged: SHA-256 ")


@pytest.fixture(scope="module")
def whole(store_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The only shard of a run, as `devices` leaves it."""
    folder = tmp_path_factory.mktemp("whole") / "shard"
    scenario = parse(TINY, "tiny.yaml", ["stop_time=1 min"])
    job = prepare(scenario, store_root, folder, on_training=lambda *_: None).job
    Simulation(job, lambda _: None).run_virtual()
    text = dump(scenario)
    (folder / "scenario.yaml").write_text(text)
    add_entries(folder / "journal.json", {"scenario.yaml": text.encode()})
    write_measurements(folder / "measured.json", msgspec.structs.replace(shard(0, FIRST), shards=1))
    return folder


FILES = ("scenario.yaml", "measured.json", "journal.json", "budget.arrows", "quality.arrows", "fault.arrows")


def test_a_journal_that_does_not_say_how_many_rows_a_table_has_is_damaged(
    whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "shard"
    shutil.copytree(whole, folder)
    journal = folder / "journal.json"
    journal.write_bytes(journal.read_bytes().replace(b'"rows"', b'"rovs"', 1))
    with pytest.raises(InputError) as caught:
        read_shards([folder])
    assert str(caught.value) == f"{journal}: is damaged: does not say how many rows budget has"


@given(
    name=st.sampled_from(FILES),
    kind=st.sampled_from(["delete", "cut", "change"]),
    at=st.integers(0, 2**20),
    new=st.integers(1, 255),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_shard_that_is_damaged_is_read_as_it_was_or_refused_in_a_line(
    tmp_path_factory: pytest.TempPathFactory, whole: Path, name: str, kind: str, at: int, new: int
) -> None:
    folder = tmp_path_factory.mktemp("damaged") / "shard"
    shutil.copytree(whole, folder)
    content = bytearray((folder / name).read_bytes())
    at %= len(content)
    content[at] ^= new
    if kind == "delete":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content[:at] if kind == "cut" else content)
    try:
        found = read_shards([folder])
    except InputError as error:
        words = str(error)
    else:
        assert found == read_shards([whole])
        words = ""
    shutil.rmtree(folder)
    assert "\n" not in words
