"""The responder answers a budget report from the report alone, and refuses impossible reports."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.service.responder import Responder
from tests.worlds import a_store
from wire.errors import InputError, RemoteProtocolError
from wire.messages import BudgetReport, encode
from wire.update_part import DEFAULT_MAX_PAYLOAD, decode_part

STORE = a_store()
RESPONDER = Responder(STORE)


def report(**fields: object) -> bytes:
    values: dict[str, object] = {
        "seq": 1,
        "budget_bytes": 10**6,
        "user": 0,
        "model": STORE.version,
        "held": 0,
    }
    return encode(BudgetReport(**(values | fields)))  # type: ignore[arg-type]


@given(st.integers(0, 600), st.integers(0, 16), st.integers(0, 5))
def test_an_answer_brings_the_blocks_that_are_missing_and_no_others(
    budget: int, held: int, user: int
) -> None:
    group = STORE.groups[user % 2]
    target = group.layers.blocks[group.layers.best(budget)]
    parts = [
        decode_part(part) for part in RESPONDER.answer(report(budget_bytes=budget, held=held, user=user))
    ]
    assert [part.layout.target for part in parts] == [target]
    ids = b"".join(part.tensor("ids") for part in parts)
    assert ids == group.blocks.ids[2 * min(held, target) : 2 * target]
    data = b"".join(part.tensor("data") for part in parts)
    assert data == group.blocks.data[group.starts[min(held, target)] : group.starts[target]]


@given(st.integers(0, 60_000), st.integers(4096, 20_000))
def test_no_part_is_larger_than_the_limit_and_parts_join_without_a_gap(budget: int, limit: int) -> None:
    store = a_store(items=4000)
    parts = Responder(store, limit).answer(encode(BudgetReport(seq=1, budget_bytes=budget, user=0)))
    assert max(map(len, parts)) <= limit
    introduction, *layouts = [decode_part(part).layout for part in parts]
    assert (introduction.introduces, introduction.blocks) == (True, 0)
    assert [layout.introduces for layout in layouts] == [False] * len(layouts)
    ends = [layout.first + layout.blocks for layout in layouts]
    assert [layout.first for layout in layouts] == [0, *ends][: len(layouts)]
    assert [0, *ends][-1] == introduction.target
    assert [(layout.part, layout.parts) for layout in (introduction, *layouts)] == [
        (number + 1, len(parts)) for number in range(len(parts))
    ]


def test_a_device_without_the_model_is_introduced_to_it() -> None:
    (payload,) = RESPONDER.answer(report(model="", user=3, held=9, budget_bytes=0))
    part = decode_part(payload)
    assert part.layout.spans.keys() == {"user_vector", "layer_blocks", "layer_bytes"}
    assert part.tensor("user_vector") == STORE.user_vectors[3].tobytes()


def test_a_device_that_tells_only_its_group_gets_no_user_vector() -> None:
    introduction, blocks = map(decode_part, RESPONDER.answer(report(model="", user=None, group=1)))
    assert introduction.layout.spans.keys() == {"layer_blocks", "layer_bytes"}
    assert (introduction.layout.group, blocks.tensor("ids")) == (1, STORE.groups[1].blocks.ids)


def test_equal_reports_get_equal_answers_from_any_replica() -> None:
    asked = report(held=3, seq=77)
    assert RESPONDER.answer(asked) == Responder(a_store()).answer(asked) == RESPONDER.answer(asked)


FORGETFUL = Responder(STORE, cache_bytes=2000)


@given(st.integers(0, 600), st.integers(0, 16), st.integers(0, 5), st.sampled_from(["", STORE.version]))
def test_answers_do_not_depend_on_what_is_kept_of_earlier_ones(
    budget: int, held: int, user: int, model: str
) -> None:
    asked = report(budget_bytes=budget, held=held, user=user, model=model)
    assert FORGETFUL.answer(asked) == RESPONDER.answer(asked)
    assert FORGETFUL.cached_bytes <= 2000


@given(st.integers(0, 600), st.integers(1, 10**6))
def test_full_bytes_is_what_a_whole_answer_takes(budget: int, seq: int) -> None:
    answer = RESPONDER.answer(report(budget_bytes=budget, seq=seq, held=0))
    assert RESPONDER.full_bytes(0, budget, seq) == sum(map(len, answer))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"user": 6}, "unknown_user"),
        ({"user": None}, "unknown_group"),
        ({"user": None, "group": 2}, "unknown_group"),
        ({"held": 17}, "out_of_range"),
    ],
)
def test_a_report_of_what_does_not_exist_is_refused(fields: dict[str, object], reason: str) -> None:
    with pytest.raises(RemoteProtocolError, match=reason):
        RESPONDER.answer(report(**fields))


def test_a_block_that_fits_no_part_is_refused_at_the_start() -> None:
    with pytest.raises(
        InputError, match=r"max_payload\(=4096 B\) must be at least \d+ B, for the largest block"
    ):
        Responder(a_store(items=40_000), 4096)
    Responder(a_store(items=40_000), DEFAULT_MAX_PAYLOAD)
