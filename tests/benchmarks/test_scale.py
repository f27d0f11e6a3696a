import pytest
from msgspec.structs import replace

from benchmarks.scale import (
    ITEMS,
    USERS,
    Cost,
    Entry,
    Promise,
    broken_promises,
    fit_line,
    linearity_problem,
    measure,
    printed_problems,
)
from cloud.data.sources import Synthetic
from cloud.training.pretrain import CANDIDATES

COST = Cost(
    name="x",
    users=USERS[-1],
    items=ITEMS,
    interactions=1_200_000,
    user_groups=128,
    backbone="ials",
    load_seconds=1.0,
    stage_seconds={},
    seconds=700.0,
    cpu_seconds=600.0,
    peak_mib=3_000.0,
    valid_ndcg_at_20=None,
    test_ndcg_at_20=None,
    pretrain_cpu_seconds=100.0,
    rotate_cpu_seconds=5.0,
    encode_cpu_seconds=45.0,
)
ENTRY = Entry("x", Synthetic(), Promise(minutes=15, gigabytes=4))


def test_an_entry_says_what_it_cost() -> None:
    world = Synthetic(users=80, items=60, user_groups=2, item_kinds=4, interactions_per_user=12)
    cost = measure(Entry("small", world))
    assert (cost.users, cost.items, cost.backbone) == (80, 60, "ials")
    assert {"pretrain", "cluster", "rotate", "evaluate", "encode"} <= cost.stage_seconds.keys()
    assert abs(sum(cost.stage_seconds.values()) - cost.seconds) < 1e-6
    assert 0 < cost.pretrain_cpu_seconds + cost.encode_cpu_seconds < cost.cpu_seconds
    assert all(seconds >= 0 for seconds in cost.stage_seconds.values())
    assert cost.valid_ndcg_at_20 is not None
    assert cost.peak_mib > 10


def test_promises_are_upper_bounds() -> None:
    assert broken_promises([ENTRY], [COST]) == []
    assert broken_promises([ENTRY], [replace(COST, seconds=901.0)]) == ["x: minutes(=15.0) must be <= 15"]
    assert broken_promises([ENTRY], [replace(COST, peak_mib=4_000.0)]) == ["x: gigabytes(=4.19) must be <= 4"]
    assert broken_promises([Entry("x", Synthetic())], [replace(COST, seconds=1e9)]) == []


def test_twice_the_interactions_may_take_twice_the_time_but_not_three_times() -> None:
    def at(seconds: float) -> list[str]:
        return linearity_problem([replace(COST, users=USERS[-2], cpu_seconds=seconds), COST])

    assert at(300.0) == []
    assert at(200.0) == ["twice the interactions: times(=3.00) must be <= 2.3"]
    assert linearity_problem([COST]) == []  # nothing to compare with


def test_a_line_is_found_through_points_that_lie_on_one() -> None:
    line = fit_line(
        [replace(COST, interactions=n, cpu_seconds=10 + n / 1e4) for n in (100_000, 200_000, 400_000)]
    )
    assert {name: round(float(str(value)), 6) for name, value in line.items()} == {
        "cpu_seconds_to_begin_with": 10,
        "cpu_seconds_per_million_interactions": 100,
        "largest_deviation_from_the_line": 0,
    }


def test_full_tables_must_be_as_good_as_print_and_cheap() -> None:
    full = {"recall_at_20": 0.18, "ndcg_at_20": 0.15, "tail_recall_at_20": 0.03, "coverage": 0.4}
    assert printed_problems([COST, replace(COST, full=full)]) == []
    weak = replace(COST, full=full | {"ndcg_at_20": 0.1}, pretrain_cpu_seconds=300.0)
    assert printed_problems([weak]) == [
        "x: ndcg_at_20(=0.1000) must be >= 0.1378",
        "x: pretrain_cpu_seconds(=300) must be <= 240",
    ]


def test_an_entry_that_is_in_print_is_learned_from_all_that_is_known() -> None:
    world = Synthetic(users=80, items=60, user_groups=2, item_kinds=4, interactions_per_user=12)
    cost = measure(Entry("small", world, is_printed=True))
    assert cost.backbone in CANDIDATES
    assert cost.full is not None
    assert cost.full["ndcg_at_20"] == pytest.approx(cost.test_ndcg_at_20, abs=0.02)  # rounding may swap items
