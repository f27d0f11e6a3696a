"""Cases in which a device gets a part that it has to refuse, or to ignore. Pure.

Each announces a new version, answers the report with two blocks, and then sends what is wrong.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from cloud.conformance.conversation import Case, DeviceConversation, ExpectedState, Steps
from cloud.conformance.trial_model import BLOCKS, TrialModel
from wire.messages import BudgetReport
from wire.topics import MessageKind
from wire.units import NS_PER_S

HELD: Final = 2
"""Blocks that the device has taken in of the answer before what is wrong comes."""
LATER_FITTING: Final = 6
"""Blocks of another model that fit: they are smaller, so one model's bytes are none of the other."""
MANY: Final = 8
"""Refused answers in a row after which a device waits (R17)."""

Faulty = Callable[[TrialModel, BudgetReport], list[bytes]]


def damaged(part: bytes) -> bytes:
    """Return *part* with its last byte changed: the checksum is wrong then."""
    return part[:-1] + bytes([part[-1] ^ 0x10])


def part_at(model: TrialModel, report: BudgetReport, place: int, /, **wrong: object) -> bytes:
    """Return the part of the whole answer that brings the block at *place*, with something *wrong*."""
    target = model.target(report)
    options: dict[str, object] = {"target": target, "part": place + 2, "parts": target + 1, **wrong}
    return model.part(report, place, **options)  # type: ignore[arg-type]  # options of `part`, by name


def refusal(rule: str, faulty: Faulty, held: int | None = HELD) -> Case:
    """Return the case in which the parts *faulty* are refused by *rule*.

    Args:
        rule: the rule.
        faulty: returns the parts: the last one is wrong.
        held: blocks held afterwards; None: all that fit.
    """

    def case(talk: DeviceConversation) -> Steps[None]:
        model, report = yield from talk.announce()
        talk.send_parts(model.answer(report)[: 1 + HELD])
        talk.send_parts(faulty(model, report))
        blocks = model.target(report) if held is None else held
        yield from judge_refusal(talk, model, ExpectedState(rule, model.version, blocks))

    return case


def judge_refusal(talk: DeviceConversation, model: TrialModel, expected: ExpectedState) -> Steps[None]:
    """Judge what comes of a wrong part that was sent just now, and answer by *model* completely."""
    talk.expected = expected
    again = yield from talk.next_report(talk.settings.prompt_ns)
    if again is None:
        model, again = yield from talk.announce()  # its report says whether the part was taken in
        if expected.rule not in talk.verdicts.failed:
            text = f"no report within the time for one at once, after a part against {expected.rule}"
            talk.fail("R16", text)
    else:
        talk.check_expected(again)
        talk.verdicts.passed("R16")
    talk.finish(model, again)


def too_large(talk: DeviceConversation) -> Steps[None]:
    """Refuse a part that is larger than the device has said that it takes (R34)."""
    model, report = yield from talk.announce()
    part = model.large_part(report, HELD)
    if not isinstance(report.max_part, int) or len(part) <= report.max_part:
        named = "names no max_part" if report.max_part is msgspec.UNSET else "has room for its whole budget"
        talk.verdicts.skip("R34", f"the device {named}")
        talk.finish(model, report)
        return
    talk.send_parts([*model.answer(report)[: 1 + HELD], part])
    yield from judge_refusal(talk, model, ExpectedState("R34", model.version, HELD))


def wrong_introduction(talk: DeviceConversation) -> Steps[None]:
    """Keep what is held where an introduction is refused by a rule that comes later (R12)."""
    model, report = yield from talk.announce()
    held = model.target(report)
    talk.finish(model, report)
    later, report = yield from talk.announce()
    talk.send_parts([later.introduction(report, BLOCKS + 1, 1)])
    yield from judge_refusal(talk, later, ExpectedState("R12", model.version, held))


def stale_and_wrong(talk: DeviceConversation) -> Steps[None]:
    """Ignore an answer to an older report, whatever later rules would say of it (R12)."""
    model, report = yield from talk.announce()
    answer = model.answer(report)
    talk.send_parts([*answer[: 1 + HELD], damaged(answer[1 + HELD])])
    again = yield from talk.next_report(talk.settings.prompt_ns)
    if again is None:
        return  # judged by the cases of refusals
    wrong = model.part(report, BLOCKS - 1, ids=(BLOCKS + 5,), group=7, target=BLOCKS + 9)
    talk.send_parts([wrong])
    is_quiet = yield from talk.stays_quiet(talk.settings.quiet_ns)
    talk.judge(
        "R12", is_quiet, "a report after an answer to an older report that is wrong in other ways, too"
    )
    if is_quiet:
        talk.finish(model, again)


def earlier_version(talk: DeviceConversation) -> Steps[None]:
    """Take in blocks of the version that is held when another one has been announced (R7)."""
    model, report = yield from talk.announce()
    talk.send_parts(model.answer(report)[: 1 + HELD])
    _, report = yield from talk.announce(model=talk.next_model(fitting=LATER_FITTING))
    talk.finish(model, report, "R7")  # by a cloud that serves the version which the device holds
    yield from talk.stays_quiet(talk.settings.quiet_ns)
    model, report = yield from talk.announce()
    talk.finish(model, report)


def impossible_notices(talk: DeviceConversation) -> Steps[None]:
    """Ignore an empty notice, and refuse one that says more than any model has (R7)."""
    notice = msgspec.to_builtins(talk.next_model().notice())
    notice["geometry"] |= {"items": 2**28 + 1}
    for what, payload in (("an empty notice", b""), ("2^28 + 1 items", msgspec.json.encode(notice))):
        talk.send(MessageKind.MODEL, payload)
        is_quiet = yield from talk.stays_quiet(talk.settings.quiet_ns)
        talk.judge("R7", is_quiet, f"a report after a notice: {what}")
    model, report = yield from talk.announce()
    talk.finish(model, report)


def refused_once(talk: DeviceConversation) -> Steps[None]:
    """Refuse further parts of the same answer without another report (R16)."""
    model, report = yield from talk.announce()
    answer = model.answer(report)
    talk.send_parts([*answer[: 1 + HELD], *map(damaged, answer[1 + HELD :])])
    again = yield from talk.next_report(talk.settings.prompt_ns)
    if again is None:
        if "R19" not in talk.verdicts.failed:  # else it has taken in what is damaged
            talk.fail("R16", "no report at once after a damaged part")
        return
    is_quiet = yield from talk.stays_quiet(talk.settings.quiet_ns)
    talk.judge("R16", is_quiet, "more than one report after several damaged parts of one answer")
    if is_quiet:
        talk.finish(model, again)


def stale(talk: DeviceConversation) -> Steps[None]:
    """Ignore an answer to the report before the last one (R20)."""
    model, report = yield from talk.announce()
    talk.finish(model, report)
    before = report
    model, report = yield from talk.announce()
    older = BudgetReport(
        seq=before.seq,
        budget_bytes=report.budget_bytes,
        user=report.user,
        group=report.group,
        model=report.model,
        held=report.held,
    )
    talk.send_parts(model.answer(older))
    is_quiet = yield from talk.stays_quiet(talk.settings.quiet_ns)
    talk.judge("R20", is_quiet, "a report after an answer to an older report")
    talk.expected = ExpectedState("R20", report.model, report.held)
    model, report = yield from talk.announce()
    talk.finish(model, report)


def doubled(talk: DeviceConversation) -> Steps[None]:
    """Skip a part that comes twice (R23)."""
    model, report = yield from talk.announce()
    answer = model.answer(report)
    talk.send_parts([*answer[:2], answer[1], *answer[2:4], answer[3], *answer[4:]])
    is_quiet = yield from talk.stays_quiet(talk.settings.quiet_ns)
    talk.judge("R23", is_quiet, "a report after parts that came twice")
    talk.expected = ExpectedState("R23", model.version, model.target(report))
    model, report = yield from talk.announce()
    talk.finish(model, report)


def interrupted(talk: DeviceConversation) -> Steps[None]:
    """Hold what an interrupted answer has brought, and take in the rest (R27)."""
    model, report = yield from talk.announce()
    talk.send_parts(model.answer(report)[: 1 + HELD])
    yield from talk.stays_quiet(talk.settings.quiet_ns)
    talk.expected = ExpectedState("R27", model.version, HELD)
    model, report = yield from talk.announce()
    talk.finish(model, report)


def above_target(talk: DeviceConversation) -> Steps[None]:
    """Drop what is beyond the target of an answer that only confirms (R26)."""
    model, report = yield from talk.announce()
    talk.send_parts([*model.answer(report)[:4], damaged(model.answer(report)[4])])
    again = yield from talk.next_report(talk.settings.prompt_ns)
    if again is None or (again.model, again.held) != (model.version, 3):
        return  # judged by the cases of refusals
    talk.send_parts(model.answer(again, target=1))
    is_quiet = yield from talk.stays_quiet(talk.settings.quiet_ns)
    talk.judge("R26", is_quiet, "a report after an answer that has fewer blocks than are held")
    talk.expected = ExpectedState("R26", model.version, 1)
    model, report = yield from talk.announce()
    talk.finish(model, report)


def many_damaged(talk: DeviceConversation) -> Steps[None]:
    """Wait a second after eight refused answers, and up to two after the ninth (R17)."""
    model, report = yield from talk.announce()
    for number in range(1, MANY + 2):
        talk.send_parts([damaged(model.answer(report)[0])])
        sent_ns = talk.now_ns
        again = yield from talk.next_report(2 * NS_PER_S + talk.settings.prompt_ns)
        if again is None:
            if "R19" not in talk.verdicts.failed:
                talk.fail("R16" if number < MANY else "R17", f"no report after refused answer {number}")
            return
        waited_ns, report = talk.report_ns - sent_ns, again
        if number >= MANY:
            text = f"{waited_ns / NS_PER_S:.2f} s from refused answer {number} in a row to the report"
            talk.judge("R17", waited_ns >= 0.9 * NS_PER_S, text)
    talk.finish(model, report)


def many_contradictions(talk: DeviceConversation) -> Steps[None]:
    """Drop everything after eight answers with other bytes than those held (R18)."""
    model, report = yield from talk.announce()
    talk.send_parts(model.answer(report)[: 1 + HELD])
    for number in range(1, MANY + 1):
        talk.send_parts([part_at(model, report, 1, flipped=True)])
        again = yield from talk.next_report(2 * NS_PER_S + talk.settings.prompt_ns)
        if again is None:
            talk.fail("R16", f"no report after refused answer {number}")
            return
        report = again
    text = f"after {MANY} answers with other bytes it holds {report.held} blocks of {report.model!r}"
    talk.judge("R18", (report.model, report.held) == ("", 0), text)
    talk.finish(model, report)


def whole_beyond_budget(model: TrialModel, report: BudgetReport) -> list[bytes]:
    """Return the rest of an answer for all blocks of the model, more than the budget holds."""
    return [
        part_at(model, report, place, target=BLOCKS, parts=BLOCKS + 1)
        for place in range(HELD, model.target(report) + 1)
    ]


REFUSALS: Final[tuple[Case, ...]] = (
    refusal("R19", lambda model, report: [damaged(part_at(model, report, HELD))]),
    refusal("R19", lambda model, report: [part_at(model, report, HELD)[:-3]]),
    refusal("R19", lambda _model, _report: [b"\x08\0\0\0\0\0\0\0nonsense"]),
    refused_once,
    stale,
    refusal("R21", lambda model, report: [part_at(model, report, HELD, model=f"{model.version}.unasked")]),
    refusal(
        "R21",
        lambda model, report: [
            model.introduction(report, model.target(report), 9, model=f"{model.version}.unknown")
        ],
    ),
    refusal("R21", lambda model, report: [part_at(model, report, HELD, group=7)]),
    refusal("R22", lambda model, report: [part_at(model, report, HELD + 1)]),
    refusal("R23", lambda model, report: [part_at(model, report, HELD, ids=(BLOCKS + 5,))]),
    refusal("R23", lambda model, report: [part_at(model, report, HELD, ids=model.ids(report)[:1])]),
    refusal("R23", lambda model, report: [part_at(model, report, HELD, shorter_bytes=1)]),
    refusal("R23", lambda model, report: [part_at(model, report, 1, flipped=True)]),
    doubled,
    refusal("R24", lambda model, report: [part_at(model, report, HELD, target=HELD)]),
    refusal("R24", lambda model, report: [part_at(model, report, HELD, target=BLOCKS + 1)]),
    refusal("R25", whole_beyond_budget, None),
    refusal("R26", lambda model, report: [part_at(model, report, HELD, part=5, parts=5)]),
    above_target,
    interrupted,
    too_large,
    wrong_introduction,
    stale_and_wrong,
    earlier_version,
    impossible_notices,
    many_damaged,
    many_contradictions,
)
"""The cases about parts, each of which ends with a complete answer."""
