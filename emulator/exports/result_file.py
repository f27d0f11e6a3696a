"""The verdict on a run as a file for CI: JUnit XML, or Markdown for a summary page.

In JUnit's terms a run is a test suite and each of its rules a test case; a rule that is broken is a failure.
"""

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from emulator.report.verdict import list_rules, verdict_text
from scenarios.language.thresholds import shown_value
from wire.errors import InputError
from wire.output_files import write_with_folder

ENDINGS: Final = (".xml", ".md")


def check_result_file(file: Path) -> None:
    """Check the ending of *file*.

    Raises:
        InputError: it is none of a verdict.
    """
    if file.suffix.lower() not in ENDINGS:
        raise InputError(f"{file}: a file with a verdict must end in {' or '.join(ENDINGS)}")


def write_result(summary: Mapping[str, object], file: Path) -> None:
    """Write the verdict on a run to *file*, whole or not at all.

    Args:
        summary: of the run.
        file: its ending decides.

    Raises:
        InputError: the ending is none of a verdict.
        OSError: it cannot be written.
    """
    check_result_file(file)
    text = junit(summary) if file.suffix.lower() == ".xml" else markdown(summary)
    write_with_folder(file, text)


def junit(summary: Mapping[str, object]) -> str:
    """Return the verdict as JUnit XML; a run without rules is one test case that passed."""
    rules = list_rules(summary)
    broken = sum(not rule["passed"] for rule in rules)
    counts = {"tests": str(max(len(rules), 1)), "failures": str(broken), "errors": "0"}
    name, wall = str(summary["scenario"]), f"{summary.get('wall_seconds') or 0:.3f}"
    suites = ET.Element("testsuites", counts)
    suite = ET.SubElement(suites, "testsuite", {"name": name, "time": wall, **counts})
    properties = ET.SubElement(suite, "properties")
    for key in ("seed", "clock", "devices", "model_version", "event_log_sha256"):
        if key in summary:
            ET.SubElement(properties, "property", {"name": key, "value": str(summary[key])})
    for rule in rules:
        metric, text = str(rule["metric"]), str(rule["rule"])
        case = ET.SubElement(suite, "testcase", {"classname": f"{name}.{metric}", "name": text})
        if not rule["passed"]:
            message = f"{metric} is {_value(rule)}, the rule is {text}"
            ET.SubElement(case, "failure", {"message": message}).text = message
    if not rules:
        ET.SubElement(suite, "testcase", {"classname": name, "name": "the run came to its end"})
    ET.SubElement(suite, "system-out").text = verdict_text(summary)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def markdown(summary: Mapping[str, object]) -> str:
    """Return the verdict as Markdown: a sentence, and a table of the rules."""
    passed = all(rule["passed"] for rule in list_rules(summary))
    title = f"## {'✅' if passed else '❌'} {summary['scenario']}, seed {summary['seed']}"
    lines = [title, "", verdict_text(summary), ""]
    if list_rules(summary):
        lines += ["| metric | rule | value | |", "| --- | --- | ---: | --- |"]
    for rule in list_rules(summary):
        cells = (f"`{rule['metric']}`", f"`{rule['rule']}`", _value(rule))
        lines.append(f"| {' | '.join(cells)} | {'passed' if rule['passed'] else '**broken**'} |")
    return "\n".join(lines).rstrip() + "\n"


def _value(rule: Mapping[str, Any]) -> str:  # Any: JSON
    return shown_value(rule["metric"], rule["rule"], rule["value"])
