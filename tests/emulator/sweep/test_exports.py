"""The means of a sweep: variants are called what the user wrote, and a ± says what it is over."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from emulator.sweep.exports import sweep_means
from emulator.sweep.table import Row
from scenarios.language.sweep_expansion import expand
from tests.emulator.scenarios import TINY
from wire.errors import InputError

SWEPT = (
    TINY
    + """
sweep:
  cases:
    - {name: lean, set: {updates.headroom: 10 %}}
    - {name: plain, set: {}}
  grid:
    updates.retry_after: [10 s, 1 min]
    model.training.seed: [0, 1]
    "fleet[tvbox].memory": [{type: square_wave, low: 9 KiB, high: 1 MiB, low_for: 1 min, high_for: 1 min}]
"""
)


def test_variants_are_called_what_the_user_wrote() -> None:
    plan = expand(SWEPT, over=["updates.retry_after=2 s, 3 s"])
    wave = "{type: square_wave, low: 9 KiB, high: 1 MiB, low_for: 1 min, high_for: 1 min}"
    assert list(dict.fromkeys(each.variant for each in plan.combinations)) == [
        f"{case}, updates.retry_after={wait}, fleet[tvbox].memory={wave}"
        for case in ("lean", "plain")
        for wait in ("2 s", "3 s")
    ]
    assert len(plan.combinations) == 8
    only_seeds = expand(TINY, over=["model.training.seed=0,1"], seeds=[1])
    assert {each.variant for each in only_seeds.combinations} == {"base"}


def runs(*, trainings: int, seeds: int) -> list[Row]:
    """Return rows of two variants: b has 1 more; a training adds 10, a seed of the fleet 1."""
    return [
        {
            "combination": f"{name}+{training}", "variant": name, "model.training.seed": training,
            "seed": seed, "ndcg_at_10": 1.0 * more + 10 * training + seed,
        }
        for more, name in enumerate("ab")
        for training in range(trainings)
        for seed in range(seeds)
    ]  # fmt: skip


NO_SPREAD = "no ±, since there is one run of each"
OF_FLEET = "±: standard deviation between seeds of the fleet"
OF_TRAININGS = "±: standard deviation between trainings"


@pytest.mark.parametrize(
    ("trainings", "seeds", "mean", "deviation", "over", "spread"),
    [
        (1, 1, 0.0, None, "one seed of the fleet, one training", NO_SPREAD),
        (1, 3, 1.0, 1.0, "3 seeds of the fleet, one training", OF_FLEET),
        (2, 1, 5.0, 50**0.5, "2 trainings, each with one seed of the fleet", OF_TRAININGS),
        (2, 3, 6.0, 50**0.5, "2 trainings, each with 3 seeds of the fleet", OF_TRAININGS),
    ],
)
def test_a_deviation_is_between_trainings_if_there_are_several(
    trainings: int, seeds: int, mean: float, deviation: float | None, over: str, spread: str
) -> None:
    means = sweep_means(runs(trainings=trainings, seeds=seeds), ["ndcg_at_10"])
    first, second = (means.statistics[name]["ndcg_at_10"] for name in "ab")
    assert (first.mean, second.mean) == (mean, mean + 1)
    assert first.deviation == pytest.approx(deviation)
    assert (first.fleet_seeds, first.training_seeds) == (seeds, trainings)
    assert means.caption == f"Means over {over}; {spread}"


def test_the_files_say_what_the_table_says(tmp_path: Path) -> None:
    means = sweep_means(runs(trainings=2, seeds=3), ["ndcg_at_10"])
    for name in ("x.parquet", "x.md"):
        means.write_table(tmp_path / name)
    means.write_figure(tmp_path / "x.html")
    (first, second) = pq.read_table(tmp_path / "x.parquet").to_pylist()
    assert first | {"half_width": round(first["half_width"], 3)} == {
        "variant": "a", "metric": "ndcg_at_10", "mean": 6.0, "deviation": pytest.approx(50**0.5),
        "half_width": 63.531, "ratio": 1.0, "fleet_seeds": 3, "training_seeds": 2,
        "over": "2 trainings, each with 3 seeds of the fleet",
    }  # fmt: skip
    assert second["ratio"] == pytest.approx(7 / 6)
    assert "| a | 6.0000 ± 7.0711 |" in (tmp_path / "x.md").read_text()
    assert (tmp_path / "x.html").stat().st_size > 1_000_000


def test_a_metric_that_no_run_has_is_one_line() -> None:
    with pytest.raises(InputError, match=r"metric\(='x'\) must be a figure of summary\.json"):
        sweep_means(runs(trainings=1, seeds=1), ["x"])
