"""Cases in which the device is killed, or its connection is cut. Pure."""

from typing import Final

from cloud.conformance.conversation import CUT, HEAL, KILL, RESTART, Case, DeviceConversation, Steps
from wire.units import NS_PER_S

EARLY: Final = 0.9
"""The share of a wait below which it counts as too short."""
ATTEMPTS: Final = 3
"""Attempts to connect that fail."""
LEAST_WAIT_S: Final = 0.25
"""The shortest wait before the first attempt: half of 0.5 s is drawn. It doubles with each attempt."""
LONGEST_WAIT_S: Final = 30.0


def killed(talk: DeviceConversation) -> Steps[None]:
    """Hear from the broker that the device is lost, when it was killed (R2)."""
    if not (talk.settings.kills and talk.settings.restarts):
        missing = "--restart-command" if talk.settings.kills else "--kill-command"
        talk.verdicts.skip("R2", f"the device cannot be killed and started again: there is no {missing}")
        return
    model, report = yield from talk.announce()
    talk.finish(model, report)
    yield from talk.stays_quiet(talk.settings.quiet_ns)
    talk.statuses.clear()
    talk.send(KILL, b"")
    end_ns = talk.now_ns + talk.settings.prompt_ns
    while not talk.statuses and talk.now_ns < end_ns:
        yield end_ns
    said = [(status.online, status.reason) for status in talk.statuses]
    is_will = said == [(False, "connection lost")]
    seen = f"its status is {said[0]}" if said else "no status came"
    talk.judge("R2", is_will, f"{seen} within {talk.settings.prompt_ns / NS_PER_S:g} s after it was killed")
    talk.send(RESTART, b"%d" % report.budget_bytes)
    again = yield from talk.next_report(talk.settings.start_ns)
    talk.expected = None
    if again is not None:
        talk.finish(model, again)
        yield from talk.stays_quiet(talk.settings.quiet_ns)
    talk.expected = None


def cut_off(talk: DeviceConversation) -> Steps[None]:
    """Connect again with longer and longer waits (R5), and report what was held before (R14)."""
    if not talk.settings.cuts:
        for rule in ("R5", "R14"):
            talk.verdicts.skip(rule, "the device's connection cannot be cut: there is no --proxy-port")
        return
    model, report = yield from talk.announce()
    held = model.target(report)
    talk.finish(model, report)
    yield from talk.stays_quiet(talk.settings.quiet_ns)
    talk.expected = None
    talk.attempts.clear()
    talk.send(CUT, b"")
    times = [talk.now_ns]
    for number in range(ATTEMPTS):
        end_ns = times[-1] + int(LONGEST_WAIT_S * NS_PER_S) + talk.settings.prompt_ns
        while len(talk.attempts) <= number and talk.now_ns < end_ns:
            yield end_ns
        if len(talk.attempts) <= number:
            talk.fail("R5", f"no attempt {number + 1} to connect within {LONGEST_WAIT_S:g} s")
            break
        times.append(talk.attempts[number])
        waited_s, least_s = (times[-1] - times[-2]) / NS_PER_S, LEAST_WAIT_S * 2**number
        text = f"{waited_s:.2f} s to attempt {number + 1} to connect: at least {least_s:g} s"
        talk.judge("R5", waited_s >= EARLY * least_s, text)
    talk.send(HEAL, b"")
    again = yield from talk.next_report(int(LONGEST_WAIT_S * NS_PER_S) + talk.settings.start_ns)
    if again is None:
        talk.fail("R14", "no report after the connection could be made again")
        return
    text = f"it held {held} blocks of {model.version!r}, and reports {again.held} of {again.model!r}"
    talk.judge("R14", (again.model, again.held) == (model.version, held), text)
    talk.finish(model, again)
    yield from talk.stays_quiet(talk.settings.quiet_ns)


CONNECTIONS: Final[tuple[Case, ...]] = (killed, cut_off)
"""The cases about the device's connection."""
