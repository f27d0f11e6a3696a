"""Verdicts on a device, rule by rule, and the messages that led to them. Pure."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from wire.errors import RemoteProtocolError
from wire.topics import MessageKind
from wire.units import NS_PER_S
from wire.update_part import decode_part

RULES: Final[dict[str, str]] = {
    "R2": "has a last will",
    "R3": "says that it is there, and takes in notices and parts",
    "R4": "acts on the last notice of a burst only",
    "R5": "connects again after longer and longer waits",
    "R6": "numbers of reports rise",
    "R7": "remembers the notice of the version that it holds, and refuses impossible ones",
    "R8": "reports when it is connected and the notice is there",
    "R9": "reports when another version is announced",
    "R10": "drops blocks at once when its budget falls, then reports",
    "R11": "reports when its budget grows",
    "R12": "takes a part in by the rules in their order, and changes nothing before all are kept",
    "R13": "reports again when no answer comes, later and later",
    "R14": "keeps what it holds when its connection breaks, and reports it",
    "R15": "drops what exceeds its budget when it starts, then reports",
    "R16": "reports again at once, and once, after a refused part",
    "R17": "waits after many refused answers",
    "R18": "drops everything after many answers that contradict what it holds",
    "R19": "refuses parts that are damaged or no update parts",
    "R20": "ignores answers to older reports",
    "R21": "refuses models that it does not know, and parts of another user group",
    "R22": "refuses parts beyond a gap",
    "R23": "refuses ids, lengths and contents that cannot be, and skips what it holds",
    "R24": "refuses parts beyond their target",
    "R25": "refuses what exceeds its budget",
    "R26": "appends blocks, drops what is beyond the target, and refuses a last part that ends early",
    "R27": "holds a prefix within its budget after each part",
    "R28": "sends JSON of the page's types, and ignores fields that it does not know",
    "R29": "takes in deltas that it has asked for, and refuses wrong ones",
    "R31": "refuses a notice whose geometry it does not know",
    "R32": "does what an error answer asks for",
    "R33": "names capabilities only to a cloud that knows them",
    "R34": "refuses parts that are larger than it has said",
    "R36": "refuses what the cloud has not signed, and waits on for its answer",
}
"""The rules that are checked, and the behaviour that is looked for."""

NOT_CHECKED: Final[dict[str, str]] = {
    "R1": "login and TLS are between the device and its broker",
    "R30": "no layers are retained",
    "R35": "names of items are not on the wire",
    "R40": "no rollout is played",
    "R41": "no rollout is played",
    "R42": "no rollout is played",
}
"""The other rules of the page, and the reason for which they are not checked."""


class RuleOutcome(StrEnum):
    """The result of a rule."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class LoggedMessage:
    """A message between the device and the scripted cloud, or an order to the device's owner."""

    t_ns: int
    sender: str
    kind: str
    payload: bytes

    def line(self) -> str:
        """Return the message in a line for people: JSON as it is, of a part the fields of its header."""
        return f"{self.t_ns / NS_PER_S:9.3f} s  {self.sender} {self.kind}: {_described(self)}"


@dataclass
class ConformanceVerdict:
    """The result of one rule."""

    rule: str
    outcome: RuleOutcome = RuleOutcome.NOT_APPLICABLE
    reason: str = "nothing of it has come up"
    """The breach that was seen, or the reason for which the rule does not apply."""
    messages: list[str] = field(default_factory=list)
    """The messages exchanged, where it failed."""

    def as_json(self) -> dict[str, Any]:  # Any: JSON
        """Return it for programs."""
        return {
            "rule": self.rule,
            "title": RULES[self.rule],
            "outcome": self.outcome.value,
            "reason": self.reason,
            "messages": self.messages,
        }


class ConformanceVerdicts:
    """The results of all rules."""

    def __init__(self) -> None:
        self.by_rule = {rule: ConformanceVerdict(rule) for rule in RULES}

    @property
    def failed(self) -> list[str]:
        """The rules that failed."""
        return [rule for rule, verdict in self.by_rule.items() if verdict.outcome is RuleOutcome.FAILED]

    def passed(self, rule: str) -> None:
        """Note that *rule* was kept once more."""
        verdict = self.by_rule[rule]
        if verdict.outcome is RuleOutcome.NOT_APPLICABLE:
            verdict.outcome, verdict.reason = RuleOutcome.PASSED, ""

    def fail(self, rule: str, reason: str, messages: list[str]) -> None:
        """Note that *rule* was broken; the first time is shown."""
        verdict = self.by_rule[rule]
        if verdict.outcome is not RuleOutcome.FAILED:
            verdict.outcome, verdict.reason, verdict.messages = RuleOutcome.FAILED, reason, messages

    def skip(self, rule: str, reason: str) -> None:
        """Say the reason for which *rule* does not apply."""
        verdict = self.by_rule[rule]
        if verdict.outcome is RuleOutcome.NOT_APPLICABLE:
            verdict.reason = reason

    def end_early(self) -> None:
        """Say of the rules that were not reached that the device does not report any more."""
        for rule in self.by_rule:
            self.skip(rule, "the test has ended early, since the device does not report")


def _described(message: LoggedMessage) -> str:
    if message.kind != MessageKind.PEE:
        return message.payload.decode("utf-8", "backslashreplace")
    try:
        part = decode_part(message.payload)
    except RemoteProtocolError as error:
        return f"{len(message.payload)} bytes, {error}"
    fields = part.layout
    return (
        f"{len(message.payload)} bytes, seq {part.seq}, model {fields.model}, group {fields.group}, first "
        f"{fields.first}, {fields.blocks} blocks, target {fields.target}, part {fields.part} of "
        f"{fields.parts}{', introduction' if fields.introduces else ''}"
    )
