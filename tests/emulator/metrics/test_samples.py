"""A sample of the fleet: who is in it, what stands for what, and how far the figures may be off."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.sample import WholeFleet
from devices.simulated.cloud_model import CloudSettings, exact_part
from devices.simulated.sample import draw_sample, sample_size
from emulator.metrics.per_device import COMPARED_METRICS, MeasuredRun
from emulator.metrics.sample_estimates import SampledDevices, estimate, symmetrical
from emulator.report.page import write_report
from emulator.run_directory.event_reader import read_tables
from scenarios.catalogue.summary_keys import ESTIMATED, SAMPLE_KEYS, key_of
from scenarios.language.load import dump, parse
from scenarios.language.thresholds import rules_of
from scenarios.language.warnings import scenario_warnings
from tests.emulator.scenarios import TINY, Runner
from wire.errors import InputError
from wire.random_streams import stream

HALF = ("sample=50 %",)


@given(st.integers(1, 300), st.floats(0.001, 1), st.floats(0.001, 1))
def test_a_larger_sample_holds_a_smaller_one(count: int, one: float, other: float) -> None:
    small, large = (draw_sample("phone", count, 7, share) for share in sorted((one, other)))
    assert 1 <= len(small) == sample_size(count, min(one, other)) <= len(large) <= count
    assert set(small.tolist()) <= set(large.tolist())
    assert sample_size(count, 1.0) == count


def test_a_device_of_a_sample_lives_as_in_the_fleet_and_nothing_else_changes(runner: Runner) -> None:
    whole, part = runner.run(TINY), runner.run(TINY, *HALF)
    assert "\nsample:" not in dump(parse(TINY))
    assert set(part.summary) - set(whole.summary) == set(SAMPLE_KEYS)
    assert (part.summary["devices"], part.summary["sampled_devices"]) == (whole.summary["devices"], 15)
    devices = pq.read_table(part.folder / "devices.parquet")
    drawn = {f"{name}-{at:05d}" for name, count in (("phone", 20), ("tvbox", 10))
             for at in draw_sample(name, count, 5, 0.5).tolist()}  # fmt: skip
    assert set(devices["device"].to_pylist()) == drawn
    columns = devices.select(["group", "fleet_devices", "sampled_devices"]).group_by("group").aggregate(
        [("fleet_devices", "max"), ("sampled_devices", "max"), ("group", "count")]
    )  # fmt: skip
    assert sorted(map(tuple, (row.values() for row in columns.to_pylist()))) == [
        ("phone", 20, 10, 10),
        ("tvbox", 10, 5, 5),
    ]
    tables, all_ = (read_tables(run.folder / "events") for run in (part, whole))
    for name, table in tables.items():
        rows = [column for column in table.column_names if column != "wall_s"]
        mask = pa.array([device in drawn for device in all_[name]["device"].to_pylist()], pa.bool_())
        assert table.select(rows).equals(all_[name].filter(mask).select(rows)), name


def test_a_sample_of_everything_has_the_figures_of_the_fleet(runner: Runner) -> None:
    whole, all_ = runner.run(TINY), runner.run(TINY, "sample=1.0")
    changing = {"wall_seconds", "device_hours_per_wall_minute", *SAMPLE_KEYS}
    kept = {name: value for name, value in all_.summary.items() if name not in changing}
    assert kept == {name: value for name, value in whole.summary.items() if name not in changing}
    metrics = [pq.read_table(run.folder / "metrics.parquet") for run in (whole, all_)]
    assert metrics[0].equals(metrics[1])
    intervals = all_.summary["intervals"]
    assert isinstance(intervals, dict)
    assert list(intervals) == list(ESTIMATED)
    changes = whole.summary["budget_changes"]
    assert intervals["budget_changes"] == {"low": changes, "high": changes}  # nothing is left unknown


def test_totals_are_scaled_by_group_and_judged_so(runner: Runner) -> None:
    """A tenth of 20 and of 10 devices: 2 and 1, each stands for ten; a third of 20 is 7, so 20/7 each."""
    rule = 'thresholds={"budget_changes": ["value>100"], "budget_changes{group=phone}": ["value>0"]}'
    for share, weights in (("10 %", {"phone": 10, "tvbox": 10}), ("0.35", {"phone": 20 / 7, "tvbox": 2.5})):
        part = runner.run(TINY, f"sample={share}", rule)
        events = read_tables(part.folder / "events")["budget"]["device"].to_pylist()
        own = {name: sum(device.startswith(name) for device in events) for name in weights}
        scaled = {name: round(own[name] * Fraction(weights[name]).limit_denominator(100)) for name in own}
        assert part.summary["budget_changes"] == sum(scaled.values())
        verdicts = part.summary["thresholds"]
        assert isinstance(verdicts, list)
        assert [verdict["value"] for verdict in verdicts] == [sum(scaled.values()), scaled["phone"]]
        hours = part.summary["device_seconds"]
        assert isinstance(hours, float)
        assert 0.9 * 30 * 1200 < hours <= 30 * 1200


def test_compare_has_the_figures_of_a_sample(runner: Runner) -> None:
    part = runner.run(TINY, "sample=0.35")  # devices of one group stand for 20/7, of the other for 2.5
    above, below = MeasuredRun(part.folder).sums
    for number, metric in enumerate(COMPARED_METRICS):
        if metric.name not in ("ndcg_at_10", "delta_ratio"):
            continue
        figure = part.summary[metric.name]
        assert figure == pytest.approx(
            above[:, number].sum() / below[:, number].sum(), rel=1e-5
        )  # scaled bytes are rounded


def test_the_report_has_the_intervals(runner: Runner) -> None:
    part = runner.run(TINY, *HALF)
    page = write_report(part.folder).read_text()
    assert 'id="sample" open>' in page
    assert "15 devices, 50.0 % of each group, were simulated" in page
    assert "too few devices of the sample have a value" in page  # 15 devices
    assert "<code>sampled_devices</code>" in page
    assert 'id="sample"' not in write_report(runner.run(TINY).folder).read_text()


def test_intervals_can_have_thresholds() -> None:
    assert key_of("intervals.update_bytes.high") is not None
    assert key_of("intervals.update_bytes.middle") is None
    (rule,) = rules_of({"intervals.update_bytes.high": ["value<500MB"]})
    assert (rule.of_summary, rule.limit) == (True, 500_000_000)


def test_intervals_hold_the_figures_of_the_fleet(tmp_path: Path, store_root: Path) -> None:
    """40 samples of a quarter of 400 devices: each figure is held by 37 or more, as 93 of 100 promise."""
    held = WholeFleet.simulated(tmp_path, store_root, 400).count_held(range(40), 0.25)
    assert min(held.values()) >= 37, held


def test_intervals_of_known_fleets_hold_together() -> None:
    """Skewed, rare and proportional values in three strata, one with a single device: 200 samples."""
    rng = stream(0, "fleet")
    sizes = np.array([3000, 1000, 10])
    stratum = np.repeat(np.arange(3), sizes)
    base = rng.lognormal(0, 1, len(stratum))
    values = np.stack(
        [
            rng.lognormal(0, 1.2, len(stratum)) * (1 + stratum),
            rng.lognormal(0, 1, len(stratum)) * (rng.random(len(stratum)) < 0.3),
            base * rng.normal(3, 1, len(stratum)),
        ],
        axis=1,
    )
    below = np.full_like(values, np.nan)
    below[:, 2] = base
    truth = [*values[:, :2].sum(axis=0), values[:, 2].sum() / base.sum()]
    held = 0
    for _ in range(200):
        parts = [
            rng.choice(np.flatnonzero(stratum == h), max(size // 10, 1), False)
            for h, size in enumerate(sizes)
        ]
        chosen = np.concatenate(parts)
        found = estimate(SampledDevices(stratum[chosen], sizes), values[chosen], below[chosen])
        held += all(
            each.low is not None and each.high is not None and each.low <= right <= each.high
            for each, right in zip(found, truth, strict=True)
        )
    assert held >= 180  # 95 % of 200 are 190; 3.5 standard errors of 3.1


def test_values_that_are_too_rare_have_no_interval() -> None:
    values = np.zeros((500, 2))
    values[:29, 0], values[:30, 1] = 1, 1
    sample = SampledDevices(np.zeros(500, dtype=np.int64), np.array([5000]))
    few, enough = estimate(sample, values, np.full_like(values, np.nan))
    assert (few.value, few.low, few.high) == (290, None, None)
    assert enough.low is not None
    assert 30 <= enough.low < 300 == enough.value


@given(st.floats(-2, 2), st.floats(0.5, 4))
def test_halls_transformation_is_inverted(skew: float, quantile: float) -> None:
    t = float(symmetrical(quantile, np.array([skew]))[0])
    shape = skew / 3
    back = t + shape * t**2 + shape**2 * t**3 / 3 + shape / 2
    assert back == pytest.approx(quantile, abs=1e-6)


def test_a_queue_is_sampled_where_its_workers_are_whole() -> None:
    settings = CloudSettings(workers=40, queue_limit=200)
    assert settings.of_sample(None) is settings
    assert settings.of_sample(0.05) == CloudSettings(workers=2, queue_limit=10)
    assert [exact_part(40, share) for share in (0.1, 0.025, 0.01, 1.0)] == [4, 1, None, 40]
    with pytest.raises(ValueError, match="must be a whole number"):
        settings.of_sample(0.01)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("sample=0 %",), "sample (=0 %) must be > 0"),
        (("sample=10 %", "clock=realtime"), "sample (=10 %) needs clock virtual or lockstep"),
        (
            ("sample=10 %", "cloud={workers: 8, service_time: 10 ms}"),
            "sample (=10 %) of cloud.workers (=8) must be a whole number of workers, else the sample has "
            "another queue than the fleet: the least share is 1 of 8, 12.5 %",
        ),
        (
            ("sample=50 %", "cloud={workers: 8, queue_limit: 3, service_time: 10 ms}"),
            "sample (=50 %) of cloud.queue_limit (=3) must be a whole number of reports",
        ),
        (
            ("sample=25 %", "fleet[tvbox].count=2", "cloud={workers: 8, service_time: 10 ms}"),
            "sample (=25 %) is 6 of 22 devices",
        ),
    ],
)
def test_what_cannot_be_sampled_is_refused(changes: tuple[str, ...], said: str) -> None:
    with pytest.raises(InputError) as error:
        parse(TINY, "tiny", changes)
    assert said in str(error.value)


def test_what_a_sample_shows_less_well_is_said() -> None:
    queue, rollout = (
        list(scenario_warnings(parse(TINY, "tiny", ["sample=50 %", change])))
        for change in ("cloud={workers: 2, service_time: 10 ms}", "rollout={at: 5 min, seed: 7}")
    )
    assert "sample(=50 %): 1 of 2 workers: at the same load fewer workers" in "".join(queue)
    assert "a group of the rollout has about 3 devices of the sample" in "".join(rollout)
