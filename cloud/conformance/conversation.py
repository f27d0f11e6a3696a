"""A cloud that follows a script, against one device. Pure: messages and times go in, messages come out.

A *case* is a generator. It sends by methods of `DeviceConversation`, and yields the time until which it
waits; it goes on when a message has come or the time is there.
"""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from cloud.conformance.trial_model import FITTING, TrialModel
from cloud.conformance.verdicts import ConformanceVerdicts, LoggedMessage
from wire.errors import RemoteProtocolError
from wire.messages import PROTOCOL, BudgetReport, CloudStatus, ErrorAnswer, Status, decode, encode
from wire.signatures import Sign, sign_json, sign_part
from wire.topics import MessageKind
from wire.units import NS_PER_S
from wire.update_part import decode_part

Result = TypeVar("Result")
Model = TypeVar("Model", bound=TrialModel)
Steps = Generator[int, None, Result]
Case = Callable[["DeviceConversation"], Steps[None]]

SET_BUDGET, RESTART, KILL = "set-budget", "restart", "kill"
"""Orders to the device's owner; the payload is the budget in bytes, as text, or empty."""
CUT, HEAL = "cut", "heal"
"""Orders to the proxy between the device and its broker."""
MOST_SHOWN: Final = 40
"""Messages that are shown of a rule that failed: the last ones."""


@dataclass(frozen=True)
class ConformanceSettings:
    """Times that a device may take, in nanoseconds, and what its owner can do."""

    prompt_ns: int = 5 * NS_PER_S
    """A device that reports at once does so within this time."""
    quiet_ns: int = 2 * NS_PER_S
    """A device that does nothing is looked at for this time."""
    silence_ns: int = 30 * NS_PER_S
    """The time that the device first waits for an answer, without what it draws on top."""
    start_ns: int = 60 * NS_PER_S
    """The first report comes within this time."""
    sets_budget: bool = False
    """True if the owner's command can set the budget."""
    restarts: bool = False
    """True if the owner's command can start the device again with another budget."""
    kills: bool = False
    """True if the owner's command can kill the device, so that it cannot say goodbye."""
    cuts: bool = False
    """True if the device connects through a proxy that can cut its connection."""


@dataclass(frozen=True)
class TrialSignatures:
    """Signatures of the test's messages, for a device that has the public key."""

    sign: Sign
    other: Sign
    """Signs with a key that the device does not have."""
    topic: Callable[[MessageKind], str]
    """Returns the topic of a message to the device."""

    def right(self, kind: MessageKind, payload: bytes) -> bytes:
        """Return a message as the cloud signs it."""
        return self._signed(kind, payload, self.topic(kind), self.sign)

    def wrong(self, kind: MessageKind, payload: bytes) -> list[bytes]:
        """Return a message without a signature, with another key's, and with that for another topic."""
        topic = self.topic(kind)
        return [
            payload,
            self._signed(kind, payload, topic, self.other),
            self._signed(kind, payload, f"{topic}s", self.sign),
        ]

    def _signed(self, kind: MessageKind, payload: bytes, topic: str, sign: Sign) -> bytes:
        if kind is not MessageKind.PEE:
            return sign_json(payload, topic, sign)
        try:
            decode_part(payload)
        except RemoteProtocolError:  # a case sends what is damaged: with a new checksum it would not be
            return payload
        return sign_part(payload, topic, sign)


SIGNED: Final = (MessageKind.MODEL, MessageKind.PEE, MessageKind.ERROR)
"""The kinds of messages that a cloud signs."""


class Order(NamedTuple):
    """Something for the driver to do: publish a message of a kind, or one of the orders above."""

    kind: str
    payload: bytes


class SilentDeviceError(Exception):
    """The device did not report where it had to: the case cannot go on."""


class ExpectedState(NamedTuple):
    """The state that the next report must tell, and the rule that says so."""

    rule: str
    model: str
    held: int


class DeviceConversation:
    """The state of a test: the device's reports, the orders that wait, the verdicts.

    Args:
        settings: times and abilities.
        prefix: begins the names of the model versions; new for each test, since equal names mean equal bytes.
        signatures: sign the messages; None: they are not signed.
    """

    def __init__(
        self, settings: ConformanceSettings, prefix: str, signatures: TrialSignatures | None = None
    ) -> None:
        self.settings = settings
        self.signatures = signatures
        self.verdicts = ConformanceVerdicts()
        self.now_ns = 0
        self.report_ns = 0
        """The time of the report that was returned last."""
        self.expected: ExpectedState | None = None
        self.budget_bytes = 0
        """The budget of the last report."""
        self.statuses: list[Status] = []
        """The statuses that the device has said, or the broker for it."""
        self.attempts: list[int] = []
        """The times at which the device has connected to the proxy, or tried to."""
        self._orders: list[Order] = []
        self._reports: deque[tuple[int, BudgetReport]] = deque()
        self._log: list[LoggedMessage] = []
        self._prefix, self._number = prefix, 0
        self._last_seq = 0
        self._models: dict[str, TrialModel] = {}
        self._model_budget = 0
        self._capabilities_known = False

    def on_message(self, kind: MessageKind, payload: bytes, now_ns: int) -> None:
        """Take in a message of the device."""
        self.now_ns = now_ns
        self._log.append(LoggedMessage(now_ns, "device", kind.value, payload))
        try:
            if kind is MessageKind.STATUS and payload:
                self.statuses.append(decode(payload, Status))
                if self.statuses[-1].online:
                    self.verdicts.passed("R3")
            elif kind is MessageKind.BUDGET:
                self._on_report(decode(payload, BudgetReport))
        except RemoteProtocolError as error:
            self.fail("R28", f"a {kind.value} message is refused: {error}")

    def on_attempt(self, now_ns: int) -> None:
        """Learn that the device connects."""
        self.now_ns = now_ns
        self.attempts.append(now_ns)

    def take_orders(self) -> list[Order]:
        """Return the orders that are to be carried out now, in their order."""
        orders, self._orders = self._orders, []
        return orders

    def send(self, kind: str, payload: bytes) -> None:
        """Give an order; a message is signed, if there is a key."""
        if self.signatures is not None and kind in SIGNED:
            payload = self.signatures.right(MessageKind(kind), payload)
        self.send_as_it_is(kind, payload)

    def send_as_it_is(self, kind: str, payload: bytes) -> None:
        """Give an order whose message has the signature that it has, or none."""
        self._log.append(LoggedMessage(self.now_ns, "cloud", kind, payload))
        self._orders.append(Order(kind, payload))

    def send_parts(self, parts: Sequence[bytes]) -> None:
        """Send update parts."""
        for part in parts:
            self.send(MessageKind.PEE, part)

    def send_error(self, report: BudgetReport, remedy: str, retry_after_s: float) -> None:
        """Send an error answer to *report*."""
        error = ErrorAnswer(
            seq=report.seq,
            reason="internal_error",
            text="a test",
            remedy=remedy,
            retry_after_s=retry_after_s,
        )
        self.send(MessageKind.ERROR, encode(error))

    def say_protocol(self, protocol: str) -> None:
        """Publish the status of a cloud of that version of the protocol."""
        self._capabilities_known = protocol == PROTOCOL
        self.send(MessageKind.CLOUD, encode(CloudStatus(online=True, reason="start", protocol=protocol)))

    def next_model(self, budget_bytes: int | None = None, *, fitting: int = FITTING) -> TrialModel:
        """Return a new model version for the device's budget, into which *fitting* blocks fit."""
        budget_bytes = self._model_budget = budget_bytes or self._model_budget
        return self.named(lambda version: TrialModel(version, budget_bytes, fitting))

    def named(self, make: Callable[[str], Model]) -> Model:
        """Return the model version that *make* returns for a new name; it is not announced."""
        self._number += 1
        model = make(f"{self._prefix}-{self._number}")
        self._models[model.version] = model
        return model

    def announce(
        self, *, model: TrialModel | None = None, extra: dict[str, Any] | None = None
    ) -> Steps[tuple[TrialModel, BudgetReport]]:
        """Announce a model version, and return it and the device's report.

        Args:
            model: the version; None: a new one.
            extra: further fields of the notice.

        Raises:
            SilentDeviceError: the device does not report.
        """
        model = model or self.next_model()
        self._reports.clear()
        fields = {**msgspec.to_builtins(model.notice()), **(extra or {})}
        self.send(MessageKind.MODEL, msgspec.json.encode(fields))
        report = yield from self.next_report(self.settings.prompt_ns)
        if report is None:
            self.fail("R28" if extra else "R9", f"no report after the notice of {model.version}")
            raise SilentDeviceError
        self.verdicts.passed("R9")
        self.check_expected(report)
        model.check_fits(report)
        return model, report

    def next_report(self, within_ns: int) -> Steps[BudgetReport | None]:
        """Return the next report of the device, None if none comes in time."""
        end_ns = self.now_ns + within_ns
        while not self._reports and self.now_ns < end_ns:
            yield end_ns
        if not self._reports:
            return None
        self.report_ns, report = self._reports.popleft()
        return report

    def stays_quiet(self, for_ns: int) -> Steps[bool]:
        """Wait, and return whether the device reports nothing meanwhile."""
        end_ns = self.now_ns + for_ns
        while self.now_ns < end_ns:
            yield end_ns
        return not self._reports

    def finish(self, model: TrialModel, report: BudgetReport, rule: str = "R26") -> None:
        """Answer *report* completely; the next report must say so, or *rule* fails."""
        self.send_parts(model.answer(report))
        self.expected = ExpectedState(rule, model.version, model.target(report))

    def check_expected(self, report: BudgetReport) -> None:
        """Judge the state that a report tells by the one that is expected."""
        expected, self.expected = self.expected, None
        if expected is None:
            return
        rule, model, held = expected
        is_kept = (report.model, report.held) == (model, held)
        text = f"it must hold {held} blocks of {model!r}, and reports {report.held} of {report.model!r}"
        self.judge(rule, is_kept, text)

    def judge(self, rule: str, is_kept: bool, text: str) -> None:
        """Note whether a rule was kept; *text* says what was seen if not."""
        if is_kept:
            self.verdicts.passed(rule)
        else:
            self.fail(rule, text)

    def fail(self, rule: str, text: str) -> None:
        """Note that a rule was broken, with the messages of this case."""
        self.verdicts.fail(rule, text, [message.line() for message in self._log[-MOST_SHOWN:]])

    def begin_case(self) -> None:
        """Forget the messages of the case before."""
        self._log = self._log[-2:]

    def _on_report(self, report: BudgetReport) -> None:
        """Judge what holds for every report, and keep it for the case."""
        self.verdicts.passed("R28")
        self.judge(
            "R6", report.seq > self._last_seq, f"report {report.seq} came after report {self._last_seq}"
        )
        self._last_seq = report.seq
        if not self._capabilities_known:
            names = [name for name in ("max_part", "codecs") if getattr(report, name) is not msgspec.UNSET]
            self.judge("R33", not names, f"a cloud of protocol 1.0 is there, and a report has {names}")
        model = self._models.get(report.model)
        if model is not None and report.held <= model.layers.blocks[-1]:
            held_bytes = model.held_bytes(report.held)
            text = f"it holds {held_bytes} bytes, and its budget is {report.budget_bytes}"
            self.judge("R27", held_bytes <= report.budget_bytes, text)
        self.budget_bytes = report.budget_bytes
        self._reports.append((self.now_ns, report))


class ConformanceTest:
    """All cases, one after the other, against one device.

    Args:
        conversation: the state.
        cases: the cases.
    """

    def __init__(self, conversation: DeviceConversation, cases: Sequence[Case]) -> None:
        self.conversation = conversation
        self.deadline_ns: int | None = 0
        """The next time at which `advance` is to be called, at the latest; None: the test is over."""
        self._steps = self._play(cases)

    def advance(self, now_ns: int) -> list[Order]:
        """Go on at *now_ns*, after messages have come or at the deadline; return what is to be done."""
        self.conversation.now_ns = now_ns
        self.deadline_ns = next(self._steps, None)
        return self.conversation.take_orders()

    def _play(self, cases: Sequence[Case]) -> Steps[None]:
        for case in cases:
            self.conversation.begin_case()
            try:
                yield from case(self.conversation)
            except SilentDeviceError:
                self.conversation.expected = None
                if {"R8", "R9"} & set(self.conversation.verdicts.failed):
                    self.conversation.verdicts.end_early()
                    return  # without reports nothing more can be seen
