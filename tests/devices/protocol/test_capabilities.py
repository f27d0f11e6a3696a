"""What a device can take in, and what two ends of different versions of the protocol say to each other."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.service.responder import HEADER_ALLOWANCE, Responder
from devices.protocol.agent import Agent, Receipt
from devices.protocol.block_prefix import BlockCache
from devices.protocol.capabilities import DeviceCapabilities, codecs_known_here
from devices.standalone.pee_holder import PeeHolder
from devices.standalone.settings import DeviceSettings
from tests.worlds import a_store
from wire.codecs import Codec
from wire.errors import Reason, RemoteProtocolError
from wire.messages import PROTOCOL, BudgetReport, CloudStatus, decode, encode

STORE = a_store(items=200)
TOTAL = STORE.groups[0].layers.bytes[-1]
CLOUD = Responder(STORE)
ONLINE = CloudStatus(online=True, reason="start", protocol=PROTOCOL)

# What a receiver of protocol 1.0 took for complete: it refused any other field.
REPORT_FIELDS = {"seq", "budget_bytes", "user", "group", "model", "held", "wants", "shared", "deltas"}
NOTICE_FIELDS = {"version", "geometry", "user_groups", "users", "layers"}
PART_FIELDS = {"crc32", "seq", "model", "group", "first", "target", "part", "parts"}
PART_TENSORS = {
    *("user_vector", "layer_blocks", "layer_bytes", "scales", "ids", "sizes", "data", "delta")
}  # fmt: skip


def a_device(capabilities: DeviceCapabilities) -> Agent:
    cache = BlockCache()
    cache.announce(CLOUD.notice())
    return Agent(0, cache, capabilities=capabilities)


def header(part: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(part[8 : 8 + int.from_bytes(part[:8], "little")])
    return found


capabilities = st.builds(
    DeviceCapabilities,
    max_part_bytes=st.integers(CLOUD.least_part_bytes, CLOUD.least_part_bytes + 4000),
    codecs=st.sampled_from([(), ("int8",), ("fp32", "int8")]),
)


@given(capabilities, st.lists(st.integers(0, TOTAL + 500), min_size=1, max_size=5))
def test_no_part_is_larger_than_the_device_says_and_it_ends_as_any_other(
    given_capabilities: DeviceCapabilities, budgets: list[int]
) -> None:
    agent, layers = a_device(given_capabilities), STORE.groups[0].layers
    agent.names_capabilities = True
    for budget in budgets:
        agent.set_budget(budget)
        parts = CLOUD.answer(agent.report())
        assert max(map(len, parts)) <= given_capabilities.max_part_bytes
        receipts = [agent.receive(part) for part in parts]
        assert receipts[-1] in (Receipt.APPLIED, Receipt.CONFIRMED)
        assert agent.layer == layers.best(budget)


@given(capabilities, st.lists(st.integers(0, TOTAL + 500), min_size=1, max_size=4))
def test_what_a_cloud_or_a_device_of_the_first_version_receives_has_nothing_that_it_does_not_know(
    given_capabilities: DeviceCapabilities, budgets: list[int]
) -> None:
    """The device has heard of no newer cloud, and the cloud of nothing that the device can."""
    assert set(json.loads(encode(CLOUD.notice()))) == NOTICE_FIELDS
    agent = a_device(DeviceCapabilities(0, given_capabilities.codecs))
    for budget in budgets:
        agent.set_budget(budget)
        report = agent.report()
        assert set(json.loads(report)) <= REPORT_FIELDS
        for part in CLOUD.answer(report):
            fields = header(part)
            assert set(fields.pop("__metadata__")) == PART_FIELDS
            assert set(fields) <= PART_TENSORS
            agent.receive(part)


@pytest.mark.parametrize(
    ("statuses", "tells"),
    [
        ({}, False),
        ({"main": ONLINE}, True),
        ({"one": ONLINE, "two": CloudStatus(online=True, reason="start", protocol="1.0")}, False),
        ({"one": ONLINE, "two": CloudStatus(online=False, reason="stop", protocol="1.0")}, True),
        ({"main": CloudStatus(online=False, reason="stop", protocol=PROTOCOL)}, False),
        ({"main": CloudStatus(online=True, reason="start", protocol="1.12")}, True),
        ({"main": CloudStatus(online=True, reason="start", protocol="2.0")}, False),
    ],
)
def test_a_device_says_what_it_can_only_where_every_service_that_is_there_knows_the_field(
    statuses: dict[str, CloudStatus], tells: bool
) -> None:
    cache = BlockCache()
    agent = Agent(0, cache, capabilities=DeviceCapabilities(4096, ("int8",)))
    holder = PeeHolder(DeviceSettings("f", "d", 0, None), cache, agent, CLOUD.notice(), lambda: 0.0)
    for replica, status in statuses.items():
        holder.on_cloud_status(replica, status)
    holder.set_budget(500, 0)
    holder.on_connected(0)
    found = holder.next_report(0)
    assert found is not None
    report = decode(found[1], BudgetReport)
    expected = BudgetReport(seq=1, budget_bytes=500, user=0)
    if tells:
        expected = BudgetReport(seq=1, budget_bytes=500, user=0, max_part=4096, codecs=("int8",))
    assert report == expected


def test_a_device_that_cannot_take_the_model_in_is_told_so() -> None:
    least = CLOUD.least_part_bytes
    refused = {
        BudgetReport(seq=1, budget_bytes=500, user=0, max_part=least - 1): Reason.PART_TOO_SMALL,
        BudgetReport(seq=1, budget_bytes=500, user=0, codecs=("planes", "coded")): Reason.UNKNOWN_CODEC,
        BudgetReport(seq=1, budget_bytes=500, user=0, codecs=()): Reason.UNKNOWN_CODEC,
    }
    for report, reason in refused.items():
        with pytest.raises(RemoteProtocolError) as caught:
            CLOUD.respond(report)
        assert caught.value.reason is reason
    assert CLOUD.respond(BudgetReport(seq=1, budget_bytes=500, user=0, max_part=least, codecs=("int8",)))
    assert least > HEADER_ALLOWANCE


def test_a_part_above_its_room_is_refused_before_it_is_read() -> None:
    agent = a_device(DeviceCapabilities(300))
    agent.set_budget(TOTAL)
    receipts = [agent.receive(part) for part in CLOUD.answer(agent.report())]
    assert (set(receipts), agent.rejected) == ({Receipt.REJECTED}, Reason.TOO_LARGE)


def test_an_installation_names_its_codecs_only_where_one_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert codecs_known_here() == ()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert codecs_known_here() == tuple(str(codec) for codec in Codec if codec is not Codec.CODED)
