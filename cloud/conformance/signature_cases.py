"""Cases in which somebody else sends what only the cloud may send, to a device with its key (R36). Pure."""

from typing import Final

from cloud.conformance.conversation import Case, DeviceConversation, ExpectedState, Steps
from cloud.conformance.refusal_cases import HELD
from cloud.conformance.trial_model import TrialModel
from wire.messages import BudgetReport, ErrorAnswer, encode
from wire.topics import MessageKind

RULE: Final = "R36"
_FORGED: Final = ("no signature", "the signature of another key", "a signature for another topic")


def _finish_answer(
    talk: DeviceConversation, model: TrialModel, report: BudgetReport, answer: list[bytes]
) -> Steps[None]:
    """Send the rest of an answer; the device must have all of it when it reports for the next model."""
    talk.send_parts(answer[1 + HELD :])
    yield from talk.stays_quiet(talk.settings.quiet_ns)
    talk.expected = ExpectedState(RULE, model.version, model.target(report))
    model, report = yield from talk.announce()
    talk.finish(model, report)


def forged_parts(talk: DeviceConversation) -> Steps[None]:
    """Take in the cloud's answer, and nothing of the parts of others that come between."""
    if talk.signatures is None:
        talk.verdicts.skip(RULE, "messages are not signed: there is no --signing-key")
        return
    model, report = yield from talk.announce()
    answer = model.answer(report)
    talk.send_parts(answer[: 1 + HELD])
    emptying = model.part(report, 0, ids=(), target=0)  # a device that believes it drops all blocks
    for what, part in zip(_FORGED, talk.signatures.wrong(MessageKind.PEE, emptying), strict=True):
        talk.send_as_it_is(MessageKind.PEE, part)
        is_quiet = yield from talk.stays_quiet(talk.settings.quiet_ns)
        talk.judge(RULE, is_quiet, f"a report after a part with {what}: only the cloud's answer counts")
        if not is_quiet:
            return
    yield from _finish_answer(talk, model, report, answer)


def forged_notices(talk: DeviceConversation) -> Steps[None]:
    """Report for no notice of others."""
    if talk.signatures is None:
        return
    notice = encode(talk.next_model().notice())
    for what, payload in zip(_FORGED, talk.signatures.wrong(MessageKind.MODEL, notice), strict=True):
        talk.send_as_it_is(MessageKind.MODEL, payload)
        is_quiet = yield from talk.stays_quiet(talk.settings.quiet_ns)
        talk.judge(RULE, is_quiet, f"a report after a notice with {what}")
    model, report = yield from talk.announce()
    talk.finish(model, report)


def forged_errors(talk: DeviceConversation) -> Steps[None]:
    """Drop nothing for errors of others, nor for one of the cloud that may be an old one."""
    if talk.signatures is None:
        return
    model, report = yield from talk.announce()
    answer = model.answer(report)
    talk.send_parts(answer[: 1 + HELD])
    error, without_number = (
        encode(
            ErrorAnswer(seq=seq, reason="internal_error", text="a test", remedy="restart", retry_after_s=1.0)
        )
        for seq in (report.seq, 0)
    )
    for payload in (
        *talk.signatures.wrong(MessageKind.ERROR, error),
        talk.signatures.right(MessageKind.ERROR, without_number),
    ):
        talk.send_as_it_is(MessageKind.ERROR, payload)
    is_quiet = yield from talk.stays_quiet(talk.settings.quiet_ns)
    talk.judge(RULE, is_quiet, "a report after an error of others, or one without a number")
    if not is_quiet:
        return
    yield from _finish_answer(talk, model, report, answer)


FORGERIES: Final[tuple[Case, ...]] = (forged_parts, forged_notices, forged_errors)
"""The cases about signatures, each of which ends with a complete answer."""
