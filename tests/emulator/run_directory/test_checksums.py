"""What a run and a shard wrote is what is read: every table has its rows and its SHA-256."""

import functools
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from devices.event_log import BudgetRow, FleetLog, Pressure
from emulator.cli.diff import compare_logs
from emulator.compare.run_sets import compare, read_run_set
from emulator.report.page import write_report
from emulator.run_directory.event_log import JOURNAL, EventLogWriter, read_draft
from emulator.run_directory.event_reader import read_part
from emulator.run_directory.manifest import list_unchecked
from tests.emulator.event_logs import part
from tests.emulator.scenarios import Runner
from wire.errors import InputError

Damage = Callable[[Path], object]


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    """A closed journal of 600 budget rows."""
    log, journal = FleetLog(), EventLogWriter(tmp_path / "shard")
    for at in range(600):
        log.budget(
            BudgetRow(
                at, 0.0, 0, at, free_bytes=1, budget_bytes=2, resident_before_bytes=3, resident_bytes=4,
                pressure=Pressure.NORMAL,
            )
        )  # fmt: skip
        journal.flush(log, at_least=100)
    journal.close(log)
    return tmp_path / "shard"


@pytest.mark.parametrize("damage", [halve, flip])
def test_the_log_of_a_shard_that_ended_is_whole_or_refused(draft: Path, damage: Damage) -> None:
    assert read_draft(draft, "budget").num_rows == 600
    damage(draft / "budget.arrows")
    words = refusal(lambda: read_draft(draft, "budget"))
    assert words.startswith(f"{draft / 'budget.arrows'}: the log is damaged: ")
    assert ("(600 rows) were written" in words) == (damage is halve)


def test_the_log_of_a_shard_that_was_killed_ends_with_its_last_whole_batch(draft: Path) -> None:
    (draft / JOURNAL).unlink()
    halve(draft / "budget.arrows")
    rows = read_draft(draft, "budget").num_rows
    assert (0 < rows < 600, rows % 100) == (True, 0)


READERS: dict[str, Callable[[Path], object]] = {
    "report": write_report,
    "compare": lambda folder: compare(read_run_set(str(folder)), read_run_set(str(folder))),
    "diff": lambda folder: compare_logs(folder, folder, 1),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("damage", [halve, flip])
def test_a_damaged_table_is_named_with_what_was_written(
    runner: Runner, tmp_path: Path, reader: str, damage: Damage
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(runner.run().folder, folder)
    READERS[reader](folder)
    table = folder / part("quality")
    damage(table)
    words = refusal(lambda: READERS[reader](folder))
    assert words.startswith(f"{table}: the run directory is damaged: ")
    assert "written" in words


def test_an_older_run_without_checksums_is_read_and_noted(runner: Runner, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(runner.run().folder, folder)
    assert list_unchecked([folder]) == []
    (folder / "manifest.json").unlink()
    found = compare_logs(folder, folder, 1)
    assert found.equal
    assert found.notes[0].startswith(f"{folder}: has no manifest.json: it was written by an older version")


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("budget_bytes", ["much", "more"], "budget_bytes must be whole numbers"),
        ("budget_bytes", [1, None], "budget_bytes must be whole numbers"),
        ("ndcg_at_10", [1, 2], "ndcg_at_10 must be numbers"),
        ("device", ["1", "2"], "device must be whole numbers"),
    ],
)
def test_a_column_of_another_type_is_named(
    runner: Runner, tmp_path: Path, column: str, values: list[object], words: str
) -> None:
    rows = pq.read_table(runner.run().folder / part("quality")).slice(0, 2)
    path = tmp_path / "quality.parquet"
    pq.write_table(rows.set_column(rows.column_names.index(column), column, pa.array(values)), path)
    said = refusal(lambda: read_part(path, "quality", None))
    assert said == f"{path}: the run directory is damaged: {words}"


FILES = ["summary.json", "scenario.yaml", "manifest.json", "devices.parquet", part("update")]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["endless", "pipe"])
def test_a_run_directory_with_a_file_that_never_ends_is_refused(
    runner: Runner, tmp_path: Path, name: str, kind: str
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(runner.run().folder, folder)
    (folder / name).unlink()
    if kind == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).symlink_to("/dev/zero")
    for reader in READERS.values():
        words = refusal(functools.partial(reader, folder))
        assert f"{folder / name}: is no regular file, and cannot be " in words


def test_a_manifest_that_says_nothing_of_a_table_is_damaged(draft: Path) -> None:
    (draft / JOURNAL).write_text('{"format": 1, "files": {}}')
    words = refusal(lambda: read_draft(draft, "budget"))
    assert words == f"{draft / JOURNAL}: is damaged: says nothing of budget"
