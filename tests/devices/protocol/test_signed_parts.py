"""A device that knows the cloud's key: what others send changes nothing, and costs no answer."""

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from cloud.service.model_versions import ModelVersions
from cloud.service.responder import Responder, notice_of
from devices.protocol.agent import Agent, Receipt
from devices.protocol.block_prefix import BlockCache
from devices.standalone.pee_holder import PeeHolder
from devices.standalone.settings import DeviceSettings
from tests.protocol_examples import with_checksum
from tests.worlds import a_store
from wire.errors import Reason
from wire.messages import BudgetReport, ErrorAnswer, decode
from wire.signatures import sign_part
from wire.topics import LayerName, layer_topic
from wire.units import NS_PER_S
from wire.update_part import peek

STORES = [a_store(items=60, seed=seed) for seed in (1, 2)]
CLOUD = ModelVersions([Responder(store, 1600) for store in STORES])
KEY, ROGUE_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2))
TOPIC, OTHER_TOPIC = "peel/1/lab/phone-1/pee", "peel/1/lab/phone-2/pee"
FORGERIES = ("unsigned", "rogue-key", "other-device", "changed", "other-report", "emptied")


def verify(signature: bytes, covered: bytes) -> bool:
    return signature == KEY.sign(covered)  # Ed25519 gives one signature for one text


def a_device(seq: int = 0, *, shared: bool = False) -> Agent:
    cache = BlockCache()
    for store in STORES:
        cache.announce(notice_of(store))
    return Agent(0, cache, seq=seq, verify=verify, shared=shared)


def answer(report: bytes) -> list[bytes]:
    return [sign_part(part, TOPIC, KEY.sign) for part in CLOUD.answer(report)]


def forged(kind: str, report: bytes, number: int) -> bytes:
    """Return what somebody who may write `pee`, and read all reports, can send in place of an answer."""
    wrong = msgspec.structs.replace(decode(report, BudgetReport), user=number % 6)
    if kind == "emptied":  # makes a device drop what it holds, if it is believed
        wrong = msgspec.structs.replace(wrong, budget_bytes=0)
    if kind == "other-report":
        wrong = msgspec.structs.replace(wrong, seq=wrong.seq + 1)
    parts = CLOUD.respond(wrong)
    part = parts[number % len(parts)]
    if kind in ("unsigned", "emptied"):
        return part
    if kind == "rogue-key":
        return sign_part(part, TOPIC, ROGUE_KEY.sign)
    signed = sign_part(part, OTHER_TOPIC if kind == "other-device" else TOPIC, KEY.sign)
    if kind == "other-report":  # signed by the cloud for another number, which is then changed
        before, after = (b'"seq":"%d"' % each for each in (wrong.seq, wrong.seq - 1))
        return with_checksum(signed.replace(before, after)) if len(before) == len(after) else part
    at = 8 + 60 + number % (len(signed) - 68)
    changed = signed[:at] + bytes([signed[at] ^ 1 << number % 8]) + signed[at + 1 :]
    return signed if kind == "other-device" else with_checksum(changed)


def state(agent: Agent) -> tuple[object, ...]:
    blocks = None if agent.prefix is None else agent.prefix.part(0, agent.held)
    return agent.model, agent.group, agent.held, agent.resident_bytes, agent.layer, agent.user_vector, blocks


Step = tuple[int, list[tuple[str, int]]]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2500),
            st.lists(st.tuples(st.sampled_from(FORGERIES), st.integers(0, 9999)), max_size=6),
        ),
        min_size=1, max_size=6,
    )
)  # fmt: skip
def test_whatever_a_rogue_sends_between_the_parts_the_device_holds_what_the_cloud_sent(
    steps: list[Step],
) -> None:
    agent = a_device()
    for budget, forgeries in steps:
        agent.set_budget(budget)
        report = agent.report()
        parts = answer(report)
        waiting = list(forgeries)
        while parts or waiting:
            if waiting:
                before = state(agent)
                part = forged(waiting[0][0], report, waiting.pop(0)[1])
                receipt = agent.receive(part, TOPIC)
                assert receipt in (Receipt.REJECTED, Receipt.STALE)
                assert state(agent) == before
            if parts:
                receipt = agent.receive(parts.pop(0), TOPIC)
                assert receipt in (Receipt.PROGRESS, Receipt.APPLIED, Receipt.CONFIRMED)
            assert agent.resident_bytes <= agent.budget_bytes
        layers = STORES[0].groups[0].layers
        assert agent.held == layers.blocks[layers.best(budget)]


@given(st.integers(0, 10**6), st.integers(1, 255))
def test_any_changed_byte_of_a_part_is_refused(at: int, mask: int) -> None:
    agent = a_device()
    agent.set_budget(900)
    part = answer(agent.report())[0]
    at %= len(part)
    receipt = agent.receive(part[:at] + bytes([part[at] ^ mask]) + part[at + 1 :], TOPIC)
    assert (receipt, agent.held, agent.model) in ((Receipt.REJECTED, 0, ""), (Receipt.STALE, 0, ""))
    assert agent.receive(part, TOPIC) is Receipt.PROGRESS


def test_a_forged_part_costs_no_report_and_the_answer_that_comes_behind_it_counts() -> None:
    """In words: R36. It is not the cloud's answer, so the device goes on waiting for that."""
    agent = a_device()
    settings = DeviceSettings("lab", "phone-1", 0, None, verify=verify)
    holder = PeeHolder(settings, BlockCache(), agent, notice_of(STORES[0]), lambda: 0.0)
    holder.set_budget(900, 0)
    holder.on_connected(0)
    due = holder.next_report(0)
    assert due is not None
    for number in range(20):
        holder.on_part(forged("rogue-key", due[1], number), NS_PER_S, TOPIC)
        assert (agent.rejected, holder.next_report(NS_PER_S)) == (Reason.SIGNATURE, None)
    for part in answer(due[1]):
        receipt = holder.on_part(part, NS_PER_S, TOPIC)
    assert (receipt, holder.is_settled) == (Receipt.APPLIED, True)


def test_without_an_answer_of_the_cloud_the_device_asks_again_as_for_one_that_is_lost() -> None:
    agent = a_device()
    settings = DeviceSettings("lab", "phone-1", 0, None, verify=verify)
    holder = PeeHolder(settings, BlockCache(), agent, notice_of(STORES[0]), lambda: 0.0)
    holder.set_budget(900, 0)
    holder.on_connected(0)
    asked = []
    for now_s in range(100):
        if (due := holder.next_report(now_s * NS_PER_S)) is not None:
            asked.append(now_s)
            for part in CLOUD.answer(due[1]):  # a cloud without the key
                holder.on_part(part, now_s * NS_PER_S, TOPIC)
    assert asked == [0, 30, 90]


@pytest.mark.parametrize(("number", "is_heard"), [(1, True), (0, False)])
def test_an_error_without_a_number_is_not_heard_as_it_could_be_an_old_one(
    number: int, is_heard: bool
) -> None:
    agent = a_device()
    holder = PeeHolder(
        DeviceSettings("lab", "phone-1", 0, None), BlockCache(), agent, notice_of(STORES[0]), lambda: 0.0
    )  # fmt: skip
    holder.set_budget(900, 0)
    holder.on_connected(0)
    assert holder.next_report(0) is not None
    error = ErrorAnswer(
        seq=agent.seq * number, reason="queue_full", text="", remedy="retry", retry_after_s=9.0
    )  # fmt: skip
    assert holder.on_error(error, 0) is is_heard


def test_a_retained_layer_is_signed_for_its_topic() -> None:
    agent = a_device(shared=True)
    agent.set_budget(900)
    (introduction,) = answer(agent.report())
    agent.receive(introduction, TOPIC)
    first, second = agent.missing()[:2]
    topics = {name: layer_topic("lab", name) for name in (first, second)}
    parts = {name: sign_part(CLOUD.layer_part(name), topic, KEY.sign) for name, topic in topics.items()}
    assert peek(parts[first])[0] == 0
    assert agent.receive(CLOUD.layer_part(first), topics[first]) is Receipt.REJECTED
    assert agent.receive(parts[first], topics[second]) is Receipt.REJECTED
    assert (agent.held, agent.rejected) == (0, Reason.SIGNATURE)
    assert agent.receive(parts[first], topics[first]) is Receipt.PROGRESS
    assert agent.receive(parts[second], topics[second]) in (Receipt.PROGRESS, Receipt.APPLIED)
    assert second == LayerName(STORES[0].version, 0, 2)


def test_a_device_without_a_key_takes_in_what_is_signed_as_what_is_not() -> None:
    agent = a_device()
    agent.verify = None
    agent.set_budget(900)
    assert [agent.receive(part) for part in answer(agent.report())][-1] is Receipt.APPLIED
