"""What chance is drawn from, what a paired test sees, and how far an interval may reach."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console as Terminal

from emulator.cli.compare import metric_lines
from emulator.cli.sweep import means_table, seeds_of
from emulator.cli.terminal_width import plain_for
from emulator.cli.text_table import print_table
from emulator.compare.descriptions import signed_share, verdict
from emulator.compare.percentiles import SortedEvents, estimate_p95_difference
from emulator.compare.resampling_units import _clusters, shared_causes
from emulator.compare.sign_test import adjust_for_all_metrics, sign_test
from emulator.compare.statistics import Bounds, MetricDifference, RatioSums, estimate_differences
from emulator.metrics.per_device import COMPARED_METRICS
from emulator.sweep.exports import SweepMeans
from emulator.sweep.table import DEFAULT_METRICS, SeedStatistics
from scenarios.language.load import load, parse
from scenarios.language.sweep_expansion import training_seeds
from tests.emulator.scenarios import TINY
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray


def means(values: FloatArray) -> RatioSums:
    return RatioSums(values, np.ones_like(values))


def test_devices_with_a_user_in_common_are_one_unit() -> None:
    """The second and the third have one user, the fourth gets on the other side whom the first has."""
    first, second = np.array([7, 8, 8, 9, 5]), np.array([7, 8, 8, 7, 5])
    of, count = _clusters(first, second)
    assert (of.tolist(), count) == ([0, 1, 1, 0, 2], 3)


@pytest.mark.parametrize(
    ("change", "shared"),
    [
        ("seed=1", []),
        ("fleet[phone].shocks=[{}]", ["fleet[phone].shocks"]),
        ("faults=[{type: cloud_down, at: 1 min, duration: 1 min}]", ["faults"]),
        ("rollout={at: 5 min, seed: 7}", ["rollout"]),
        ("cloud={workers: 1, service_time: 10 ms}", ["cloud.workers"]),
        ("actions=[{type: new_users, at: 5 min}]", ["actions: new_users"]),
        ("clock=realtime", ["clock"]),
    ],
)
def test_what_the_devices_of_a_run_share_is_named(change: str, shared: list[str]) -> None:
    assert list(shared_causes(parse(TINY, "tiny", [change]))) == shared


def test_devices_that_replay_the_same_recording_share_it() -> None:
    scenario = load(Path("scenarios/trace-replay.yaml"))
    assert any(key.endswith(".memory.file") for key in shared_causes(scenario))


def test_a_rare_difference_that_always_goes_one_way_is_never_called_none() -> None:
    """Over budget: 0 on one side; on the other 14 of 60 devices are, one of them nearly always."""
    after = np.zeros((60, 1))
    after[:14, 0] = [0.9, *np.linspace(0.001, 0.05, 13)]
    (found,) = estimate_differences(means(np.zeros((60, 1))), means(after))
    assert found.low < 0 < found.high
    assert (found.sure, found.differs) == (True, True)
    assert found.chance == pytest.approx(2 * 0.5**14, abs=2e-4)


def test_the_same_counts_for_these_runs_alone_where_units_say_nothing_of_others() -> None:
    after = np.zeros((60, 1))
    after[:14, 0] = np.linspace(0.001, 0.05, 14)
    (found,) = estimate_differences(means(np.zeros((60, 1))), means(after), general=False)
    assert (found.differs, found.differs_here, found.has_interval) == (False, True, False)


def test_no_interval_is_wider_than_the_values() -> None:
    """Latencies of some seconds, and one of two minutes: the difference is not beyond what was seen."""
    rng = stream(0, "clip")
    one, two = (rng.exponential(1, size=(40, 1)) for _ in range(2))
    two[0] = 120.0
    bounds = Bounds(one.min(axis=0), one.max(axis=0), two.min(axis=0), two.max(axis=0))
    wide, cut = (estimate_differences(means(one), means(two), bounds=each)[0] for each in (None, bounds))
    assert cut.low == max(wide.low, two.min() - one.max())
    assert cut.high == min(wide.high, two.max() - one.min())
    assert wide.low < cut.low < cut.difference < cut.high


def test_sides_that_are_no_pairs_are_drawn_apart_and_seldom_differ() -> None:
    """Each unit has one side only: 200 worlds, 5 % and 3.5 errors of 1.5 points; and a shift is seen."""
    alarms = 0
    none = np.zeros((40, 3))
    for world in range(200):
        one, two = (stream(world, side).lognormal(0, 0.5, size=(40, 3)) for side in "ab")
        ones = np.ones_like(one)
        first = RatioSums(np.concatenate([one, none]), np.concatenate([ones, none]))
        second = RatioSums(np.concatenate([none, two]), np.concatenate([none, ones]))
        alarms += any(
            each.differs for each in estimate_differences(first, second, resamples=500, paired=False)
        )
    assert alarms / 200 < 0.05 + 3.5 * 0.0154
    shifted = RatioSums(np.concatenate([none, two + 2]), np.concatenate([none, ones]))
    assert all(each.differs for each in estimate_differences(first, shifted, paired=False))


def test_percentiles_have_intervals_of_their_own() -> None:
    rng = stream(0, "tails")
    units = np.repeat(np.arange(50), 20)
    one = rng.exponential(1, 1000)
    sides = [
        (
            SortedEvents(units[np.argsort(one)], np.sort(one)),
            SortedEvents(units[np.argsort(one)], np.sort(one) + 2),
        )
    ]
    values = (float(np.percentile(one, 95)), float(np.percentile(one + 2, 95)))
    start = MetricDifference(0.0, 1.0, 1.0, 0.0, 0.0, 50, judged=True, sure=True)
    found = estimate_p95_difference(start, values, sides, 50, 0.95, (-5.0, 5.0))
    assert (found.first, found.second) == values
    assert found.differs
    assert found.low == pytest.approx(2) == found.high


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holms_method_keeps_the_order_and_bounds_them_all(found: list[float]) -> None:
    corrected = adjust_for_all_metrics(np.array(found))
    assert np.all(corrected >= np.minimum(found, 1))
    assert np.all(corrected <= np.minimum(np.array(found) * len(found), 1) + 1e-12)
    assert np.all(np.diff(corrected[np.argsort(found, kind="stable")]) >= 0)


def test_few_units_are_swapped_in_all_ways() -> None:
    scores = np.array([[1.0, 1.0], [2.0, -2.0], [3.0, 3.0], [0.0, 0.0]])
    assert sign_test(scores).tolist() == [2 / 8, 6 / 8]


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"),
        (-1e-7, "-1e-05 %"),
        (-2.9e-5, "-0.003 %"),
        (0.0161, "+1.61 %"),
        (-0.5, "-50.00 %"),
        (3.0, "+300.00 %"),
    ],
)
def test_a_difference_never_looks_like_none(share: float, text: str) -> None:
    assert signed_share(share) == text


@pytest.mark.parametrize(("units", "words"), [(1, "1 unit differs"), (9, "9 units differ")])
def test_few_units_are_counted_in_plain_words(units: int, words: str) -> None:
    few = MetricDifference(1.0, 2.0, 1.0, 0.0, 0.0, units, judged=False)
    assert verdict("ndcg_at_10", few) == f"not judged: only {words}, of 10 needed"


def test_nothing_is_cut_on_a_narrow_screen() -> None:
    """Every figure stands on a line of its own, shorter than 80 columns, for `compare` and `sweep`."""
    judged = MetricDifference(
        0.9712345, 1234567.0, 1234566.0, -98765.4, 12345678.0, 60, judged=True, sure=True
    )
    lines = [line for name in COMPARED_METRICS for line in metric_lines(name.name, judged)]
    assert max(map(len, lines)) <= 80
    assert "    interval   -9.877e+04 to 1.235e+07" in lines
    figure = SeedStatistics(1.25, 0.5, 1.0, 0.7, 10, 5)
    over = "5 trainings, each with 10 seeds of the fleet"
    means = SweepMeans({"evict-at-once": dict.fromkeys(DEFAULT_METRICS, figure)}, over)
    terminal = Terminal(width=80, file=io.StringIO(), force_terminal=True, color_system=None)
    print_table(terminal, means_table(means))
    shown = terminal.file.getvalue().splitlines()  # type: ignore[attr-defined]  # a StringIO
    assert max(map(len, shown)) <= 80
    assert "    update_latency_seconds.p95  1.25 ± 0.5  ×1" in shown
    assert "(as lines: the table needs " in " ".join(shown)


def test_seeds_of_training_are_a_key_of_the_grid() -> None:
    assert training_seeds(seeds_of("0-2,7")) == ["model.training.seed=0,1,2,7"]
    with pytest.raises(typer.BadParameter, match="'x' is not a list of seeds such as 1-5 or 1,2,3"):
        seeds_of("x")


def test_a_letter_that_an_encoding_lacks_ends_no_command(tmp_path: Path) -> None:
    (tmp_path / "ö±.yaml").write_text(TINY)
    command = [sys.executable, "-m", "emulator.cli", "validate", "ö±.yaml"]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=tmp_path, env=ascii_only, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(".yaml: tiny is valid\n")
    replaced = "main.__globals__['app'] = lambda **_: print('ö ±')"
    print_path = f"from emulator.cli.main import main; {replaced}; main()"
    done = subprocess.run(
        [sys.executable, "-c", print_path], env=ascii_only, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "\\xf6 \\xb1\n")


def test_signs_that_an_encoding_lacks_are_written_otherwise() -> None:
    terminal = Terminal(file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert plain_for(terminal, "1 ± 2 ×3") == "1 +- 2 x3"
