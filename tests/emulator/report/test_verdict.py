"""The words on a run that stand first in the report and last in the terminal."""

from pathlib import Path

import msgspec
import pytest

from emulator.cli.terminal import as_json, rollout_table
from emulator.report.page_parts import ReportTable
from emulator.report.rollout_section import rollout_section
from emulator.report.verdict import rollout_text, verdict_text, whole_percent
from emulator.runner.runner import RunResult

SUMMARY: dict[str, object] = {
    "devices": 10,
    "quality_ratio_to_full": 0.97136,
    "update_bytes": 25 << 20,
    "delta_ratio": 0.1804,
    "over_budget_share": 0.0,
    "thresholds": [{"passed": True}, {"passed": True}],
}


def group(number: int, offered: int, updated: int, failed: int = 0, withdrawn: int = 0) -> dict[str, object]:
    times = {"p50": 1.0, "p95": 2.5, "p100": 3.0} if updated else {"p50": None, "p95": None, "p100": None}
    share = updated / offered
    return {
        "group": number, "offered_at_seconds": 60.0 * number, "offered": offered, "updated": updated,
        "failed": failed, "withdrawn": withdrawn, "updated_share": share, "update_seconds": times,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "Passed. The fleet kept 97 % of the quality of the whole table on 18 % of the traffic that full "
             "pushes would have cost; no device was ever over its budget."),
        ({"thresholds": [], "over_budget_share": 0.0021, "delta_ratio": None},
         "Finished: the run set no thresholds. The fleet kept 97 % of the quality of the whole table; "
         "devices were over their budgets for 0.2 % of the time."),
        ({"unfinished": True, "quality_ratio_to_full": None},
         "NOT FINISHED: this run was interrupted or killed; all figures cover only what it had logged until "
         "then. No device was ever over its budget."),
        ({"thresholds": [{"passed": True}, {"passed": False}], "quality_ratio_to_full": None,
          "over_budget_share": None}, "Broken: 1 of 2 thresholds did not hold."),
        ({"aborted_at_seconds": 1200.0, "quality_ratio_to_full": None, "over_budget_share": None},
         "Aborted at 1,200 s: a threshold broke."),
        ({"thresholds": [{"passed": True}], "quality_ratio_to_full": None, "over_budget_share": None},
         "Passed."),
    ],
)  # fmt: skip
def test_the_verdict_says_what_a_run_came_to(changes: dict[str, object], text: str) -> None:
    assert verdict_text(SUMMARY | changes) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0 %"), (1.0, "100 %"), (0.97136, "97 %"), (0.0021, "0.2 %"), (0.00001, "0.001 %"),
     (0.9926, "99.3 %"), (0.99996, "99.996 %"), (1.2, "120 %")],
)  # fmt: skip
def test_a_share_in_whole_percent_never_looks_like_nothing_or_all(share: float, text: str) -> None:
    assert whole_percent(share) == text


@pytest.mark.parametrize(
    ("groups", "end"),
    [
        ([group(0, 4, 4), group(1, 6, 6)],
         "offered to 10 of 10 devices in 2 groups; 10 updated, 0 failed. It is complete."),
        ([group(0, 4, 3, failed=1)], "offered to 4 of 10 devices in 1 group; 3 updated, 1 "
         "failed. When the run ended, 6 devices had not been offered it."),
        ([group(0, 4, 3, failed=1, withdrawn=4)], "offered to 4 of 10 devices in 1 group; 3 updated, 1 "
         "failed. It was rolled back: the offer was withdrawn from 4 devices."),
        ([group(0, 4, 4), group(1, 6, 5)], "offered to 10 of 10 devices in 2 groups; 9 updated, 0 failed. "
         "When the run ended, 1 device did not hold it."),
    ],
)  # fmt: skip
def test_the_outcome_of_a_rollout_stands_in_words_in_terminal_and_report(
    groups: list[dict[str, object]], end: str
) -> None:
    summary = SUMMARY | {"rollout": groups}
    assert rollout_text(summary) == f"The new model version was {end}"
    table = rollout_table(summary)
    assert table.caption == rollout_text(summary)
    assert len(table.rows) == len(groups)
    section = rollout_section(summary)
    assert section is not None
    assert section.finding == rollout_text(summary)
    (rows,) = (part.rows for part in section.parts if isinstance(part, ReportTable))
    assert [row.state for row in rows] == ["failed" if each["failed"] else "" for each in groups]


def test_a_run_without_a_rollout_says_nothing_of_one() -> None:
    assert (rollout_text(SUMMARY), rollout_table(SUMMARY).rows, rollout_section(SUMMARY)) == ("", [], None)


def test_a_run_printed_for_programs_is_one_object_with_its_folder() -> None:
    line = as_json(RunResult(Path("runs/squeeze-1"), SUMMARY))
    assert msgspec.json.decode(line) == SUMMARY | {"run_directory": "runs/squeeze-1"}
    assert "\n" not in line
