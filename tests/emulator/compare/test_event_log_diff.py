"""Two event logs told apart: every row is equal, changed, or in one of them only."""

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.event_log import COLUMNS
from emulator.compare.event_log_diff import diff_tables
from tests.emulator.cli.test_main import peelfleet
from tests.emulator.scenarios import TINY, Runner

UPDATE = {"t_ns": 5_000_000_000, "device": "phone-00001", "seq": 1, "result": "applied", "parts": 1}


def tables(**rows: list[dict[str, object]]) -> dict[str, pa.Table]:
    """Return event tables with these rows; columns that they do not name are 0, or the first word."""
    return {
        name: pa.table(
            {
                column: pa.array([row.get(column, _nothing(column, kind)) for row in rows.get(name, [])])
                if rows.get(name)
                else pa.array([], pa.string() if _nothing(column, kind) else pa.int64())
                for column, kind in columns.items()
            }
        )
        for name, columns in COLUMNS.items()
    }


def _nothing(column: str, kind: object) -> object:
    return "phone-00001" if column == "device" else kind[0] if isinstance(kind, tuple) else 0


def counts(before: dict[str, pa.Table], after: dict[str, pa.Table], name: str) -> tuple[int, int, int, int]:
    (found,) = (table for table in diff_tables(before, after) if table.name == name)
    return found.equal, found.changed, found.only_before, found.only_after


def test_a_report_is_paired_by_its_number_and_told_with_what_changed() -> None:
    before = tables(update=[UPDATE, {**UPDATE, "seq": 2}, {**UPDATE, "seq": 3}])
    after = tables(
        update=[
            {**UPDATE, "wall_s": 7.5, "order": 3},
            {**UPDATE, "seq": 2, "t_ns": 6_000_000_000, "result": "lost"},
            {**UPDATE, "seq": 4},
        ]
    )
    assert counts(before, after, "update") == (1, 1, 1, 1)
    (samples,) = (table.samples for table in diff_tables(before, after) if table.name == "update")
    assert samples == (
        "update: phone-00001 at 5 s, report 2: t_ns 5000000000 -> 6000000000, result applied -> lost",
        "update: phone-00001 at 5 s, report 3: only in the first",
        "update: phone-00001 at 5 s, report 4: only in the second",
    )


def test_rows_of_one_moment_are_paired_in_their_order() -> None:
    rows: list[dict[str, object]] = [{"t_ns": 7, "layer": layer} for layer in (1, 2, 3)]
    assert counts(tables(quality=rows), tables(quality=rows[:2]), "quality") == (2, 0, 1, 0)
    assert counts(tables(quality=rows), tables(quality=rows[1:]), "quality") == (0, 2, 1, 0)


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "t_ns": st.integers(0, 3),
            "device": st.sampled_from(["a-00000", "b-00000"]),
            "budget_bytes": st.integers(0, 2),
        }
    ),
    max_size=8,
)


@settings(deadline=None)
@given(ROWS, ROWS)
def test_every_row_is_counted_once_and_both_ways_alike(
    one: list[dict[str, object]], other: list[dict[str, object]]
) -> None:
    before, after = tables(budget=one), tables(budget=other)
    equal, changed, only_before, only_after = counts(before, after, "budget")
    assert equal + changed + only_before == len(one)
    assert equal + changed + only_after == len(other)
    assert counts(after, before, "budget") == (equal, changed, only_after, only_before)
    assert counts(before, before, "budget") == (len(one), 0, 0, 0)
    keys = [sorted((row["t_ns"], row["device"]) for row in rows) for rows in (one, other)]
    assert (only_before == only_after == 0) == (keys[0] == keys[1])


@pytest.mark.parametrize("samples", [0, 2])
def test_no_more_is_told_than_asked_for(samples: int) -> None:
    before = tables(update=[{**UPDATE, "seq": seq} for seq in range(9)])
    assert (
        len(next(t for t in diff_tables(before, tables(), samples) if t.name == "update").samples) == samples
    )


def test_every_table_of_a_run_is_told_apart() -> None:
    """Rollouts, and tables of devices and metrics: lists, words and nothing at all among their values."""
    step = {"t_ns": 5, "device": "phone-00001", "step": "offered"}
    log = tables(rollout=[step])
    assert [table.name for table in diff_tables(log, log)] == list(COLUMNS)
    assert counts(log, tables(rollout=[{**step, "t_ns": 6}]), "rollout") == (0, 1, 0, 0)
    assert counts(log, tables(), "rollout") == (0, 0, 1, 0)
    one = {"devices": pa.table({"device": ["a", "b"], "users": [[1], [2, 3]], "label": ["x", None]})}
    other = {"devices": pa.table({"device": ["a", "b"], "users": [[1], [2, 4]], "label": [None, None]})}
    (found,) = diff_tables(one, other)
    assert (found.equal, found.changed) == (0, 2)
    assert found.samples == ("devices: a: label x -> None", "devices: b: users [2, 3] -> [2, 4]")
    figures = pa.table(
        {"metric": ["m"], "dimension": ["all"], "value": [""], "statistic": ["p95"], "number": [1.5]}
    )
    words = {"metrics": figures.set_column(0, "metric", figures["metric"].dictionary_encode())}
    (found,) = diff_tables(words, {"metrics": figures.set_column(4, "number", pa.array([2.5]))})
    assert found.samples == ("metrics: m all p95: number 1.5 -> 2.5",)


@pytest.mark.slow
def test_the_commands_tell_equal_logs_from_different_ones(runner: Runner, tmp_path: Path) -> None:
    recording = runner.run(TINY, "fleet[0].count=3", "fleet[1].count=2").folder
    options = ("--store", runner.store_root)
    same = peelfleet("replay", recording, "--diff", "--strict", *options, folder=tmp_path)
    assert same.returncode == 0, same.stderr
    assert same.stdout.splitlines()[-1] == "the event logs are the same"
    full = ("--set", "updates.encoding=full", "--out", "full")
    other = peelfleet("replay", recording, *full, "--strict", *options, folder=tmp_path)
    assert other.returncode == 99, other.stderr
    (changed,) = (tmp_path / "full").iterdir()
    for strict, status in (((), 0), (("--strict",), 99)):
        found = peelfleet("diff", recording, changed, "--samples", "1", *strict, folder=tmp_path)
        assert (found.returncode, found.stderr) == (status, "")
        lines = found.stdout.splitlines()
        assert lines[-1] == "the event logs differ"
        assert lines[-2] == "tables that are not part of the event log differ: metrics"
        assert [line.split() for line in lines if line.split()[:1] == ["connection"]] == [
            ["connection", "5", "0", "0", "0"]
        ]
    wrong = peelfleet("diff", recording, tmp_path, folder=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith(f"peelfleet: {tmp_path}: no run directory: summary.json: ")
