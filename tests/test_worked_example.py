"""A whole PEEL deployment computed on paper: 2 users, 6 items, 4 blocks, 3 budgets."""

import math

import numpy as np
import pytest

from cloud.blocks.encoding import encode_cells
from cloud.blocks.store import BlockStore, build_store
from cloud.service.responder import Responder
from devices.protocol.agent import Agent, Receipt
from devices.protocol.block_prefix import BlockCache, BlockPrefix
from devices.recommender.quality import HeldOut, user_qualities
from wire.codecs import Codec
from wire.geometry import Geometry
from wire.ranking_metrics import ItemLists
from wire.update_part import decode_part

# v_i^1  v_i^2     item group
ITEMS = [
    [0.9, 0.1],  # 0   0
    [0.5, 0.8],  # 1   0
    [0.3, 0.2],  # 2   0
    [0.8, 0.4],  # 3   1
    [0.2, 0.9],  # 4   1
    [0.1, 0.6],  # 5   1
]
USERS = [[1.0, 0.5], [0.2, 1.0]]
KNOWN = [(0, 0), (1, 4)]
TEST = [(0, 3), (1, 1), (1, 5)]
WEIGHTS = [[4.0, 3.0], [1.0, 2.0]]  # of block (m, n), which has id 2 m + n


def lists(pairs: list[tuple[int, int]]) -> ItemLists:
    users, items = np.array(pairs, dtype=np.int64).T
    return ItemLists.of_pairs(users, items, 2)


def a_store() -> BlockStore:
    geometry = Geometry(items=6, dim=2, item_groups=2, slice_width=1, codec=Codec.FP32)
    return build_store(
        geometry,
        groups=[encode_cells(geometry, np.array(ITEMS, dtype=np.float32), np.array(WEIGHTS), layers=4)],
        user_vectors=np.array(USERS, dtype=np.float32),
        user_groups=np.array([0, 0]),
        report={},
    )


def test_selection_bytes_delta_and_ndcg_equal_what_paper_says() -> None:
    """What the code must give, step by step.

    Ranking. The floor is the heaviest block of each item group: block 0 (weight 4) of group 0, block 3
    (weight 2) of group 1. Then the rest by weight: block 1 (3), block 2 (1). So 0, 3, 1, 2.

    Bytes. A block is 3 items x 1 dimension x 4 bytes, and 2 bytes of id: 14. Prefixes: 14, 28, 42, 56.

    Budgets of 30, 42 and 20 bytes select 2, 3 and 1 blocks: 28, 42 and 14 bytes. The first update
    carries two blocks, 28 bytes; the second only what is missing, block 1, 14 bytes; the third none:
    the device has dropped blocks 3 and 1 by itself.

    NDCG@10 of user 0, vector (1, .5), who knows item 0 and is to find item 3:
      blocks 0 and 3: items 1, 2 score v^1 = .5, .3; items 3, 4, 5 score .5 v^2 = .2, .45, .3;
          order 1, 4, 2, 5, 3 (2 before 5: equal scores, lower item first); rank 5: 1 / log2(6)
      and block 1: items 1, 2 score .5 + .4, .3 + .1; order 1, 4, 2, 5, 3; the same
      block 0 alone: item 3 has no block and cannot be found: 0
    NDCG@10 of user 1, vector (.2, 1), who knows item 4 and is to find items 1 and 5:
      blocks 0 and 3: .18, .1, .06 for items 0, 1, 2; .4 and .6 for items 3 and 5;
          order 5, 3, 0, 1, 2; ranks 1 and 4: (1 + 1 / log2(5)) / (1 + 1 / log2(3))
      and block 1: .28, .9, .26 for items 0, 1, 2; order 1, 5, 3, 0, 2; ranks 1 and 2: 1
      block 0 alone: order 0, 1, 2; item 1 on rank 2, item 5 without a block:
          (1 / log2(3)) / (1 + 1 / log2(3))
    """
    store = a_store()
    responder, shelves = Responder(store), BlockCache()
    shelves.announce(responder.notice())
    assert store.groups[0].ranking() == [0, 3, 1, 2]
    assert store.groups[0].layers.bytes == (0, 14, 28, 42, 56)

    agent = Agent(0, shelves)
    story = []
    for budget_bytes in (30, 42, 20):
        agent.set_budget(budget_bytes)
        evicted_to = agent.held
        *introduction, payload = responder.answer(agent.report())
        assert [agent.receive(part) for part in introduction] == [Receipt.PROGRESS] * (agent.seq == 1)
        blocks = np.frombuffer(decode_part(payload).tensor("ids"), "<u2").tolist()
        sent = sum(len(decode_part(payload).tensor(name)) for name in ("ids", "data", "scales"))
        receipt = agent.receive(payload)
        story.append((budget_bytes, evicted_to, blocks, sent, receipt, agent.held, agent.resident_bytes))
    assert story == [
        (30, 0, [0, 3], 28, Receipt.APPLIED, 2, 28),
        (42, 2, [1], 14, Receipt.APPLIED, 3, 42),
        (20, 1, [], 0, Receipt.CONFIRMED, 1, 14),
    ]

    group = store.groups[0]
    shelf = BlockPrefix(store.geometry, group.layers)
    shelf.append(group.blocks)
    truth = HeldOut(lists(KNOWN), lists(TEST))
    quality = user_qualities({0: shelf}, np.array([0, 1]), store.user_groups, store.user_vectors, truth)
    log2, ideal = math.log2, 1 + 1 / math.log2(3)
    assert [[quality[user].at(layer).ndcg_at_10 for layer in (1, 2, 3)] for user in (0, 1)] == [
        pytest.approx([0.0, 1 / log2(6), 1 / log2(6)]),
        pytest.approx([(1 / log2(3)) / ideal, (1 + 1 / log2(5)) / ideal, 1.0]),
    ]
    assert quality[1].at(1)[1:] == (0.5, 1.0)  # one of two found, and something found at all
