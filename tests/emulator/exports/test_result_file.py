"""The verdict on a run as JUnit XML and as Markdown."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from emulator.exports.result_file import junit, markdown, write_result
from wire.errors import InputError

PHONES = "update_latency_seconds{group=phone}"
SUMMARY: dict[str, object] = {
    "scenario": "gate", "seed": 7, "clock": "virtual", "devices": 50, "model_version": "abc",
    "event_log_sha256": "0f" * 32, "wall_seconds": 1.25, "quality_ratio_to_full": 0.912,
    "over_budget_share": 0.0,
    "thresholds": [
        {"metric": "quality_ratio_to_full", "rule": "value>0.95", "value": 0.912, "passed": False},
        {"metric": PHONES, "rule": "p(95)<500ms", "value": 0.12, "passed": True},
    ],
}  # fmt: skip
VERDICT = (
    "Broken: 1 of 2 thresholds did not hold. The fleet kept 91 % of the quality of the whole table; "
    "no device was ever over its budget."
)


def test_each_rule_is_a_test_case_and_a_broken_one_a_failure() -> None:
    (suite,) = ET.fromstring(junit(SUMMARY))  # our own text
    assert suite.attrib == {"name": "gate", "time": "1.250", "tests": "2", "failures": "1", "errors": "0"}
    assert [(case.get("classname"), case.get("name")) for case in suite.iter("testcase")] == [
        ("gate.quality_ratio_to_full", "value>0.95"),
        ("gate.update_latency_seconds{group=phone}", "p(95)<500ms"),
    ]
    assert [failure.get("message") for failure in suite.iter("failure")] == [
        "quality_ratio_to_full is 0.912, the rule is value>0.95"
    ]
    assert suite.findtext("system-out") == VERDICT


def test_a_run_without_rules_is_one_test_case_that_passed() -> None:
    (suite,) = ET.fromstring(junit({**SUMMARY, "thresholds": []}))
    assert (suite.get("tests"), suite.get("failures")) == ("1", "0")
    assert [case.get("name") for case in suite.iter("testcase")] == ["the run came to its end"]


def test_markdown_has_the_verdict_and_the_rules_with_values_in_their_unit() -> None:
    assert markdown(SUMMARY).splitlines() == [
        "## ❌ gate, seed 7",
        "",
        VERDICT,
        "",
        "| metric | rule | value | |",
        "| --- | --- | ---: | --- |",
        "| `quality_ratio_to_full` | `value>0.95` | 0.912 | **broken** |",
        "| `update_latency_seconds{group=phone}` | `p(95)<500ms` | 120 ms | passed |",
    ]


def test_the_ending_of_the_file_decides(tmp_path: Path) -> None:
    write_result(SUMMARY, tmp_path / "new" / "gate.xml")
    write_result(SUMMARY, tmp_path / "gate.md")
    assert (tmp_path / "new" / "gate.xml").read_text(encoding="utf-8") == junit(SUMMARY)
    assert (tmp_path / "gate.md").read_text(encoding="utf-8") == markdown(SUMMARY)
    with pytest.raises(InputError, match=r"gate.txt: a file with a verdict must end in .xml or .md"):
        write_result(SUMMARY, tmp_path / "gate.txt")
