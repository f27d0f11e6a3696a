"""Blocks from retained layers: an agent gets them as bytes from the broker."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.service.model_versions import ModelVersions
from cloud.service.responder import Responder
from devices.protocol.agent import Agent, Receipt
from devices.protocol.block_prefix import BlockCache
from tests.worlds import a_store
from wire.errors import InputError
from wire.topics import LayerName

STORE = a_store(items=60)
VERSIONS = ModelVersions([Responder(STORE)])
LAYERS = STORE.groups[0].layers


def introduced(budget_bytes: int) -> Agent:
    """Return an agent that has reported and knows its layers, and holds nothing yet."""
    shelves = BlockCache()
    shelves.announce(VERSIONS.first.notice())
    agent = Agent(0, shelves, shared=True)
    agent.set_budget(budget_bytes)
    (introduction,) = VERSIONS.answer(agent.report())
    assert agent.receive(introduction) is Receipt.CONFIRMED
    return agent


def fetch(agent: Agent) -> list[Receipt]:
    return [agent.receive(VERSIONS.layer_part(name)) for name in agent.subscribe()]


def test_a_life_of_subscriptions() -> None:
    agent = introduced(LAYERS.bytes[2])
    assert agent.missing() == (LayerName(STORE.version, 0, 1), LayerName(STORE.version, 0, 2))
    assert (fetch(agent), agent.layer) == ([Receipt.PROGRESS, Receipt.APPLIED], 2)
    agent.set_budget(LAYERS.bytes[4])
    assert [name.layer for name in agent.missing()] == [3, 4]
    assert (fetch(agent), agent.layer) == ([Receipt.PROGRESS, Receipt.APPLIED], 4)
    agent.set_budget(LAYERS.bytes[1])  # a shrink needs nobody
    assert (agent.layer, agent.missing()) == (1, ())


@given(st.lists(st.integers(0, LAYERS.bytes[-1] + 100), min_size=1, max_size=12))
def test_whatever_the_budget_does_the_best_layer_is_held_and_the_budget_never_exceeded(
    budgets: list[int],
) -> None:
    agent = introduced(budgets[0])
    for budget_bytes in budgets:
        agent.set_budget(budget_bytes)
        assert agent.resident_bytes <= budget_bytes
        for name in agent.subscribe():
            agent.receive(VERSIONS.layer_part(name))
            assert agent.resident_bytes <= budget_bytes
        assert agent.layer == LAYERS.best(budget_bytes)


@given(st.randoms(use_true_random=False), st.integers(0, LAYERS.bytes[-1]))
def test_layers_in_any_order_and_twice_never_exceed_the_budget(rng: np.random.Generator, budget: int) -> None:
    agent = introduced(budget)
    names = [*agent.subscribe()] * 2
    rng.shuffle(names)
    for name in names:
        assert agent.receive(VERSIONS.layer_part(name)) is not Receipt.MISFIT
        assert agent.resident_bytes <= budget
    assert fetch(agent)[-1:] in ([], [Receipt.APPLIED])
    assert agent.layer == LAYERS.best(budget)


def test_a_layer_for_which_there_is_no_room_any_more_is_ignored() -> None:
    agent = introduced(LAYERS.bytes[3])
    parts = [VERSIONS.layer_part(name) for name in agent.subscribe()]
    agent.set_budget(LAYERS.bytes[1])
    assert [agent.receive(part) for part in parts] == [Receipt.APPLIED, Receipt.STALE, Receipt.STALE]
    assert agent.layer == 1


def test_a_layer_of_another_group_or_model_is_ignored() -> None:
    agent = introduced(LAYERS.bytes[-1])
    other = ModelVersions([Responder(a_store(items=60, seed=2))])
    assert agent.receive(VERSIONS.layer_part(LayerName(STORE.version, 1, 1))) is Receipt.STALE
    assert agent.receive(other.layer_part(LayerName(other.first.store.version, 0, 1))) is Receipt.STALE


def test_a_new_user_of_another_group_starts_anew() -> None:
    agent = introduced(LAYERS.bytes[-1])
    fetch(agent)
    agent.change_user(1)
    assert (agent.missing(), agent.resident_bytes) == ((), 0)
    (introduction,) = VERSIONS.answer(agent.report())
    agent.receive(introduction)
    assert {name.group for name in agent.missing()} == {1}
    assert fetch(agent)[-1] is Receipt.APPLIED


def test_a_layer_too_large_for_one_message_is_refused_before_anything_runs() -> None:
    large = Responder(a_store(items=4000, layers=2), 4096)
    with pytest.raises(InputError, match=r"max_payload\(=4096 B\) must be at least \d+ B for shared"):
        large.check_layers_fit()
    VERSIONS.first.check_layers_fit()
