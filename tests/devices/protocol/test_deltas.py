"""A device that takes deltas, and a cloud that serves several versions, back to back."""

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cloud.service.model_versions import ModelVersions
from cloud.service.responder import Responder
from devices.protocol.agent import Agent, Receipt
from devices.protocol.block_prefix import BlockCache
from tests.worlds import a_lineage
from wire.errors import Reason
from wire.messages import BudgetReport, decode, encode
from wire.update_part import build_body, decode_part, encode_part

STORES = a_lineage(versions=3)
FIRST, SECOND, THIRD = STORES
TOTAL = max(store.groups[0].layers.bytes[-1] for store in STORES)
MUCH, HALF = 9 * TOTAL // 10, TOTAL // 2
SMALL_PAYLOAD = 1300
"""Bytes of a part: blocks that follow a delta come in parts of their own."""


def a_pair(*, deltas: bool = True, max_payload: int = 128 * 1024) -> tuple[Agent, ModelVersions]:
    versions, cache = ModelVersions([Responder(store, max_payload) for store in STORES]), BlockCache()
    for responder in versions.all:
        cache.announce(responder.notice())
    return Agent(0, cache, deltas=deltas), versions


def settle(agent: Agent, versions: ModelVersions) -> tuple[list[Receipt], int]:
    parts = versions.answer(agent.report())
    return [agent.receive(part) for part in parts], sum(map(len, parts))


def assert_holds_the_stores_numbers(agent: Agent) -> None:
    """The blocks, the layer table and the vector are those of the version, bit for bit."""
    store = next(store for store in STORES if store.version == agent.model)
    group, prefix = store.groups[0], agent.prefix
    assert prefix is not None
    assert prefix.part(0, agent.held) == group.blocks.part(0, agent.held, group.starts, store.geometry.codec)
    assert (prefix.layers, agent.resident_bytes) == (group.layers, prefix.resident[agent.held])
    assert agent.user_vector == store.user_vectors[0].tobytes()


@given(
    st.lists(
        st.tuples(
            st.integers(0, TOTAL + 100),  # the budget when the device reports
            st.sampled_from(STORES),  # the version that it is offered
            st.integers(0, TOTAL + 100),  # the budget when the first part comes
            st.integers(0, 3),  # parts that arrive
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from([SMALL_PAYLOAD, 2**17]),
)
def test_whatever_happens_the_budget_holds_and_the_blocks_are_those_of_the_version(
    life: list[tuple[int, object, int, int]], max_payload: int
) -> None:
    agent, versions = a_pair(max_payload=max_payload)
    for budget, store, later, arriving in life:
        agent.offered = store.version  # type: ignore[attr-defined]
        agent.set_budget(budget)
        parts = versions.answer(agent.report())
        agent.set_budget(later)
        for part in parts[:arriving]:
            agent.receive(part)
            assert agent.resident_bytes <= agent.budget_bytes
            if agent.model:
                assert_holds_the_stores_numbers(agent)
    agent.set_budget(TOTAL)
    settle(agent, versions)
    assert (agent.model, agent.held) == (agent.offered, FIRST.groups[0].count)
    assert_holds_the_stores_numbers(agent)


def test_a_new_version_comes_as_one_small_part_and_to_an_old_device_as_ever() -> None:
    stories = []
    for deltas in (False, True):
        agent, versions = a_pair(deltas=deltas)
        agent.set_budget(MUCH)
        settle(agent, versions)
        agent.offered = SECOND.version
        stories.append(settle(agent, versions))
        assert_holds_the_stores_numbers(agent)
    (whole, whole_bytes), (delta, delta_bytes) = stories
    assert (whole, delta) == ([Receipt.PROGRESS, Receipt.APPLIED], [Receipt.APPLIED])
    assert delta_bytes < whole_bytes / 2


def test_more_room_or_less_than_before_comes_with_the_new_version() -> None:
    agent, versions = a_pair()
    agent.set_budget(HALF)
    settle(agent, versions)
    for store, budget, receipts in (
        (SECOND, MUCH, [Receipt.PROGRESS, Receipt.APPLIED]),  # a delta, and the blocks that it has not
        (THIRD, HALF, [Receipt.APPLIED]),
    ):
        agent.offered = store.version
        agent.set_budget(budget)
        assert settle(agent, versions)[0] == receipts
        layers = store.groups[0].layers
        assert agent.resident_bytes == layers.bytes[layers.best(budget)]
        assert_holds_the_stores_numbers(agent)


def test_a_damaged_delta_is_asked_for_again_and_one_that_leads_elsewhere_is_not() -> None:
    agent, versions = a_pair()
    agent.set_budget(MUCH)
    settle(agent, versions)
    agent.offered, held = SECOND.version, agent.held
    (part,) = versions.answer(agent.report())
    damaged = part[:-1] + bytes([part[-1] ^ 1])
    assert (agent.receive(damaged), agent.rejected) == (Receipt.REJECTED, Reason.CHECKSUM)
    (part,) = versions.answer(agent.report())
    forged = bytearray(decode_part(part).tensor("delta"))
    forged[0] ^= 1  # of the checksum of the blocks
    body = build_body(
        model=SECOND.version, group=0, first=0, target=held, part=1, parts=1, tensors={"delta": bytes(forged)}
    )
    assert (agent.receive(encode_part(body, agent.seq)), agent.rejected) == (Receipt.REJECTED, Reason.CONTENT)
    assert (agent.model, agent.held) == (FIRST.version, held)
    assert settle(agent, versions)[0] == [Receipt.PROGRESS, Receipt.APPLIED]  # the whole answer
    assert_holds_the_stores_numbers(agent)
    agent.offered = THIRD.version
    assert settle(agent, versions)[0] == [Receipt.APPLIED]  # deltas are asked for again


def test_a_delta_that_crossed_with_an_eviction_is_a_misfit_and_the_next_one_fits() -> None:
    agent, versions = a_pair()
    agent.set_budget(MUCH)
    settle(agent, versions)
    agent.offered = SECOND.version
    (part,) = versions.answer(agent.report())
    agent.set_budget(HALF)
    assert (agent.receive(part), agent.model) == (Receipt.MISFIT, FIRST.version)
    assert settle(agent, versions)[0] == [Receipt.APPLIED]
    assert_holds_the_stores_numbers(agent)


def test_a_second_device_of_a_fleet_shares_the_blocks_and_forged_ones_are_refused() -> None:
    agent, versions = a_pair()
    other = Agent(2, agent._cache, deltas=True)
    for device in (agent, other):
        device.set_budget(MUCH)
        settle(device, versions)
        device.offered = SECOND.version
        assert settle(device, versions)[0] == [Receipt.APPLIED]
    assert other.prefix is agent.prefix
    assert np.frombuffer(other.user_vector, "<f4").tolist() == SECOND.user_vectors[2].tolist()


def test_a_user_who_has_changed_group_gets_the_whole_answer() -> None:
    moved = replace(SECOND, version="moved", user_groups=1 - SECOND.user_groups)
    versions = ModelVersions([Responder(FIRST), Responder(moved)])
    held = BudgetReport(
        seq=2, budget_bytes=MUCH, user=0, model=FIRST.version, held=4, wants="moved", deltas=True
    )
    first, *_ = (decode_part(part).layout for part in versions.answer(encode(held)))
    assert (first.is_delta, first.introduces, first.group) == (False, True, 1)


def test_a_report_says_that_deltas_are_welcome_only_where_there_is_something_to_change() -> None:
    agent, versions = a_pair()
    agent.set_budget(MUCH)
    assert b"deltas" not in agent.report()
    settle(agent, versions)
    assert decode(agent.report(), BudgetReport).deltas is True
