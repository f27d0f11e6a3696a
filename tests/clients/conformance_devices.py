"""Devices, right and faulty ones, that are tested with `cloud.conformance` back to back in virtual time."""

import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.conformance.conversation import (
    CUT,
    HEAL,
    KILL,
    RESTART,
    SET_BUDGET,
    ConformanceSettings,
    ConformanceTest,
    DeviceConversation,
    TrialSignatures,
)
from cloud.conformance.session_cases import CASES
from cloud.conformance.verdicts import ConformanceVerdicts
from devices.protocol.agent import Agent, Receipt
from devices.protocol.block_prefix import BlockCache
from devices.protocol.capabilities import DeviceCapabilities
from devices.standalone.pee_holder import PeeHolder
from devices.standalone.settings import DeviceSettings
from wire.errors import Reason, RemoteProtocolError
from wire.messages import (
    BudgetReport,
    CloudStatus,
    ErrorAnswer,
    ModelNotice,
    Status,
    decode,
    encode,
)
from wire.mqtt.backoff import Backoff
from wire.mqtt.client import device_will
from wire.signatures import check_json
from wire.topics import MessageKind
from wire.units import NS_PER_S
from wire.update_part import Layout, build_body, decode_part, encode_part, peek

PAGES = Path(__file__).parents[2] / "docs"
BUDGET = 4000
KEY, OTHER_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)) for number in (1, 2))
STEP_NS = 1_000_000
"""Time from a message to what comes of it."""


class FaultlessDevice:
    """Our device core, with the ends of a cable in place of its connection."""

    agent_class: type[Agent] = Agent
    holder_class: type[PeeHolder] = PeeHolder
    retry_s = 30.0

    def __init__(
        self, *, group: int | None = None, max_part: int = 0, has_key: bool = False, deltas: bool = False
    ) -> None:
        self.verify = verify if has_key else None
        self.statuses: list[bytes] = []
        """Statuses that the broker has of it, to be delivered."""
        self.is_cut = False
        self.backoff = Backoff(lambda: 0.0)
        self.attempt_ns = 2**63 - 1
        """The time of the next attempt to connect."""
        cache = self.cache = BlockCache()
        user = 3 if group is None else None
        settings = DeviceSettings("lab", "phone-1", user, group, retry_s=self.retry_s)
        self.agent = self.agent_class(
            user or 0,
            cache,
            group=group,
            seq=100,
            capabilities=DeviceCapabilities(max_part_bytes=max_part) if max_part else None,
            verify=self.verify,
            deltas=deltas,
        )
        self.holder = self.holder_class(settings, cache, self.agent, None, random.Random(17).random)
        self.holder.set_budget(BUDGET, 0)
        self.holder.on_connected(0)

    @property
    def next_deadline_ns(self) -> int:
        """The next time at which a report may be due."""
        return min(self.holder.next_deadline_ns, self.attempt_ns)

    def lose_connection(self, now_ns: int) -> None:
        """Live without a connection, and try to connect again."""
        self.is_cut = True
        self.holder.on_disconnected()
        self.backoff.ended(3600.0)
        self.attempt_ns = now_ns + self.wait_ns()

    def wait_ns(self) -> int:
        """Return the wait before the next attempt to connect."""
        return int(self.backoff.wait_s() * 1e9)

    def attempt(self, now_ns: int) -> None:
        """Try to connect."""
        if self.is_cut:
            self.backoff.ended(None)
            self.attempt_ns = now_ns + self.wait_ns()
        else:
            self.attempt_ns = 2**63 - 1
            self.holder.on_connected(now_ns)

    def receive(self, kind: str, payload: bytes, now_ns: int) -> None:
        """Take in a message of the cloud."""
        try:
            if kind == MessageKind.PEE:
                self.holder.on_part(payload, now_ns, topic(MessageKind.PEE))
            elif kind == MessageKind.MODEL and not payload:
                self.on_empty_notice(now_ns)
            elif kind == MessageKind.MODEL:
                self.on_notice(check_json(payload, topic(MessageKind.MODEL), self.verify), now_ns)
            elif kind == MessageKind.ERROR:
                self.on_error(check_json(payload, topic(MessageKind.ERROR), self.verify), now_ns)
            elif kind == MessageKind.CLOUD:
                self.holder.on_cloud_status("conformance", decode(payload, CloudStatus))
        except RemoteProtocolError:
            pass

    def obey(self, kind: str, payload: bytes, now_ns: int) -> None:
        """Carry out an order of the test: a message to take in, or the owner's command."""
        if kind == SET_BUDGET:
            self.set_budget(int(payload), now_ns)
        elif kind == RESTART:
            self.restart(int(payload), now_ns)
        elif kind == KILL:
            self.kill()
        elif kind == CUT:
            self.lose_connection(now_ns)
        elif kind == HEAL:
            self.is_cut = False
        else:
            self.receive(kind, payload, now_ns)

    def on_notice(self, payload: bytes, now_ns: int) -> None:
        """Take in a model notice."""
        self.holder.on_notice(decode(payload, ModelNotice), now_ns)

    def on_empty_notice(self, now_ns: int) -> None:
        """Ignore that the broker's notice is cleared."""

    def on_error(self, payload: bytes, now_ns: int) -> None:
        """Take in an error."""
        self.holder.on_error(decode(payload, ErrorAnswer), now_ns)

    def set_budget(self, budget_bytes: int, now_ns: int) -> None:
        """Do what the owner's command does."""
        self.holder.set_budget(budget_bytes, now_ns)

    def restart(self, budget_bytes: int, now_ns: int) -> None:
        """Begin again with what was kept, as after a start."""
        self.holder.on_disconnected()
        self.holder.set_budget(budget_bytes, now_ns)
        self.holder.on_connected(now_ns)

    def kill(self) -> None:
        """Lose the connection: the broker publishes the last will."""
        self.holder.on_disconnected()
        self.statuses.append(device_will("")[1])

    def reports(self, now_ns: int) -> list[bytes]:
        """Return the reports that are due."""
        due = self.holder.next_report(now_ns)
        return [] if due is None else [due[1]]


def topic(kind: MessageKind) -> str:
    """Return the topic of a message to the device."""
    return f"peel/1/lab/phone-1/{kind}"


def verify(signature: bytes, covered: bytes) -> bool:
    """Know the cloud's key: Ed25519 gives one signature for one text."""
    return signature == KEY.sign(covered)


def relabelled(payload: bytes, change: Callable[[Layout], dict[str, Any]]) -> bytes:
    """Return an undamaged part with other fields in its header; a damaged one as it is."""
    try:
        part = decode_part(payload)
    except RemoteProtocolError:
        return payload
    fields = {
        name: getattr(part.layout, name) for name in ("model", "group", "first", "target", "part", "parts")
    }
    tensors = {name: part.tensor(name) for name in part.layout.spans}
    return encode_part(build_body(**{**fields, **change(part.layout)}, tensors=tensors), part.seq)


class StaleTakingAgent(Agent):
    """Takes in answers to whichever report."""

    def receive(self, payload: bytes, topic: str = "") -> Receipt:
        try:
            number = peek(payload)[0]
        except RemoteProtocolError:
            number = self.seq
        last, self.seq = self.seq, number
        try:
            return super().receive(payload, topic)
        finally:
            self.seq = last


class StaleTakingDevice(FaultlessDevice):
    agent_class = StaleTakingAgent


class OverBudgetDevice(FaultlessDevice):
    """Keeps its blocks when its budget falls, until the cloud says so."""

    def set_budget(self, budget_bytes: int, now_ns: int) -> None:
        self.agent.local_eviction = False
        super().set_budget(budget_bytes, now_ns)


class DamageTakingAgent(Agent):
    """Takes in parts with a wrong checksum."""

    def receive(self, payload: bytes, topic: str = "") -> Receipt:
        start = 8 + int.from_bytes(payload[:8], "little")
        header, data = payload[8:start], payload[start:]
        checksum = zlib.crc32(header[:26] + b"00000000" + header[34:], zlib.crc32(data))
        return super().receive(payload[:34] + b"%08x" % checksum + payload[42:], topic)


class DamageTakingDevice(FaultlessDevice):
    agent_class = DamageTakingAgent


class GapTakingAgent(Agent):
    """Appends a part wherever it belongs."""

    def receive(self, payload: bytes, topic: str = "") -> Receipt:
        return super().receive(relabelled(payload, lambda part: {"first": min(part.first, self.held)}), topic)


class GapTakingDevice(FaultlessDevice):
    agent_class = GapTakingAgent


class SatisfiedDevice(FaultlessDevice):
    """Never reports that its budget has grown."""

    def set_budget(self, budget_bytes: int, now_ns: int) -> None:
        if budget_bytes > self.agent.budget_bytes:
            self.agent.set_budget(budget_bytes)
        else:
            super().set_budget(budget_bytes, now_ns)


class RepeatingAgent(Agent):
    """Gives each second report the number of the one before."""

    def next_report(self) -> BudgetReport:
        report = super().next_report()
        if report.seq % 2:
            return report
        self.seq -= 1
        return msgspec.structs.replace(report, seq=self.seq)


class RepeatingDevice(FaultlessDevice):
    agent_class = RepeatingAgent


class NoticeIgnoringDevice(FaultlessDevice):
    """Asks for the first versions that it hears of, and for no later one."""

    heard = 0

    def on_notice(self, payload: bytes, now_ns: int) -> None:
        self.heard += 1
        if self.heard <= 12:
            super().on_notice(payload, now_ns)
        else:
            self.cache.announce(decode(payload, ModelNotice))


class ImpatientDevice(FaultlessDevice):
    """Waits for an answer for less than the rule says."""

    retry_s = 8.0


class ResignedDevice(FaultlessDevice):
    """Reports only once, however long no answer comes."""

    retry_s = 4000.0


class HoardingAgent(Agent):
    """Keeps blocks beyond the target of an answer."""

    def receive(self, payload: bytes, topic: str = "") -> Receipt:
        return super().receive(
            relabelled(payload, lambda part: {"target": self.held} if self._keeps(part) else {}), topic
        )

    def _keeps(self, part: Layout) -> bool:
        return not part.blocks and not part.introduces and part.target < self.held


class HoardingDevice(FaultlessDevice):
    agent_class = HoardingAgent


class GroupMixingAgent(Agent):
    """Takes in parts of other users' groups."""

    def receive(self, payload: bytes, topic: str = "") -> Receipt:
        return super().receive(
            relabelled(payload, lambda part: {} if part.introduces else {"group": self.group}), topic
        )


class GroupMixingDevice(FaultlessDevice):
    agent_class = GroupMixingAgent


class RestlessDevice(FaultlessDevice):
    """Asks again at once however many answers were refused."""

    def receive(self, kind: str, payload: bytes, now_ns: int) -> None:
        super().receive(kind, payload, now_ns)
        if kind == MessageKind.PEE and self.agent.rejected is not None:
            self.agent.rejected = None
            self.holder.on_connected(now_ns)


class ErrorIgnoringDevice(FaultlessDevice):
    """Reports at once after an error, whatever the error asks for."""

    def receive(self, kind: str, payload: bytes, now_ns: int) -> None:
        if kind == MessageKind.ERROR:
            self.holder.on_connected(now_ns)
        else:
            super().receive(kind, payload, now_ns)


class WaitIgnoringDevice(FaultlessDevice):
    """Reports again after an error that says that the answer comes later."""

    def receive(self, kind: str, payload: bytes, now_ns: int) -> None:
        super().receive(kind, payload.replace(b'"remedy":"wait"', b'"remedy":"retry"'), now_ns)


class StrictDevice(FaultlessDevice):
    """Refuses a notice with a field that it does not know."""

    def on_notice(self, payload: bytes, now_ns: int) -> None:
        if b"later_field" not in payload:
            super().on_notice(payload, now_ns)


class TrustingDevice(FaultlessDevice):
    """Takes in a notice whose geometry it cannot know."""

    def on_notice(self, payload: bytes, now_ns: int) -> None:
        fields = msgspec.json.decode(payload)
        fields["geometry"].pop("later_field", None)
        super().on_notice(msgspec.json.encode(fields), now_ns)


class TalkativeDevice(FaultlessDevice):
    """Names its capabilities to every cloud."""

    def reports(self, now_ns: int) -> list[bytes]:
        self.agent.names_capabilities = True
        return super().reports(now_ns)


class HastyDevice(FaultlessDevice):
    """Reports for each notice of a burst."""

    def on_notice(self, payload: bytes, now_ns: int) -> None:
        super().on_notice(payload, now_ns)
        self.holder.on_connected(now_ns)


class WillLessDevice(FaultlessDevice):
    """Connects without a last will."""

    def kill(self) -> None:
        self.holder.on_disconnected()


class EagerDevice(FaultlessDevice):
    """Tries to connect ten times a second."""

    def wait_ns(self) -> int:
        return NS_PER_S // 10


class LosingDevice(FaultlessDevice):
    """Forgets what it holds when its connection breaks."""

    def lose_connection(self, now_ns: int) -> None:
        super().lose_connection(now_ns)
        self.agent.forget()


class LimitlessDevice(FaultlessDevice):
    """Takes in parts of any size, though it has named a largest one."""

    def __init__(self) -> None:
        super().__init__(max_part=4096)
        self.agent.capabilities = NamedCapabilities(max_part_bytes=4096)


class NamedCapabilities(DeviceCapabilities):
    """Capabilities that are told, and not kept to."""

    def check_size(self, part_bytes: int) -> None:
        pass


class ForgetfulDevice(FaultlessDevice):
    """Reads the blocks of each version by the last notice."""

    def on_notice(self, payload: bytes, now_ns: int) -> None:
        super().on_notice(payload, now_ns)
        if self.agent.prefix is not None and self.holder.notice is not None:
            self.agent.prefix.geometry = self.holder.notice.geometry


class EmptyNoticeDevice(FaultlessDevice):
    """Reports when the broker's notice is cleared."""

    def on_empty_notice(self, now_ns: int) -> None:
        self.holder.on_connected(now_ns)


class DroppingAgent(Agent):
    """Drops what it holds for an introduction, before it has looked at all of that."""

    def receive(self, payload: bytes, topic: str = "") -> Receipt:
        try:
            seq, part = peek(payload)
        except RemoteProtocolError:
            return super().receive(payload, topic)
        if (
            part.introduces
            and seq == self.seq
            and self._cache.notice(part.model)
            and self.model != part.model
        ):
            self.forget()
        return super().receive(payload, topic)


class DroppingDevice(FaultlessDevice):
    agent_class = DroppingAgent


class DisorderlyDevice(FaultlessDevice):
    """Looks at the blocks of a part before its number."""

    def receive(self, kind: str, payload: bytes, now_ns: int) -> None:
        super().receive(kind, payload, now_ns)
        if kind == MessageKind.PEE:
            try:
                part = decode_part(payload)
            except RemoteProtocolError:
                return
            if part.seq != self.agent.seq and part.layout.first > self.agent.held:
                self.holder.on_connected(now_ns)


class PersistentAgent(Agent):
    """Asks for a delta again, though the last one was refused."""

    def next_report(self) -> BudgetReport:
        self._wants_blocks = False
        return super().next_report()


class PersistentDevice(FaultlessDevice):
    agent_class = PersistentAgent

    def __init__(self) -> None:
        super().__init__(deltas=True)


class KeylessDevice(FaultlessDevice):
    """Takes in what anybody sends, though it has a key."""

    def __init__(self) -> None:
        super().__init__(has_key=True)
        self.verify = self.agent.verify = None


class SignatureReportingDevice(FaultlessDevice):
    """Refuses a part that is not signed, and reports at once, as for a damaged one."""

    def __init__(self) -> None:
        super().__init__(has_key=True)

    def receive(self, kind: str, payload: bytes, now_ns: int) -> None:
        super().receive(kind, payload, now_ns)
        if kind == MessageKind.PEE and self.agent.rejected is Reason.SIGNATURE:
            self.agent.rejected = None
            self.holder.on_connected(now_ns)


class OldErrorDevice(FaultlessDevice):
    """Does what a signed error without a number asks for."""

    def __init__(self) -> None:
        super().__init__(has_key=True)

    def on_error(self, payload: bytes, now_ns: int) -> None:
        self.agent.verify = None
        super().on_error(payload, now_ns)
        self.agent.verify = verify


def verdicts_on(
    device: FaultlessDevice, *, has_hooks: bool = True, has_connection: bool = True
) -> ConformanceVerdicts:
    """Play all cases against *device* in virtual time, and return the verdicts.

    Args:
        device: the device.
        has_hooks: whether its owner can set its budget, start it again and kill it.
        has_connection: whether what its connection does is played, too.
    """
    has_all = has_hooks and has_connection
    settings = ConformanceSettings(sets_budget=has_hooks, restarts=has_hooks, kills=has_all, cuts=has_all)
    signs = device.agent.verify is not None or isinstance(device, KeylessDevice)
    signatures = TrialSignatures(KEY.sign, OTHER_KEY.sign, topic) if signs else None
    talk = DeviceConversation(settings, "t", signatures)
    test, now_ns = ConformanceTest(talk, CASES), 0
    talk.on_message(MessageKind.STATUS, encode(Status(online=True, reason="start")), 0)
    while test.deadline_ns is not None:
        has_reported = False
        for kind, payload in test.advance(now_ns):
            device.obey(kind, payload, now_ns)
            has_reported |= deliver(device, talk, now_ns)
        while test.deadline_ns is not None and not has_reported and now_ns < test.deadline_ns:
            now_ns = max(now_ns + STEP_NS, min(test.deadline_ns, device.next_deadline_ns))
            has_reported = deliver(device, talk, now_ns)
        now_ns += STEP_NS
    return talk.verdicts


def deliver(device: FaultlessDevice, talk: DeviceConversation, now_ns: int) -> bool:
    """Hand the reports that are due to the scripted cloud; return whether there were any."""
    for status in device.statuses:
        talk.on_message(MessageKind.STATUS, status, now_ns)
    device.statuses.clear()
    tries = now_ns >= device.attempt_ns
    if tries:
        device.attempt(now_ns)
        talk.on_attempt(now_ns)
    reports = device.reports(now_ns)
    for report in reports:
        talk.on_message(MessageKind.BUDGET, report, now_ns)
    return tries or bool(reports)


def column_of_page(client: str) -> dict[str, str]:
    """Return the outcomes of a client in the table of docs/conformance.md, by rule."""
    page = (PAGES / "conformance.md").read_text()
    head, _, *rows = [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in page.split("## Clients")[1].split("## ")[0].splitlines()
        if row.startswith("|")
    ]
    return {row[0]: row[head.index(client)] for row in rows}
