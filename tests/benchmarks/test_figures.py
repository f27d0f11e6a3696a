import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality.bootstrap import curves, ratio, resampled
from benchmarks.quality.compare import Result
from benchmarks.quality.run import Plan, run
from benchmarks.quality.slices import labels, parts
from benchmarks.quality.sources import Source, detect_source
from cloud.data.sources import LightGCN, MovieLens, RecBole
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


def a_result(method: str, values: list[float]) -> Result:
    table = np.array([values] * len(METRICS))
    scored = UserMetrics(
        np.arange(len(values)), table, np.ones(4, dtype=bool), np.zeros((len(values), 10), dtype=np.int64)
    )
    return Result("world", method, 1.0, 10, 0, "", scored)


def test_bands_hold_the_mean_and_pairs_cancel_what_users_have_in_common() -> None:
    values = np.random.default_rng(0).random(200)
    found = curves([a_result("a", values.tolist()), a_result("b", (values * 0.9).tolist())])
    band = found.bands["a", 1.0]["ndcg_at_20"]
    assert band.low < band.mean < band.high
    pair = ratio(found, ("b", 1.0), ("a", 1.0), "ndcg_at_20")
    assert (pair.low, pair.mean, pair.high) == pytest.approx((0.9, 0.9, 0.9))


def test_a_resample_leaves_out_users_without_a_value() -> None:
    values = np.array([[1.0, np.nan, 3.0]])
    assert resampled(values, np.array([[1.0, 5.0, 1.0], [2.0, 1.0, 0.0]])).tolist() == [[2.0, 1.0]]


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


def test_a_quick_comparison_writes_all_that_it_should(tmp_path: Path) -> None:
    source = Source(a_world(), Model(training=SMALL), None)
    run(
        source, Plan(seeds=2, threads=1, out=tmp_path, catalogue="quick", prefixes=("peel:best", "head:int8"))
    )
    content = json.loads((tmp_path / "quality.json").read_bytes())
    assert {row["method"] for row in content["rows"]} == {"full", "peel:best", "head:int8"}
    assert {row["seed"] for row in content["rows"]} == {0, 1}
    assert [duel["budget_share"] for duel in content["duels"]] == [0.05, 0.25]
    assert "head:int8" in (tmp_path / "quality.html").read_text(encoding="utf-8")
    kinds = {part["kind"] for part in json.loads((tmp_path / "quality-parts.json").read_bytes())}
    assert kinds == {"activity", "user group"}
