"""Cases about deltas between model versions, for devices that ask for them (R29). Pure."""

from typing import Final

from cloud.conformance.conversation import Case, DeviceConversation, ExpectedState, Steps
from cloud.conformance.trial_lineage import LineageModel, lineage_stores
from wire.messages import BudgetReport

RULE: Final = "R29"
WRONG: Final = (("leads to other blocks than its checksum says", 0), ("leads beyond its target", 1))
"""Deltas that are refused: what is wrong, and by how many blocks the target is too low."""


def deltas(talk: DeviceConversation) -> Steps[None]:
    """Take in a delta; refuse a wrong one, and then ask for blocks until they have come."""
    model, report = yield from talk.announce()
    talk.finish(model, report)
    if report.deltas is not True:
        talk.verdicts.skip(RULE, "the device does not ask for deltas")
        return
    stores = lineage_stores(report.budget_bytes)
    base = talk.named(lambda version: LineageModel(version, next(stores)))
    _, report = yield from talk.announce(model=base)
    talk.finish(base, report)
    for what, short in WRONG:
        later = talk.named(lambda version: LineageModel(version, next(stores)))
        asked = yield from asked_for_delta(talk, later)
        if asked is None:
            return
        talk.send_parts([later.delta(asked, base, short=short, wrong=not short)])
        talk.expected = ExpectedState(RULE, base.version, asked.held)
        again = yield from talk.next_report(talk.settings.prompt_ns)
        if again is None:
            talk.fail(RULE, f"no report at once after a delta that {what}")
            return
        talk.check_expected(again)
        talk.judge(RULE, again.deltas is not True, f"a report asks for a delta after one that {what}")
        talk.finish(later, again)
        base = later
    later = talk.named(lambda version: LineageModel(version, next(stores)))
    asked = yield from asked_for_delta(talk, later)
    if asked is None:
        return
    talk.send_parts(later.delta_answer(asked, base))
    talk.expected = ExpectedState(RULE, later.version, later.target(asked))
    model, report = yield from talk.announce()
    talk.finish(model, report)


def asked_for_delta(talk: DeviceConversation, later: LineageModel) -> Steps[BudgetReport | None]:
    """Announce a version, and return the report; None, and no verdict, if it asks for no delta."""
    _, report = yield from talk.announce(model=later)
    if report.deltas is True and report.held:
        return report
    talk.finish(later, report)
    return None


DELTAS: Final[tuple[Case, ...]] = (deltas,)
"""The cases about deltas."""
