"""A part that is refused leaves no trace, and what a device keeps stays inside its budget and some bounds."""

from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.service.responder import Responder, notice_of
from devices.protocol.agent import Agent, Receipt
from devices.protocol.block_prefix import MOST_NOTICES, BlockCache
from devices.standalone.saved_state import UNLIMITED_BYTES, SavedState
from tests.worlds import a_store
from wire.codecs import Codec
from wire.errors import Reason
from wire.geometry import Geometry
from wire.messages import BudgetReport, ModelNotice, decode
from wire.update_part import TENSOR_TYPES, build_body, decode_part, encode_part

STORES = [a_store(items=60, seed=seed, codec=codec) for seed, codec in ((1, Codec.INT8), (2, Codec.PLANES))]
CLOUDS = [Responder(store, 1800) for store in STORES]
MOST = max(group.layers.bytes[-1] for store in STORES for group in store.groups)
TAKEN = (Receipt.APPLIED, Receipt.CONFIRMED, Receipt.PROGRESS)


@dataclass(frozen=True)
class Act:
    """A thing that happens to a device: a new budget and a report, or a part."""

    budget_bytes: int | None = None
    offered: str = ""
    part: bytes = b""


def a_device(cache: BlockCache | None = None) -> Agent:
    cache = cache or BlockCache()
    for store in STORES:
        cache.announce(notice_of(store))
    return Agent(0, cache)


def state(agent: Agent) -> tuple[Any, ...]:
    """What a device holds, and all that its next answers depend on; of its cache, the blocks."""
    cache = {
        key: (each.layers, each.part(0, len(each.ids)), each.resident, each._planes)
        for key, each in agent._cache._prefixes.items()
    }
    told = (agent.model, agent.group, agent.held, agent.resident_bytes, agent.layer, agent.user_vector)
    return told, (agent.seq, agent._moved, agent._evicted), cache


def play(agent: Agent, act: Act) -> Receipt | None:
    if act.budget_bytes is None:
        return agent.receive(act.part)
    agent.set_budget(act.budget_bytes)
    agent.offered = act.offered
    agent.report()
    return None


@st.composite
def forged(draw: st.DrawFn, part: bytes) -> bytes:
    """*part* with something else in it, and a checksum that is right."""
    found = decode_part(part)
    layout, seq = found.layout, found.seq
    fields = {name: getattr(layout, name) for name in ("model", "group", "first", "target", "part", "parts")}
    tensors = {name: found.tensor(name) for name in TENSOR_TYPES}
    for _ in range(draw(st.integers(1, 2))):
        what = draw(st.sampled_from([*fields, *tensors, "seq"]))
        if what == "seq":
            seq += draw(st.sampled_from([-1, 1]))
        elif what == "model":
            fields["model"] = draw(st.sampled_from([*(store.version for store in STORES), "other"]))
        elif what in fields:
            fields[what] = max(draw(st.integers(-2, 2)) + fields[what], what in ("part", "parts"))
        else:
            width = {"U8": 1, "U16": 2}.get(TENSOR_TYPES[what], 4)
            raw = bytearray(tensors[what] or bytes(width))
            raw[draw(st.integers(0, len(raw) - 1))] ^= draw(st.integers(1, 255))
            tensors[what] = bytes(raw) * draw(st.sampled_from([1, 1, 2])) if draw(st.booleans()) else b""
    fields["parts"] = max(fields["parts"], fields["part"])
    return encode_part(build_body(**fields, tensors=tensors), seq)


@settings(max_examples=200)
@given(st.data())
def test_a_life_with_refused_parts_leaves_exactly_what_the_same_life_without_them_leaves(
    data: st.DataObject,
) -> None:
    agent = a_device()
    acts: list[Act] = []
    refused: list[int] = []
    for _ in range(data.draw(st.integers(1, 6), label="reports")):
        offered = data.draw(st.sampled_from(["", STORES[1].version]))
        budget_bytes = data.draw(st.integers(0, MOST + 200), label="budget")
        report = Act(budget_bytes=budget_bytes, offered=offered)
        acts.append(report)
        play(agent, report)
        assert agent.resident_bytes <= agent.budget_bytes
        cloud = CLOUDS[1 if offered else 0]
        parts = cloud.answer(last_report(agent))
        if data.draw(st.booleans(), label="fell"):
            agent.set_budget(data.draw(st.integers(0, budget_bytes)))
            acts.append(Act(budget_bytes=agent.budget_bytes, offered=offered))
            agent.report()
            parts += cloud.answer(last_report(agent))
        for part in parts:
            for each in data.draw(
                st.lists(st.one_of(st.just(part), forged(part), st.sampled_from([*parts, b"x"])), max_size=3)
            ):
                was, act = state(agent), Act(part=each)
                receipt = play(agent, act)
                if receipt not in TAKEN:
                    refused.append(len(acts))
                    assert state(agent) == was
                acts.append(act)
                cache = agent._cache._prefixes
                assert agent.resident_bytes <= agent.budget_bytes
                assert len(cache) <= 1
                assert sum(each.resident[-1] for each in cache.values()) <= agent.budget_bytes
    again = a_device()
    for at, act in enumerate(acts):
        if at not in refused:
            play(again, act)
    assert state(again) == state(agent)


def last_report(agent: Agent) -> bytes:
    """The report that the device has just made, once more."""
    agent.seq -= 1
    evicted, moved = agent._evicted, agent._moved
    report = agent.report()
    agent._evicted, agent._moved = evicted, moved
    return report


def settle(agent: Agent, cloud: Responder, budget_bytes: int) -> list[Receipt]:
    agent.set_budget(budget_bytes)
    return [agent.receive(part) for part in cloud.answer(agent.report())]


def test_one_bad_part_does_not_keep_a_device_from_ever_growing_again() -> None:
    """A block of other bytes for a target that cannot be: refused, and the right bytes still are taken."""
    cloud, agent = CLOUDS[0], a_device()
    settle(agent, cloud, 100)
    group = STORES[0].groups[0]
    block = group.ranking()[agent.held]
    tensors = {
        "ids": np.array([block], "<u2").tobytes(), "scales": b"\0\0\x80?", "data": bytes(30),
    }  # fmt: skip
    rogue = build_body(
        model=agent.model, group=0, first=agent.held, target=60_000, part=1, parts=1, tensors=tensors
    )
    assert (agent.receive(encode_part(rogue, agent.seq)), agent.rejected) == (
        Receipt.REJECTED,
        Reason.OUT_OF_RANGE,
    )
    assert settle(agent, cloud, group.layers.bytes[-1])[-1] is Receipt.APPLIED
    assert agent.held == group.count


def test_parts_above_the_budget_take_no_memory_however_many_come() -> None:
    geometry = Geometry(items=4096, dim=16, item_groups=4096, slice_width=1, codec=Codec.PLANES)
    agent = Agent(0, BlockCache())
    agent._cache.announce(ModelNotice(version="m", geometry=geometry, user_groups=1, users=1, layers=1))
    agent.set_budget(1024)
    agent.report()
    table = {name: np.array([value], "<u4").tobytes() for name, value in
             (("layer_blocks", 4000), ("layer_bytes", 5))}  # fmt: skip
    named: dict[str, Any] = {"model": "m", "group": 0, "target": 4000, "parts": 3}
    assert (
        agent.receive(encode_part(build_body(**named, first=0, part=1, tensors=table), agent.seq))
        is Receipt.PROGRESS
    )
    for first in range(0, 40, 10):
        tensors = {
            "ids": np.arange(first, first + 10, dtype="<u2").tobytes(),
            "sizes": np.full(10, 65_535, "<u2").tobytes(),
            "data": bytes(655_350),
        }
        part = encode_part(build_body(**named, first=0, part=2, tensors=tensors), agent.seq)
        assert (agent.receive(part), agent.rejected) == (Receipt.REJECTED, Reason.OUT_OF_RANGE)
    assert agent.prefix is not None
    assert (len(agent.prefix.data), agent.prefix.ids, agent.prefix._seen) == (0, [], {})


def test_the_shelf_of_a_model_that_the_device_has_left_is_released() -> None:
    """Six versions, one after the other: the device keeps the blocks of the last one only."""
    stores = [a_store(items=60, seed=seed) for seed in range(6)]
    agent, kept = a_device(), []
    for store in stores:
        agent._cache.announce(notice_of(store))
        settle(agent, Responder(store), 500)
        kept.append(list(agent._cache._prefixes))
    assert kept == [[(store.version, 0)] for store in stores]
    agent.change_user(1)
    assert agent._cache._prefixes == {}


def test_devices_that_share_a_shelf_keep_it_until_the_last_of_them_has_left() -> None:
    cache = BlockCache()
    agents = [a_device(cache) for _ in range(2)]
    for agent in agents:
        settle(agent, CLOUDS[0], 500)
    (shelf,) = cache._prefixes.values()
    agents[0].set_budget(0)
    assert len(shelf.ids) == agents[1].held > 0  # the other one holds them
    agents[0].change_user(2)
    assert list(cache._prefixes) == [(STORES[0].version, 0)]
    agents[1].set_budget(50)
    assert len(shelf.ids) == agents[1].held  # it is alone now: what it drops is gone
    agents[1].change_user(2)
    assert cache._prefixes == {}


def an_introduction(agent: Agent, **tensors: bytes) -> bytes:
    (part, *_) = CLOUDS[0].answer(last_report(agent))
    found = decode_part(part)
    names = ("user_vector", "layer_blocks", "layer_bytes")
    whole = {name: found.tensor(name) for name in names} | tensors
    return encode_part(
        build_body(model=STORES[0].version, group=0, first=0, target=1, part=1, parts=2, tensors=whole),
        agent.seq,
    )


def table(*values: int) -> bytes:
    return np.array(values, dtype="<u4").tobytes()


@pytest.mark.parametrize(
    ("tensors", "detail"),
    [
        ({"layer_blocks": table(*range(1, 99)), "layer_bytes": table(*range(1, 99))}, "98 layers"),
        ({"layer_blocks": table(1, 17), "layer_bytes": table(1, 2)}, "17 blocks"),
        ({"layer_blocks": table(2, 1), "layer_bytes": table(1, 2)}, "must start"),
        ({"user_vector": bytes(400)}, "vector of 400 bytes"),
    ],
)
def test_an_introduction_that_says_more_than_the_notice_is_refused_and_what_was_held_stays(
    tensors: dict[str, bytes], detail: str
) -> None:
    agent = a_device()
    settle(agent, CLOUDS[1], 500)
    agent.report()
    was = state(agent)
    with pytest.raises(Exception, match=detail):
        agent._take(decode_part(an_introduction(agent, **tensors)))
    assert state(agent) == was


def test_a_flood_of_notices_leaves_the_newest_and_the_one_that_is_held() -> None:
    agent = a_device()
    settle(agent, CLOUDS[0], 500)
    notice = notice_of(STORES[1])
    for number in range(3 * MOST_NOTICES):
        agent._cache.announce(msgspec.structs.replace(notice, version=f"v{number}"))
    known = list(agent._cache._notices)
    assert known == [
        STORES[0].version,
        *(f"v{number}" for number in range(2 * MOST_NOTICES + 1, 3 * MOST_NOTICES)),
    ]


def test_what_was_kept_for_a_larger_budget_is_cut_before_the_first_report() -> None:
    """And where a device has not done so, the cloud's answer with a smaller target is taken."""
    before = a_device()
    settle(before, CLOUDS[0], MOST)
    kept, held = SavedState.from_agent(before, notice_of(STORES[0])), before.held
    for cut_first in (True, False):
        agent = a_device()
        assert kept.restore(agent)
        assert (agent.held, agent.budget_bytes) == (held, UNLIMITED_BYTES)
        agent.local_eviction = cut_first
        agent.set_budget(100)
        report = decode(agent.report(), BudgetReport)
        assert (report.held == held) is not cut_first
        receipts = settle(agent, CLOUDS[0], 100)
        assert receipts[-1] is (Receipt.CONFIRMED if cut_first else Receipt.APPLIED)
        assert agent.resident_bytes <= 100
