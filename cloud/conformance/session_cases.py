"""Cases about notices, budgets, errors and silence, and the order of all cases. Pure."""

from typing import Final

import msgspec

from cloud.conformance.connection_cases import CONNECTIONS
from cloud.conformance.conversation import (
    RESTART,
    SET_BUDGET,
    Case,
    ConformanceSettings,
    DeviceConversation,
    ExpectedState,
    SilentDeviceError,
    Steps,
)
from cloud.conformance.delta_cases import DELTAS
from cloud.conformance.refusal_cases import REFUSALS
from cloud.conformance.signature_cases import FORGERIES
from cloud.conformance.trial_model import TrialModel
from wire.errors import InputError
from wire.messages import PROTOCOL, encode
from wire.topics import MessageKind
from wire.units import NS_PER_S

SCOUT_BUDGET_BYTES: Final = 4096
"""The budget that the first model is made for: that of the device is not known yet."""
BEFORE_CAPABILITIES: Final = "1.0"
RETRY_S: Final = 2.0
"""The wait that an error answer asks for."""
EARLY: Final = 0.9
"""The share of a wait below which it counts as too short: a report is under way for some time, too."""
DRAWN: Final = 1.5
"""The longest wait in waits without what is drawn on top."""
BURST: Final = 4
"""Notices that come at once."""


def first_report(talk: DeviceConversation) -> Steps[None]:
    """Learn the device's budget from the report after the first notice (R8, R33)."""
    talk.say_protocol(BEFORE_CAPABILITIES)
    scout = talk.next_model(SCOUT_BUDGET_BYTES)
    talk.send(MessageKind.MODEL, encode(scout.notice()))
    report = yield from talk.next_report(talk.settings.start_ns)
    if report is None:
        talk.fail("R8", "no report came after the notice: is the device connected, with this name and fleet?")
        raise SilentDeviceError
    talk.verdicts.passed("R8")
    model, report = yield from talk.announce(model=talk.next_model(report.budget_bytes))
    talk.finish(model, report)
    yield from talk.stays_quiet(talk.settings.quiet_ns)
    talk.say_protocol(PROTOCOL)


def burst(talk: DeviceConversation) -> Steps[None]:
    """Report once for several notices that come at once (R4)."""
    models = [talk.next_model() for _ in range(BURST)]
    for model in models[:-1]:
        talk.send(MessageKind.MODEL, encode(model.notice()))
    model, report = yield from talk.announce(model=models[-1])
    is_quiet = yield from talk.stays_quiet(talk.settings.quiet_ns)
    talk.judge("R4", is_quiet, f"more than one report after {BURST} notices at once")
    if is_quiet:
        talk.finish(model, report)


def newer_notice(talk: DeviceConversation) -> Steps[None]:
    """Read a notice with a field that is not on the page (R28)."""
    model, report = yield from talk.announce(extra={"later_field": {"of": [1, 2]}})
    talk.finish(model, report)


def unknown_geometry(talk: DeviceConversation) -> Steps[None]:
    """Refuse a notice with a field or a codec in its geometry that is not on the page (R31)."""
    for change in ({"later_field": 1}, {"codec": "later_codec"}):
        notice = msgspec.to_builtins(talk.next_model().notice())
        notice["geometry"] |= change
        talk.send(MessageKind.MODEL, msgspec.json.encode(notice))
        is_quiet = yield from talk.stays_quiet(talk.settings.quiet_ns)
        talk.judge("R31", is_quiet, f"a report after a notice whose geometry has {change}")
    model, report = yield from talk.announce()
    talk.finish(model, report)


def growth_and_fall(talk: DeviceConversation) -> Steps[None]:
    """Report a budget that grows (R11), and drop blocks when it falls (R10)."""
    if not talk.settings.sets_budget:
        for rule in ("R10", "R11"):
            talk.verdicts.skip(rule, "the device's budget cannot be set: there is no --budget-command")
        return
    model, report = yield from talk.announce()
    budget, held = report.budget_bytes, model.target(report)
    talk.finish(model, report)
    yield from talk.stays_quiet(talk.settings.quiet_ns)
    talk.send(SET_BUDGET, b"%d" % (budget * 13 // 10))
    grown = yield from talk.next_report(2 * talk.settings.prompt_ns)
    is_grown = grown is not None and grown.budget_bytes > budget
    talk.judge("R11", is_grown, f"no report of a budget above {budget} B after it grew by 30 %")
    if grown is not None:
        talk.check_expected(grown)
        talk.finish(model, grown)
        held = model.target(grown)
        yield from talk.stays_quiet(talk.settings.quiet_ns)
    talk.send(SET_BUDGET, b"%d" % (budget // 2))
    yield from _judge_fall(talk, "R10", model, held)
    talk.send(SET_BUDGET, b"%d" % budget)
    restored = yield from talk.next_report(2 * talk.settings.prompt_ns)
    if restored is not None:
        talk.check_expected(restored)
        talk.finish(model, restored)
        yield from talk.stays_quiet(talk.settings.quiet_ns)
    talk.expected = None


def start_above_budget(talk: DeviceConversation) -> Steps[None]:
    """Start the device again with half of its budget (R15)."""
    if not talk.settings.restarts:
        talk.verdicts.skip("R15", "the device cannot be started again: there is no --restart-command")
        return
    model, report = yield from talk.announce()
    budget = report.budget_bytes
    talk.finish(model, report)
    yield from talk.stays_quiet(talk.settings.quiet_ns)
    talk.send(RESTART, b"%d" % (budget // 2))
    yield from _judge_fall(talk, "R15", model, model.target(report), may_forget=True)
    talk.send(RESTART, b"%d" % budget)
    again = yield from talk.next_report(talk.settings.start_ns)
    if again is not None:
        talk.finish(model, again)
        yield from talk.stays_quiet(talk.settings.quiet_ns)
    talk.expected = None


def _judge_fall(
    talk: DeviceConversation, rule: str, model: TrialModel, held: int, *, may_forget: bool = False
) -> Steps[None]:
    """Judge the report after the budget has fallen: whole layers within it are held, and confirm them."""
    talk.expected = None
    fallen = yield from talk.next_report(
        talk.settings.start_ns if may_forget else 2 * talk.settings.prompt_ns
    )
    if fallen is None:
        talk.fail(rule, "no report after the budget fell to half")
        return
    is_kept = fallen.model == model.version and fallen.held == min(held, model.target(fallen))
    is_kept |= may_forget and (fallen.model, fallen.held) == ("", 0)
    text = (
        f"it reports {fallen.held} blocks of {fallen.model!r} and a budget of {fallen.budget_bytes} B, into "
        f"which {model.target(fallen)} of {held} blocks fit"
    )
    talk.judge(rule, is_kept, text)
    talk.finish(model, fallen)
    yield from talk.stays_quiet(talk.settings.quiet_ns)


def error_retry(talk: DeviceConversation) -> Steps[None]:
    """Report again after the wait that an error asks for, not before (R32)."""
    model, report = yield from talk.announce()
    talk.send_error(report, "retry", RETRY_S)
    sent_ns = talk.now_ns
    wait_ns = int(RETRY_S * NS_PER_S)
    again = yield from talk.next_report(int(DRAWN * wait_ns) + talk.settings.prompt_ns)
    if again is None:
        talk.fail("R32", f"no report after an error with retry_after_s {RETRY_S:g}")
        return
    waited_s = (talk.report_ns - sent_ns) / NS_PER_S
    text = f"{waited_s:.2f} s from an error with retry_after_s {RETRY_S:g} to the next report"
    talk.judge("R32", waited_s >= EARLY * RETRY_S, text)
    talk.finish(model, again)


def error_restart(talk: DeviceConversation) -> Steps[None]:
    """Drop everything where an error asks for it (R32)."""
    model, report = yield from talk.announce()
    talk.send_error(report, "restart", 1.0)
    again = yield from talk.next_report(2 * NS_PER_S + talk.settings.prompt_ns)
    is_kept = again is not None and (again.model, again.held) == ("", 0)
    talk.judge("R32", is_kept, "no report with held 0 and no model after an error with remedy restart")
    if again is not None:
        talk.finish(model, again)


def error_wait(talk: DeviceConversation) -> Steps[None]:
    """Go on waiting for the answer where an error says that it comes later (R32)."""
    model, report = yield from talk.announce()
    talk.send_error(report, "wait", 1.0)
    is_quiet = yield from talk.stays_quiet(int(DRAWN * NS_PER_S) + talk.settings.quiet_ns)
    talk.judge("R32", is_quiet, "a report after an error with remedy wait, before the answer could come")
    if is_quiet:
        talk.finish(model, report)


def error_too_late(talk: DeviceConversation) -> Steps[None]:
    """Ignore an error to a report that has its complete answer (R32)."""
    model, report = yield from talk.announce()
    talk.finish(model, report)
    yield from talk.stays_quiet(talk.settings.quiet_ns)
    talk.send_error(report, "restart", 1.0)
    is_quiet = yield from talk.stays_quiet(2 * NS_PER_S + talk.settings.quiet_ns)
    talk.judge("R32", is_quiet, "a report after an error to a report that was answered")
    talk.expected = ExpectedState("R32", model.version, model.target(report))
    model, report = yield from talk.announce()
    talk.finish(model, report)


def silence(talk: DeviceConversation) -> Steps[None]:
    """Report again where no answer comes, after one wait and then after two (R13)."""
    model, report = yield from talk.announce()
    talk.expected = None
    sent_ns, wait_ns = talk.report_ns, talk.settings.silence_ns
    for number in (1, 2):
        again = yield from talk.next_report(int(DRAWN * wait_ns) + talk.settings.prompt_ns)
        if again is None:
            text = f"no report {number} within {(talk.now_ns - sent_ns) / NS_PER_S:.1f} s without an answer"
            talk.fail("R13", text)
            return
        waited_ns, sent_ns, report = talk.report_ns - sent_ns, talk.report_ns, again
        text = f"report {number} without an answer came after {waited_ns / NS_PER_S:.2f} s"
        talk.judge("R13", waited_ns >= EARLY * wait_ns, text)
        wait_ns *= 2
    talk.finish(model, report)


def last_state(talk: DeviceConversation) -> Steps[None]:
    """Read what the device holds after the last case."""
    yield from talk.announce()


CASES: Final[tuple[Case, ...]] = (
    first_report,
    burst,
    newer_notice,
    unknown_geometry,
    *REFUSALS,
    growth_and_fall,
    start_above_budget,
    *CONNECTIONS,
    error_retry,
    error_restart,
    error_wait,
    error_too_late,
    *FORGERIES,
    *DELTAS,
    silence,
    last_state,
)
"""All cases, in order."""


def check_settings(settings: ConformanceSettings) -> None:
    """Raise InputError if the times do not allow to tell reports at once from those for want of an answer."""
    least_ns = settings.prompt_ns + settings.quiet_ns
    if settings.silence_ns <= least_ns:
        raise InputError(
            f"--silence(={settings.silence_ns / NS_PER_S:g} s) must be above --prompt and --quiet together"
            f"(={least_ns / NS_PER_S:g} s)"
        )
