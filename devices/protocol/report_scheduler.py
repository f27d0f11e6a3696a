"""The scheduler of a device's reports: it decides when to report, report again, back off or give up.

A pure state machine: times are arguments, in nanoseconds. The emulated device (`devices.simulated`) and the
real device (`devices.standalone`) are its drivers. A driver calls a method for each event, then `poll`; if
`poll` returns a cause, the driver sends the agent's next report. It calls `poll` again at `next_deadline_ns`.
"""

from collections.abc import Callable
from enum import IntEnum
from typing import Final

from devices.protocol.agent import Agent, Receipt
from devices.protocol.report_policy import (
    MANY_REFUSALS,
    LastReport,
    ReportPolicy,
    error_wait_ns,
    next_report_ns,
    refusal_wait_ns,
    silence_wait_ns,
)
from wire.errors import Reason
from wire.messages import ErrorAnswer, Remedy
from wire.units import NS_PER_S

NEVER: Final = 2**63 - 1
"""Later than any time."""
CONTRADICTIONS: Final = (Reason.CONTENT, Reason.OUT_OF_RANGE)
"""Reasons to reject a part that does not fit the blocks that are held."""


class ReportCause(IntEnum):
    """The cause of a report."""

    START = 0  # the first report
    CHANGE = 1  # the budget changed
    RETRY = 2  # no complete answer came to the last report
    REJECTED = 3  # the last answer was damaged or had a gap
    RECONNECT = 4  # the device is connected again
    PERIODIC = 5  # the device has not reported for long
    MODEL = 6  # a new model version is offered
    USER = 7  # the device has a new user
    INTRODUCED = 8  # the layers of the ranking are known now, and the device asks for them


_APPLIED, _CONFIRMED = Receipt.APPLIED, Receipt.CONFIRMED  # looked up once: it takes as long as a call
_MISFIT, _REJECTED, _CHANGE = Receipt.MISFIT, Receipt.REJECTED, ReportCause.CHANGE


class ReportScheduler:
    """The scheduler of one device's reports.

    Args:
        agent: the protocol logic of the device.
        policy: the rules of its reports.
        draw: returns a number from 0 to 1, for waits.
        retry_ns: the time to wait for an answer; `NEVER` where the driver calls `on_no_answer` itself.
        silence_ns: that time, where the driver keeps it.
        silence_jitter: the share of the wait for an answer that is drawn on top of it.
        last_retry_ns: no report is repeated for a missing answer from then on.
        stop_ns: no periodic report is made from then on.
        model_settle_ns: the time from a new model version to the report that asks for it: notices that were
            missed come in a burst, and only the last one counts.
        model_known: whether a model version is known; before, a device cannot report.
    """

    __slots__ = (
        "_again_ns",
        "_agent",
        "_awaits_answer",
        "_blocked_ns",
        "_cause",
        "_change_ns",
        "_draw",
        "_errors",
        "_evicted_since_report",
        "_first_wait_ns",
        "_last",
        "_last_retry_ns",
        "_max_interval_ns",
        "_model_known",
        "_model_ns",
        "_model_settle_ns",
        "_online",
        "_periodic_ns",
        "_policy",
        "_refused",
        "_refused_held",
        "_reported_model",
        "_reports_every_change",
        "_resend_ns",
        "_retry_ns",
        "_silence_jitter",
        "_silence_ns",
        "_silent",
        "_stop_ns",
        "changed_ns",
        "model",
        "next_deadline_ns",
    )

    def __init__(
        self,
        agent: Agent,
        policy: ReportPolicy,
        draw: Callable[[], float],
        *,
        retry_ns: int = NEVER,
        silence_ns: int = 0,
        silence_jitter: float = 0.0,
        last_retry_ns: float = NEVER,
        stop_ns: int = NEVER,
        model_settle_ns: int = 0,
        model_known: bool = True,
    ) -> None:
        self.changed_ns = -1
        """The last change of the budget, the user or the offered model; -1 before the first."""
        self.model = ""
        """The model version that the device is to have; the driver sets it when it learns of it."""
        self.next_deadline_ns = NEVER
        """The next time at which a report may be due; in the past or now: call `poll`."""
        self._agent = agent
        self._policy = policy
        self._reports_every_change = policy.reports_every_change
        self._max_interval_ns = int(policy.publish.max_interval or 0)
        self._draw = draw
        self._retry_ns = retry_ns
        self._silence_jitter = silence_jitter
        self._first_wait_ns = silence_ns if retry_ns == NEVER else retry_ns
        self._silent = 0  # reports in a row without a complete answer in time
        self._resend_ns = NEVER
        self._last_retry_ns = last_retry_ns
        self._stop_ns = stop_ns
        self._model_settle_ns = model_settle_ns
        self._model_known = model_known
        self._online = False
        self._cause: ReportCause | None = None  # of a report that is due now
        self._change_ns = self._again_ns = self._model_ns = self._periodic_ns = self._silence_ns = NEVER
        self._awaits_answer = False
        self._evicted_since_report = False
        self._last = LastReport(0, 0)
        self._reported_model = ""
        self._refused, self._refused_held = 0, -1
        self._errors = 0
        self._blocked_ns = 0
        """No change of the budget is reported before: the cloud has answered by an error."""

    @property
    def awaits_answer(self) -> bool:
        """True while the last report has no complete answer."""
        return self._awaits_answer

    def on_budget(self, budget_bytes: int, now_ns: int) -> None:
        """Set the agent's budget; with local eviction, blocks beyond it are gone when this returns."""
        agent, policy = self._agent, self._policy
        before = agent.resident_bytes
        agent.set_budget(budget_bytes, policy.requested_bytes(budget_bytes))
        if agent.resident_bytes < before:
            self._evicted_since_report = True
        self.changed_ns = now_ns
        if not self._online or now_ns < self._blocked_ns:
            return
        if agent.shared and agent.model and agent.resident_bytes <= budget_bytes and not agent.missing():
            return  # no layer is missing; the broker, not the cloud, will answer when one is
        if self._reports_every_change or not agent.reported:
            self._cause, self.next_deadline_ns = _CHANGE, now_ns
            return
        due_ns = next_report_ns(
            policy,
            self._last,
            budget_bytes=budget_bytes,
            resident_bytes=agent.resident_bytes,
            now_ns=now_ns,
            evicted_since_report=self._evicted_since_report,
        )
        self._change_ns = NEVER if due_ns is None else due_ns
        self._find_deadline()

    def on_user(self, user: int, now_ns: int) -> None:
        """Give the agent another user."""
        self._agent.change_user(user)
        if self.changed_ns >= 0:
            self.changed_ns = now_ns
            if self._online:
                self._cause, self.next_deadline_ns = ReportCause.USER, now_ns

    def on_connected(self, now_ns: int) -> None:
        """Report: what was under way on an earlier connection may be lost."""
        self._online = True
        if self.changed_ns >= 0:
            self._cause, self.next_deadline_ns = ReportCause.RECONNECT, now_ns

    def on_disconnected(self) -> None:
        """Plan nothing until the next connection."""
        self._online = self._awaits_answer = False
        self._cause = None
        self._cancel_plans()

    def on_model(self, now_ns: int) -> None:
        """Ask for the version in `model`, unless the last report has asked for it."""
        if not self._model_known:
            self._model_known = True
            self._cause = None  # the first report waits, too, until the version is settled
        elif self.model == self._reported_model:
            self._model_ns = NEVER
            self._find_deadline()
            return
        if self._online and self.changed_ns >= 0:
            self.changed_ns = now_ns
            self._model_ns = now_ns + self._model_settle_ns
        self._find_deadline()

    def on_receipt(
        self, receipt: Receipt, now_ns: int, *, is_latest: bool = True, of_layers: bool = False
    ) -> None:
        """Decide on a part that the agent has received.

        Args:
            receipt: the result.
            now_ns: the time.
            is_latest: whether the part belongs to the answer to the last report.
            of_layers: whether that answer is made of shared layers.
        """
        if receipt is _APPLIED or receipt is _CONFIRMED:
            self._awaits_answer = False
            self._refused, self._refused_held = 0, -1
            self._errors = self._blocked_ns = self._silent = 0
            if self._again_ns != NEVER or self._silence_ns != NEVER or self._resend_ns != NEVER:
                self._again_ns = self._silence_ns = self._resend_ns = NEVER
                self._find_deadline()
            if self._agent.shared and not of_layers and self._agent.missing():
                self._cause, self.next_deadline_ns = ReportCause.INTRODUCED, now_ns
        elif receipt is _MISFIT:
            self._cause, self.next_deadline_ns = ReportCause.CHANGE, now_ns
        elif receipt is _REJECTED and is_latest:
            self._on_rejected(now_ns)

    def on_no_answer(self, seq: int, now_ns: int) -> None:
        """Repeat report *seq* if it is the last one: no complete answer came within the first wait.

        It is repeated at once after the first such report, but for what is drawn, and ever later after more.
        """
        if seq != self._agent.seq or not self._online or not now_ns < self._last_retry_ns:
            return
        if self._again_ns != NEVER:
            return  # the device waits on purpose
        self._silent += 1
        wait_ns = silence_wait_ns(self._silent, self._first_wait_ns)
        if self._silence_jitter:
            wait_ns += int(wait_ns * self._silence_jitter * self._draw())
        if wait_ns > self._first_wait_ns:
            self._resend_ns = now_ns + wait_ns - self._first_wait_ns
            self._find_deadline()
        else:
            self._cause, self.next_deadline_ns = ReportCause.RETRY, now_ns

    def on_error(self, error: ErrorAnswer, now_ns: int) -> bool:
        """Wait as an error to the last report asks for; return whether it was one to that.

        Until the wait is over no change of the budget is reported; a new connection, model or user is.
        """
        agent = self._agent
        # A signed error without a number could be an old one, passed on again.
        numbers = (0, agent.seq) if agent.verify is None else (agent.seq,)
        if error.seq not in numbers or not self._awaits_answer:
            return False
        if error.remedy == Remedy.WAIT:
            if self._silence_ns != NEVER:
                self._silence_ns = now_ns + int(error.retry_after_s * NS_PER_S) + self._retry_ns
                self._find_deadline()
            return True
        if error.remedy == Remedy.RESTART:
            agent.forget()
        self._errors += 1
        self._cause = None
        self._cancel_plans()
        self._again_ns = self._blocked_ns = now_ns + error_wait_ns(
            self._errors, error.retry_after_s, self._draw()
        )
        self._find_deadline()
        return True

    def poll(self, now_ns: int) -> ReportCause | None:
        """Return the cause of a report that is due, None if none is; the driver must send that report."""
        if self._cause is None:
            self._check_deadlines(now_ns)
        if self._cause is None or not self._model_known:
            if not self._model_known:
                self.next_deadline_ns = NEVER
            return None
        agent = self._agent
        cause = self._cause if agent.reported else ReportCause.START
        self._cause = None
        self._awaits_answer, self._evicted_since_report = True, False
        self._reported_model = self.model
        self._blocked_ns = 0
        if self._reports_every_change and not self._max_interval_ns and self._retry_ns == NEVER:
            self._change_ns = self._again_ns = self._model_ns = self._resend_ns = NEVER
            self.next_deadline_ns = NEVER
            return cause
        self._cancel_plans()
        self._last = LastReport(agent.requested_bytes, now_ns)
        if self._max_interval_ns and now_ns < self._stop_ns:
            self._periodic_ns = now_ns + self._max_interval_ns
        if self._retry_ns != NEVER:
            self._silence_ns = now_ns + self._retry_ns
        self._find_deadline()
        return cause

    def _on_rejected(self, now_ns: int) -> None:
        """Ask again; later and later where answers are rejected one after another and none brings a block."""
        agent = self._agent
        if not self._awaits_answer or self._again_ns != NEVER:
            return  # nothing is missing, or this answer is counted already
        if agent.rejected is Reason.SIGNATURE:
            return  # it is not from the cloud, whose answer is still to come
        if agent.held > self._refused_held:
            self._refused = 0
        self._refused, self._refused_held = self._refused + 1, agent.held
        if self._refused < MANY_REFUSALS:
            self._cause, self.next_deadline_ns = ReportCause.REJECTED, now_ns
            return
        if agent.model and agent.rejected in CONTRADICTIONS:
            agent.forget()  # a block that is held must be wrong, not every answer: ask for all of them
            self._refused_held = 0
        self._again_ns = now_ns + refusal_wait_ns(self._refused, self._draw())
        self._find_deadline()

    def _check_deadlines(self, now_ns: int) -> None:
        """Set the cause of the report whose time has come, if there is one."""
        if now_ns >= self._change_ns:
            self._cause = ReportCause.CHANGE
        elif now_ns >= self._again_ns:
            self._cause = ReportCause.RETRY if self._blocked_ns else ReportCause.REJECTED
        elif now_ns >= self._model_ns:
            self._cause = ReportCause.MODEL
        elif now_ns >= self._silence_ns:
            self._silence_ns = NEVER
            self._find_deadline()
            self.on_no_answer(self._agent.seq, now_ns)
        elif now_ns >= self._resend_ns:
            self._resend_ns = NEVER
            self._find_deadline()
            if now_ns < self._last_retry_ns:
                self._cause = ReportCause.RETRY
        elif now_ns >= self._periodic_ns:
            self._periodic_ns = NEVER
            self._find_deadline()
            if now_ns < self._stop_ns:
                self._cause = ReportCause.PERIODIC

    def _cancel_plans(self) -> None:
        self._blocked_ns = 0
        self._change_ns = self._again_ns = self._model_ns = self._periodic_ns = self._silence_ns = NEVER
        self._resend_ns = self.next_deadline_ns = NEVER

    def _find_deadline(self) -> None:
        """Set the next deadline; a report that is due already keeps the one it has."""
        if self._cause is None:
            self.next_deadline_ns = min(
                self._change_ns,
                self._again_ns,
                self._model_ns,
                self._periodic_ns,
                self._silence_ns,
                self._resend_ns,
            )
