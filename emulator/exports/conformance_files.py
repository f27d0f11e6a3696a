"""The verdicts on a device as files for CI and for programs: JUnit XML and JSON."""

import xml.etree.ElementTree as ET

import msgspec

from cloud.conformance.verdicts import NOT_CHECKED, RULES, ConformanceVerdicts, RuleOutcome
from wire.messages import PROTOCOL


def conformance_json(device: str, verdicts: ConformanceVerdicts) -> str:
    """Return the verdicts as JSON."""
    fields = {
        "device": device,
        "protocol": PROTOCOL,
        "passed": not verdicts.failed,
        "rules": [verdict.as_json() for verdict in verdicts.by_rule.values()],
        "not_checked": NOT_CHECKED,
    }
    return msgspec.json.format(msgspec.json.encode(fields)).decode() + "\n"


def conformance_junit(device: str, verdicts: ConformanceVerdicts) -> str:
    """Return the verdicts as JUnit XML: a rule is a test case."""
    skipped = sum(each.outcome is RuleOutcome.NOT_APPLICABLE for each in verdicts.by_rule.values())
    counts = {
        "tests": str(len(verdicts.by_rule)),
        "failures": str(len(verdicts.failed)),
        "errors": "0",
        "skipped": str(skipped),
    }
    suite = ET.Element("testsuite", {"name": f"conformance.{device}", **counts})
    for verdict in verdicts.by_rule.values():
        name = f"{verdict.rule} {RULES[verdict.rule]}"
        case = ET.SubElement(suite, "testcase", {"classname": suite.attrib["name"], "name": name})
        if verdict.outcome is RuleOutcome.FAILED:
            failure = ET.SubElement(case, "failure", {"message": verdict.reason})
            failure.text = "\n".join(verdict.messages)
        elif verdict.outcome is RuleOutcome.NOT_APPLICABLE:
            ET.SubElement(case, "skipped", {"message": verdict.reason})
    ET.indent(suite)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
