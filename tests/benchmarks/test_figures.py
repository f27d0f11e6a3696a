import csv
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.quality.compare import Result, changed_share, worst_group
from benchmarks.quality.intervals import clustered_variance, curves, ratio, ratio_of_means
from benchmarks.quality.populations import hold_out, newcomers
from benchmarks.quality.run import Plan, run
from benchmarks.quality.slices import labels, parts
from benchmarks.quality.sources import Source, detect_source, open_sources
from cloud.data.sources import LightGCN, MovieLens, RecBole
from cloud.training.baselines.full_model import first_users
from cloud.training.baselines.scoring import METRICS, UserMetrics, head_size, mean_ndcg, score
from scenarios.language.schema import Model
from tests.benchmarks.worlds import SMALL, a_world, lists
from wire.errors import InputError
from wire.ranking_metrics import FloatArray, IntArray


def falling(batch: IntArray) -> FloatArray:
    """Everybody likes item 0 most, item 49 least."""
    return np.tile(-np.arange(50.0), (len(batch), 1))


def test_scores_of_a_world_worked_out_by_hand() -> None:
    known = lists([0], [], [1])
    wanted = lists([1, 40], [], [15])
    scored = score(falling, known, wanted, 50)
    assert head_size(50) == 10
    assert scored.users.tolist() == [0, 2]
    # User 0 finds item 1 first of two wanted; item 40, the only one of the tail, comes too late.
    # User 2 finds item 15, a tail item, in place 15: item 1 is known.
    ndcg = [1 / (1 + 1 / np.log2(3)), 1 / np.log2(16)]
    # Among the first 50 user 0 finds item 40, too, in place 40.
    late = [(1 + 1 / np.log2(41)) / (1 + 1 / np.log2(3)), ndcg[1]]
    found = [[*row] for row in (ndcg, [0.5, 1.0], [0.0, 1.0], late, [1.0, 1.0], late, [1.0, 1.0])]
    assert scored.values == pytest.approx(np.array(found))
    assert scored.coverage == 21 / 50
    assert mean_ndcg(falling, known, wanted) == pytest.approx(np.mean(ndcg))


def test_items_that_are_not_held_are_not_shown() -> None:
    def two(batch: IntArray) -> FloatArray:
        return np.where(np.arange(50) < 2, 1.0, -np.inf) * np.ones((len(batch), 1))

    scored = score(two, lists([0], [0]), lists([3], [1]), 50)
    assert scored.shown.nonzero()[0].tolist() == [1]


def test_users_without_tail_items_are_left_out_of_tail_recall() -> None:
    scored = score(falling, lists([], []), lists([0], [12]), 50)
    assert np.isnan(scored.values[2, 0])
    assert scored.means()["tail_recall_at_20"] == 1.0


def a_result(method: str, values: list[float], seed: int = 0) -> Result:
    table = np.array([values] * len(METRICS))
    first = np.zeros((len(values), 10), dtype=np.int64)
    scored = UserMetrics(np.arange(len(values)), table, np.ones(4, dtype=bool), first)
    return Result(method, 1.0, 10, seed, "", scored)


def test_bands_hold_the_mean_and_pairs_cancel_what_users_and_seeds_have_in_common() -> None:
    rng = np.random.default_rng(0)
    seeds = [rng.random(200) + rng.random() for _ in range(3)]
    found = curves(
        [
            a_result(method, (factor * values).tolist(), seed)
            for seed, values in enumerate(seeds)
            for method, factor in (("a", 1.0), ("b", 0.9))
        ]
    )
    band = found.bands["a", 1.0]["ndcg_at_20"]
    assert band.low < band.mean < band.high
    pair = ratio(found, ("b", 1.0), ("a", 1.0), "ndcg_at_20")
    assert (pair.low, pair.mean, pair.high) == pytest.approx((0.9, 0.9, 0.9))


def test_cells_without_a_number_are_left_out() -> None:
    users = np.arange(3)
    band = ratio_of_means([(users, np.array([1.0, np.nan, 3.0]), np.ones(3))])
    assert band.mean == 2.0


@pytest.mark.parametrize("newcomers", [False, True], ids=["the same users", "users of their own"])
@pytest.mark.parametrize("of_seeds", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("seeds", [3, 5])
def test_an_interval_holds_the_truth_nineteen_times_in_twenty(
    newcomers: bool, of_seeds: float, seeds: int
) -> None:
    rng, users, runs = np.random.default_rng(0), 100, 600
    held = 0
    for _ in range(runs):
        numbers = [np.arange(users) + (users * seed if newcomers else 0) for seed in range(seeds)]
        tastes = rng.normal(1, 0.5, users * seeds)  # what a user brings, whatever the seed
        y = [tastes[own] + rng.normal(0, of_seeds) + rng.normal(0, 0.2, users) for own in numbers]
        x = [0.8 * each + rng.normal(0, of_seeds / 2) + rng.normal(0, 0.2, users) for each in y]
        band = ratio_of_means(list(zip(numbers, x, y, strict=True)))
        held += band.low <= 0.8 <= band.high
    assert 0.93 <= held / runs <= 0.995


def test_one_seed_has_the_interval_of_its_users() -> None:
    errors = np.random.default_rng(0).normal(size=50)
    one_seed = np.zeros(50, dtype=np.int64)
    variance, freedom = clustered_variance(errors - errors.mean(), np.arange(50), one_seed)
    assert variance == pytest.approx(errors.var(ddof=1) / 50)
    assert freedom == 49


def test_what_changes_in_a_list_is_what_was_not_in_it_before() -> None:
    before = np.array([[3, 1, 2, *range(10, 17)], [0, 1, *[-1] * 8]])
    after = np.array([[1, 3, 9, *range(10, 17)], [0, 5, *[-1] * 8]])
    assert changed_share(before, after).tolist() == [0.1, 0.1]


def test_the_worst_group_keeps_least_and_groups_without_quality_do_not_count() -> None:
    own, full = a_result("a", [0.1, 0.1, 0.3, 0.0]).scored, a_result("full", [0.2, 0.2, 0.4, 0.0]).scored
    assert worst_group(own, full, np.array([0, 0, 1, 2])) == pytest.approx(0.5)


def test_newcomers_are_last_and_the_catalogue_is_that_of_the_others() -> None:
    world = a_world()
    late = np.array([4, 7])
    everyone, history = hold_out(world, late)
    assert everyone.user_ids[-2:] == ("4", "7")
    names = np.array(everyone.item_ids)
    for at, user in ((38, 4), (39, 7)):
        known = {world.item_ids[item] for item in world.known[user]}
        assert set(names[everyone.known[at]]) == known
        assert set(names[history[at - 38]]) == {world.item_ids[item] for item in world.train[user]}
    assert everyone.test.counts()[:38].sum() == 0 < everyone.test.counts()[38:].min()
    assert everyone.valid.counts()[38:].sum() == 0
    popularity = first_users(everyone, 38).popularity()
    assert (np.diff(popularity) <= 0).all()


def test_newcomers_have_the_taste_of_what_they_met() -> None:
    found = newcomers(a_world(), msgspec.structs.replace(SMALL, backbone="ials"))
    assert found.full.newcomers is not None
    late = np.array([int(name) % 2 for name in found.interactions.user_ids[-len(found.full.newcomers) :]])
    parity = np.array([int(name) % 2 for name in found.interactions.item_ids])
    best = np.argsort(-found.full.users[-len(late) :] @ found.full.items.T, axis=1)[:, : len(parity) // 2]
    assert (parity[best] == late[:, None]).all()


def test_the_worst_part_keeps_the_least_of_the_full_table(tmp_path: Path) -> None:
    (tmp_path / "user_map.csv").write_text("uid,gender,age\n" + "".join(f"{u},F,25\n" for u in range(39)))
    world = a_world()
    kinds = labels(world, None, tmp_path)
    assert set(kinds) == {"activity", "gender", "age"}
    small = a_result("peel:best", [*[0.4] * 39, 0.1])
    found = parts([small], a_result("full", [0.5] * 40), {"gender": kinds["gender"]})
    assert [(each.part, each.users, each.worst) for each in found] == [("F", 39, False), ("unknown", 1, True)]
    assert found[0].share_of_full == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("file", "kind"), [("train.txt", LightGCN), ("x.inter", RecBole), ("u.data", MovieLens)]
)
def test_a_folder_is_known_by_its_files(tmp_path: Path, file: str, kind: type) -> None:
    (tmp_path / file).touch()
    assert isinstance(detect_source(tmp_path), kind)


def test_an_unknown_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected train\.txt"):
        detect_source(tmp_path)


def test_a_folder_with_times_is_compared_with_one_cut_in_time_too(tmp_path: Path) -> None:
    rows = [(user, item, 5, 10 * item + user) for user in range(4) for item in range(user, 30)]
    (tmp_path / "u.data").write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))
    shares, cut = open_sources([tmp_path], None, cut=True)
    assert (shares.title, cut.title) == ("u", "u, one cut in time")
    first = min(int(cut.interactions.item_ids[item]) for item in cut.interactions.test.items)
    assert all(int(cut.interactions.item_ids[item]) <= first for item in cut.interactions.known.items)
    for name, items in (("train.txt", "1 2 3"), ("test.txt", "4")):
        (tmp_path / name).write_text(f"0 {items}\n")
    with pytest.raises(InputError, match="has no times to cut"):
        open_sources([tmp_path], None, cut=True)


def test_a_quick_comparison_writes_all_that_it_should(tmp_path: Path) -> None:
    source = Source(a_world(), Model(training=SMALL), None)
    methods = ("peel:best", "head:groups", "list")
    run([source], Plan(seeds=2, threads=1, out=tmp_path, catalogue="quick", prefixes=methods))
    with (tmp_path / "quality.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert {row["method"] for row in rows} == {"full", *methods}
    assert {(row["data"], row["users"], row["seeds"]) for row in rows} == {
        ("checkerboard", "members", "2"),
        ("checkerboard", "newcomers", "2"),
    }
    assert {row["metric"] for row in rows} >= {
        "ndcg_at_20",
        "tail_recall_at_20",
        "coverage",
        "churn_at_10",
        "worst_group",
    }
    text = (tmp_path / "quality.md").read_text(encoding="utf-8")
    assert "### checkerboard, newcomers, 2 seeds, 16 users" in text
    assert "| **peel:best** |" in text
    assert "head:groups" in (tmp_path / "quality-checkerboard.html").read_text(encoding="utf-8")
    pages = json.loads((tmp_path / "quality-checkerboard-parts.json").read_bytes())
    assert {part["kind"] for part in pages} == {"activity", "user group"}
