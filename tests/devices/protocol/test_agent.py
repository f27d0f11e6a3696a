"""The two pure ends wired back to back: a device's agent and the cloud's responder, bytes between them."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.blocks.encoding import encode_cells
from cloud.blocks.store import BlockStore
from cloud.service.responder import Responder
from devices.protocol.agent import Agent, Receipt
from devices.protocol.block_prefix import BlockCache
from tests.worlds import a_store
from wire.errors import LocalProtocolError, Reason
from wire.messages import BudgetReport, decode, encode

STORE = a_store(items=60)
TOTAL = STORE.groups[0].layers.bytes[-1]
LARGE = a_store(items=300)  # in several parts of 1800 bytes
LARGE_TOTAL = LARGE.groups[0].layers.bytes[-1]


def a_pair(
    *, store: BlockStore = STORE, max_payload: int = 128 * 1024, local_eviction: bool = True
) -> tuple[Agent, Responder]:
    responder, shelves = Responder(store, max_payload), BlockCache()
    shelves.announce(responder.notice())
    return Agent(0, shelves, local_eviction=local_eviction), responder


def settle(agent: Agent, responder: Responder, budget_bytes: int) -> list[Receipt]:
    agent.set_budget(budget_bytes)
    return [agent.receive(part) for part in responder.answer(agent.report())]


@given(st.lists(st.integers(0, LARGE_TOTAL + 500), min_size=1, max_size=12), st.sampled_from([1800, 2**17]))
def test_whatever_the_budget_does_it_is_never_exceeded_and_the_best_layer_is_held(
    budgets: list[int], max_payload: int
) -> None:
    agent, responder = a_pair(store=LARGE, max_payload=max_payload)
    layers = LARGE.groups[0].layers
    for budget_bytes in budgets:
        agent.set_budget(budget_bytes)
        assert agent.resident_bytes <= budget_bytes  # at once, before anything is reported
        for part in responder.answer(agent.report()):
            agent.receive(part)
            assert agent.resident_bytes <= budget_bytes  # and while the update is being applied
        assert (agent.layer, agent.resident_bytes) == (
            layers.best(budget_bytes),
            layers.bytes[layers.best(budget_bytes)],
        )


def test_a_life_of_reports_and_answers() -> None:
    """A first PEE, a growth, a shrink, the same budget again."""
    agent, responder = a_pair()
    story = [(budget, settle(agent, responder, budget), agent.held) for budget in (100, 900, 100, 100)]
    assert story == [
        (100, [Receipt.PROGRESS, Receipt.APPLIED], 2),
        (900, [Receipt.APPLIED], 16),
        (100, [Receipt.CONFIRMED], 2),
        (100, [Receipt.CONFIRMED], 2),
    ]
    assert agent.user_vector == STORE.user_vectors[0].tobytes()
    assert decode(agent.report(), BudgetReport) == BudgetReport(
        seq=5, budget_bytes=100, user=0, model=STORE.version, held=2
    )


def test_without_local_eviction_the_device_stays_over_budget_until_the_cloud_has_answered() -> None:
    agent, responder = a_pair(local_eviction=False)
    settle(agent, responder, TOTAL)
    agent.set_budget(100)
    assert agent.resident_bytes == TOTAL
    (answer,) = responder.answer(agent.report())
    assert agent.resident_bytes == TOTAL
    assert (agent.receive(answer), agent.held) == (Receipt.APPLIED, 2)


def test_an_answer_to_an_older_report_is_stale() -> None:
    agent, responder = a_pair()
    settle(agent, responder, 0)
    agent.set_budget(900)
    (old,) = responder.answer(agent.report())
    agent.set_budget(100)
    (new,) = responder.answer(agent.report())
    assert [agent.receive(old), agent.receive(new), agent.receive(new)] == [
        Receipt.STALE,
        Receipt.APPLIED,
        Receipt.APPLIED,  # the same part twice changes nothing
    ]
    assert agent.held == 2


def test_an_interrupted_update_leaves_a_prefix_and_the_rest_comes_later() -> None:
    agent, responder = a_pair(store=LARGE, max_payload=1800)
    agent.set_budget(LARGE_TOTAL)
    parts = responder.answer(agent.report())
    assert len(parts) > 2
    assert [agent.receive(part) for part in parts[:2]] == [Receipt.PROGRESS, Receipt.PROGRESS]
    held, missing = agent.held, LARGE.groups[0].count - agent.held
    again = responder.answer(agent.report())
    assert [agent.receive(part) for part in again][-1] is Receipt.APPLIED
    assert 0 < held < agent.held == held + missing


def test_blocks_of_a_model_without_its_introduction_are_rejected() -> None:
    agent, responder = a_pair()
    agent.set_budget(500)
    _, blocks = responder.answer(agent.report())
    assert (agent.receive(blocks), agent.rejected) == (Receipt.REJECTED, Reason.UNKNOWN_MODEL)


def test_a_gap_is_rejected_and_what_was_held_stays() -> None:
    agent, responder = a_pair(store=LARGE, max_payload=1800)
    agent.set_budget(LARGE_TOTAL)
    parts = responder.answer(agent.report())
    agent.receive(parts[0])
    held = agent.held
    assert (agent.receive(parts[2]), agent.rejected, agent.held) == (
        Receipt.REJECTED,
        Reason.OUT_OF_RANGE,
        held,
    )


@given(st.data())
def test_a_damaged_part_is_rejected_and_changes_nothing(data: st.DataObject) -> None:
    agent, responder = a_pair()
    settle(agent, responder, 100)
    agent.set_budget(900)
    (part,) = responder.answer(agent.report())
    damaged = bytearray(part)
    damaged[data.draw(st.integers(0, len(part) - 1))] ^= data.draw(st.integers(1, 255))
    assert (agent.receive(bytes(damaged)), agent.held) == (Receipt.REJECTED, 2)
    assert (agent.receive(part), agent.held) == (Receipt.APPLIED, 16)


@given(st.binary(max_size=300))
def test_garbage_is_rejected_never_a_crash(payload: bytes) -> None:
    agent, _ = a_pair()
    agent.report()
    assert agent.receive(payload) is Receipt.REJECTED


def test_a_part_that_crossed_with_an_eviction_is_a_misfit_where_the_evicted_blocks_are_gone_too() -> None:
    """A device on its own gives their memory back at once; it is to report again at once, not to complain."""
    agent, responder = a_pair()
    settle(agent, responder, 500)
    agent.set_budget(900)
    (growth,) = responder.answer(agent.report())
    agent.set_budget(100)
    assert agent.prefix is not None
    agent.prefix.truncate(agent.held)
    assert (agent.receive(growth), agent.rejected, agent.held) == (Receipt.MISFIT, None, 2)


def test_a_model_that_was_never_announced_is_rejected() -> None:
    stranger = Responder(a_store(items=60, seed=9))
    agent, _ = a_pair()
    agent.set_budget(500)
    part, _ = stranger.answer(agent.report())
    assert (agent.receive(part), agent.rejected) == (Receipt.REJECTED, Reason.UNKNOWN_MODEL)


def test_another_model_drops_the_old_one_before_it_takes_room() -> None:
    agent, responder = a_pair()
    settle(agent, responder, 500)
    newer = Responder(a_store(items=60, seed=9))
    agent._cache.announce(newer.notice())
    agent.set_budget(400)
    part, rest = newer.answer(agent.report())
    assert (agent.receive(part), agent.model, agent.held) == (Receipt.PROGRESS, newer.store.version, 0)
    assert (agent.receive(rest), agent.resident_bytes <= 400) == (Receipt.APPLIED, True)


def test_blocks_that_contradict_those_of_another_device_are_rejected() -> None:
    """Devices of a fleet share a shelf: the same blocks must be the same bytes."""
    agent, responder = a_pair()
    settle(agent, responder, 900)
    sevens = np.full((60, 8), 7.0, dtype=np.float32)
    same_ranking = np.zeros(16)
    same_ranking[STORE.groups[0].ranking()] = np.arange(16, 0, -1)
    group = encode_cells(STORE.geometry, sevens, same_ranking.reshape(4, 4), 64)
    forged = replace(STORE, groups=(group, group))
    late = Agent(2, agent._cache)
    late.set_budget(900)
    introduction, part = Responder(forged).answer(late.report())
    assert late.receive(introduction) is Receipt.PROGRESS
    assert (late.receive(part), late.rejected) == (Receipt.REJECTED, Reason.CONTENT)


def test_a_negative_budget_is_our_own_mistake() -> None:
    agent, _ = a_pair()
    with pytest.raises(
        LocalProtocolError, match=r"requested_bytes\(=-1\) must be from 0 to budget_bytes\(=-1\)"
    ):
        agent.set_budget(-1)


def test_blocks_of_another_group_are_no_part_of_what_is_held() -> None:
    agent, responder = a_pair()
    settle(agent, responder, 400)
    held = agent.held
    agent.set_budget(900)
    report = msgspec.structs.replace(decode(agent.report(), BudgetReport), user=1)
    (part,) = responder.answer(encode(report))
    assert (agent.receive(part), agent.rejected, agent.held) == (Receipt.REJECTED, Reason.CONTENT, held)


def test_a_confirmation_brings_a_device_below_its_budget_however_much_it_holds() -> None:
    """As one is that waits for the cloud before it drops anything."""
    agent, responder = a_pair(local_eviction=False)
    for budget in (TOTAL, TOTAL // 4, 0):
        held_bytes = agent.resident_bytes
        receipts = settle(agent, responder, budget)
        assert agent.resident_bytes <= budget
        assert Receipt.REJECTED not in receipts
        assert receipts[-1] is Receipt.APPLIED, (budget, held_bytes)
