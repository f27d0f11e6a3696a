"""A device that is started again and again, with other budgets, beside a cloud."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from cloud.service.responder import Responder, notice_of
from devices.protocol.agent import Agent, Receipt
from devices.protocol.block_prefix import BlockCache
from devices.standalone.saved_state import SavedState
from tests.worlds import a_store

STORE = a_store(items=200)  # in several parts of 1500 bytes
LAYERS = STORE.groups[0].layers


def restarted(agent: Agent) -> Agent:
    """Return the device that a new process makes of the state of *agent*."""
    kept = msgspec.msgpack.encode(SavedState.from_agent(agent, notice_of(STORE)))
    saved = msgspec.msgpack.decode(kept, type=SavedState)
    cache = BlockCache()
    cache.announce(saved.notice)
    again = Agent(0, cache, seq=saved.seq + 1, local_eviction=agent.local_eviction)
    assert saved.restore(again)
    return again


@given(
    steps=st.lists(
        st.tuples(st.booleans(), st.integers(0, LAYERS.bytes[-1] + 500), st.integers(0, 3)), max_size=6
    ),
    local_eviction=st.booleans(),
)
def test_whatever_it_held_no_answer_of_its_life_is_refused_and_it_ends_with_the_best_layer(
    steps: list[tuple[bool, int, int]], local_eviction: bool
) -> None:
    """Also one that drops nothing before the cloud has answered, and whose answers break off."""
    cloud, cache = Responder(STORE, 1500), BlockCache()
    cache.announce(cloud.notice())
    agent = Agent(0, cache, local_eviction=local_eviction)
    for restarts, budget, lost in [*steps, (True, 500, 0)]:
        if restarts:
            agent = restarted(agent)
        agent.set_budget(budget)
        parts = cloud.answer(agent.report())
        receipts = [agent.receive(part) for part in parts[: max(len(parts) - lost, 0)]]
        assert Receipt.REJECTED not in receipts
        assert agent.resident_bytes <= budget or not receipts
    assert agent.layer == LAYERS.best(500)
