"""`peelfleet conformance`: a right device passes every rule, and each seeded fault is found by its rule."""

import json
import re
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from cloud.conformance.conversation import ConformanceSettings
from cloud.conformance.session_cases import check_settings
from cloud.conformance.trial_model import TrialModel
from cloud.conformance.verdicts import NOT_CHECKED, RULES, ConformanceVerdicts
from emulator.cli.conformance import verdict_lines
from emulator.exports.conformance_files import conformance_json, conformance_junit
from tests.clients import conformance_devices as devices
from tests.clients.conformance_devices import PAGES, FaultlessDevice, column_of_page, verdicts_on
from tests.clients.node_client import node_client
from wire.errors import InputError
from wire.topics import MessageKind
from wire.units import NS_PER_S


def outcomes(verdicts: ConformanceVerdicts) -> dict[str, list[str]]:
    """Return the rules by outcome."""
    found: dict[str, list[str]] = {}
    for verdict in verdicts.by_rule.values():
        found.setdefault(verdict.outcome.value, []).append(verdict.rule)
    return found


def lines(verdicts: ConformanceVerdicts) -> str:
    return "\n".join(verdict_lines(verdicts, quiet=True))


@pytest.mark.parametrize(
    ("options", "missing"),
    [({}, ["R29", "R34"]), ({"group": 3, "deltas": True}, ["R34"]), ({"max_part": 4096, "deltas": True}, [])],
    ids=["user", "group", "max_part"],
)
def test_our_device_core_passes_every_rule(options: dict[str, Any], missing: list[str]) -> None:
    verdicts = verdicts_on(FaultlessDevice(has_key=True, **options))
    expected = {"passed": [rule for rule in RULES if rule not in missing]}
    assert outcomes(verdicts) == expected | ({"not applicable": missing} if missing else {}), lines(verdicts)


def test_what_needs_the_owners_commands_does_not_apply_without_them() -> None:
    verdicts, missing = (
        verdicts_on(FaultlessDevice(), has_hooks=False),
        ["R2", "R5", "R10", "R11", "R14", "R15", "R29", "R34", "R36"],
    )
    assert outcomes(verdicts) == {
        "passed": [rule for rule in RULES if rule not in missing], "not applicable": missing
    }, lines(verdicts)  # fmt: skip
    assert verdicts.by_rule["R2"].reason.endswith("there is no --kill-command")
    assert verdicts.by_rule["R34"].reason == "the device names no max_part"


FAULTS: dict[type[FaultlessDevice], list[str]] = {
    devices.StaleTakingDevice: ["R20"],
    devices.OverBudgetDevice: ["R10", "R15", "R27"],
    devices.DamageTakingDevice: ["R19"],
    devices.GapTakingDevice: ["R22"],
    devices.SatisfiedDevice: ["R11"],
    devices.RepeatingDevice: ["R6", "R12", "R16", "R20"],
    devices.NoticeIgnoringDevice: ["R9"],
    devices.ImpatientDevice: ["R13"],
    devices.ResignedDevice: ["R13"],
    devices.HoardingDevice: ["R26"],
    devices.GroupMixingDevice: ["R21"],
    devices.RestlessDevice: ["R16", "R17"],
    devices.ErrorIgnoringDevice: ["R32"],
    devices.WaitIgnoringDevice: ["R32"],
    devices.StrictDevice: ["R28"],
    devices.TrustingDevice: ["R31"],
    devices.HastyDevice: ["R4"],
    devices.WillLessDevice: ["R2"],
    devices.EagerDevice: ["R5"],
    devices.LosingDevice: ["R14"],
    devices.LimitlessDevice: ["R34"],
    devices.ForgetfulDevice: ["R7"],
    devices.EmptyNoticeDevice: ["R7"],
    devices.DroppingDevice: ["R12"],
    devices.DisorderlyDevice: ["R12"],
    devices.PersistentDevice: ["R29"],
    devices.KeylessDevice: ["R36"],
    devices.SignatureReportingDevice: ["R36"],
    devices.OldErrorDevice: ["R36"],
}
"""The rules that a device with a fault breaks."""


@pytest.mark.parametrize("device", FAULTS, ids=lambda device: device.__name__)
def test_each_seeded_fault_is_found_by_its_rule(device: type[FaultlessDevice]) -> None:
    verdicts = verdicts_on(device())
    assert verdicts.failed == FAULTS[device], lines(verdicts)
    assert all(verdicts.by_rule[rule].messages for rule in verdicts.failed)


def test_capabilities_named_to_an_older_cloud_are_found() -> None:
    assert verdicts_on(devices.TalkativeDevice(max_part=4096)).failed == ["R33"]


def test_a_device_that_never_reports_ends_the_test() -> None:
    class Mute(FaultlessDevice):
        def reports(self, now_ns: int) -> list[bytes]:
            return []

    verdicts = verdicts_on(Mute())
    assert verdicts.failed == ["R8"]
    assert verdicts.by_rule["R20"].reason == "the test has ended early, since the device does not report"


def test_files_for_ci_say_what_the_terminal_says() -> None:
    verdicts = verdicts_on(devices.GapTakingDevice(), has_hooks=False)
    shown = verdict_lines(verdicts, quiet=False)
    assert [line for line in shown if line.startswith("R22")] == [
        "R22  failed         refuses parts beyond a gap: it must hold 2 blocks of 't-21', "
        "and reports 3 of 't-21'"
    ]
    assert shown[-1].startswith("23 passed, 1 failed, 9 not applicable; not checked: R1, R30,")
    found = json.loads(conformance_json("phone-1", verdicts))
    by_rule = {each["rule"]: each for each in found["rules"]}
    assert (found["device"], found["passed"], list(by_rule)) == ("phone-1", False, list(RULES))
    assert by_rule["R22"]["outcome"] == "failed"
    assert any("first 3, 1 blocks, target 5" in message for message in by_rule["R22"]["messages"])
    suite = ET.fromstring(conformance_junit("phone-1", verdicts))
    assert suite.attrib == {
        "name": "conformance.phone-1", "tests": "33", "failures": "1", "errors": "0", "skipped": "9",
    }  # fmt: skip
    (failure,) = suite.iter("failure")
    assert failure.attrib["message"] == by_rule["R22"]["reason"]


def test_settings_and_budgets_that_cannot_be_judged_are_refused() -> None:
    with pytest.raises(InputError, match=r"--silence\(=3 s\) must be above --prompt and --quiet"):
        check_settings(ConformanceSettings(silence_ns=3 * NS_PER_S))
    for budget in (20, 2**30):
        with pytest.raises(InputError, match="budget"):
            TrialModel("v", budget)


def test_every_rule_of_the_page_is_checked_or_named_as_not_checked() -> None:
    page = (PAGES / "protocol.md").read_text()
    given = {
        f"R{number}"
        for found in re.findall(r"\*\*R(\d+)\*\*|^\| R(\d+) \|", page, re.MULTILINE)
        for number in found
        if number
    }
    assert sorted([*RULES, *NOT_CHECKED]) == sorted(given)


PUBLIC_PEM = (
    devices.KEY.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)


class NodeDevice(FaultlessDevice):
    """The JavaScript client's device and scheduler."""

    def __init__(self, node: Any) -> None:  # Any: a process that answers by JSON
        super().__init__(has_key=True)
        self.node, self.due = node, list[bytes]()
        self.next_ns = 2**63 - 1
        node.call("device", user=3, seq=100, hasKeys=True, maxPart=4096)
        node.call("keys", pem=PUBLIC_PEM)
        self.tell("budget", 0, devices.BUDGET)
        self.tell("connected", 0)

    @property
    def next_deadline_ns(self) -> int:
        return self.next_ns

    def tell(self, event: str, now_ns: int, argument: object = None, *, is_signed: bool = False) -> None:
        found = self.node.call(
            "at", event=event, nowMs=now_ns / 1e6, argument=argument, isSigned=is_signed
        )  # fmt: skip
        self.next_ns = 2**63 - 1 if found["nextMs"] is None else int(found["nextMs"] * 1e6) + 1000
        if found["report"] is not None:
            self.due.append(json.dumps(found["report"]).encode())

    def receive(self, kind: str, payload: bytes, now_ns: int) -> None:
        if kind == MessageKind.CLOUD:
            self.node.call("cloud", payload=payload)
            return
        events = {MessageKind.PEE: "part", MessageKind.MODEL: "notice", MessageKind.ERROR: "error"}
        check = "signed_part" if kind == MessageKind.PEE else "signed_json"
        is_signed = self.node.call(check, payload=payload, topic=devices.topic(MessageKind(kind)))
        if kind != MessageKind.PEE and not is_signed:
            return  # as its connection does
        try:
            self.tell(events[MessageKind(kind)], now_ns, payload, is_signed=is_signed)
        except AssertionError:  # the client throws at what it refuses, and its connection catches it
            assert kind == MessageKind.MODEL

    def set_budget(self, budget_bytes: int, now_ns: int) -> None:
        self.tell("budget", now_ns, budget_bytes)

    def on_empty_notice(self, now_ns: int) -> None:
        self.tell("notice", now_ns, b"")

    def restart(self, budget_bytes: int, now_ns: int) -> None:
        self.tell("disconnected", now_ns)
        self.tell("budget", now_ns, budget_bytes)
        self.tell("connected", now_ns)

    def reports(self, now_ns: int) -> list[bytes]:
        if not self.due and now_ns >= self.next_ns:
            self.tell("time", now_ns)
        due, self.due = self.due, []
        return due


def test_the_javascript_client_passes_every_rule() -> None:
    with node_client() as node:
        verdicts = verdicts_on(NodeDevice(node), has_connection=False)
    found = {rule: each.outcome for rule, each in verdicts.by_rule.items()}
    assert found == column_of_page("`clients/js`") | dict.fromkeys(("R2", "R5", "R14"), "not applicable"), (
        lines(verdicts)
    )


def test_the_table_of_clients_is_what_the_tests_find() -> None:
    core = verdicts_on(FaultlessDevice(has_key=True, max_part=4096, deltas=True))
    assert column_of_page("device core") == {rule: each.outcome for rule, each in core.by_rule.items()}


def test_the_rules_that_are_not_checked_are_those_of_the_page() -> None:
    page = (PAGES / "conformance.md").read_text().split("## Not checked")[1].split("## ")[0]
    assert dict(re.findall(r"^\| (R\d+) \| (.+) \|$", page, re.MULTILINE)) == NOT_CHECKED
