"""A model that is retrained while the run goes on: what it knows, and how devices come to hold it."""

import numpy as np
import pytest

from cloud.service.retraining import Retraining
from cloud.training.config import Training
from devices.timeline.visits import FleetVisits
from emulator.simulation.retraining import check_backbone, known_at
from tests.emulator.scenarios import Runner, number
from tests.emulator.simulation.test_visits import DRIFT
from wire.errors import InputError
from wire.ranking_metrics import ItemLists
from wire.units import NS_PER_S, Duration, Share

RETRAINED = DRIFT + "retrain: {every: 6 h, lag: 10 min}\n"
USERS = 400


def visits() -> FleetVisits:
    """Return one visit of each user, of item 1; each knows item 0, and item 9 has no row."""
    users = np.arange(USERS)
    return FleetVisits.of_events(
        np.repeat(users, 2),
        np.repeat(users * NS_PER_S, 2),
        np.tile([1, 9], USERS),
        ItemLists.of_pairs(users, np.zeros(USERS, dtype=np.int64), USERS),
        USERS,
        5,
    )


def test_a_version_knows_what_was_reported_before_the_lag_and_no_more() -> None:
    lag, now_ns = Duration(100 * NS_PER_S), 300 * NS_PER_S
    everybody, nobody, half = (
        known_at(visits(), Retraining(lag=lag, reports=Share(share)), 3, now_ns) for share in (1, 0, 0.5)
    )
    assert [lists.tolist() for lists in (everybody[199], everybody[200])] == [[0, 1], [0]]
    assert nobody.counts().tolist() == USERS * [1]
    reporting = np.flatnonzero(half.counts() == 2)
    assert 70 < len(reporting) < 130
    later = known_at(visits(), Retraining(lag=lag, reports=Share(0.5)), 3, 2 * now_ns)
    assert set(reporting) <= set(np.flatnonzero(later.counts() == 2))  # the same users report each time


def test_a_model_of_which_validation_preferred_cosines_is_not_retrained() -> None:
    auto = Training(backbone="auto")
    check_backbone(auto, {"pretrain": {"backbone": "ials"}})
    with pytest.raises(InputError, match=r"^retrain needs the backbone ials: .*'auto'\) chose 'cosine' on"):
        check_backbone(auto, {"pretrain": {"backbone": "cosine"}})


@pytest.mark.slow
def test_devices_follow_the_versions_by_deltas_under_each_clock_and_shard_count(runner: Runner) -> None:
    """Three versions for some forty devices; those that take no deltas get a first update each time."""
    alone, shared = runner.run(RETRAINED), runner.run(RETRAINED, shards=2)
    lockstep, whole = runner.run(RETRAINED, "clock=lockstep"), runner.run(RETRAINED, "retrain.deltas=false")
    hashes = [run.summary["event_log_sha256"] for run in (alone, shared, lockstep)]
    assert len(set(hashes)) == 1
    by_deltas, by_blocks = (run.summary["update_bytes_by_kind"] for run in (alone, whole))
    assert by_deltas["first"] < by_blocks["first"] / 2  # type: ignore[index]
    for key in ("updates_applied", "full_update_bytes"):
        assert alone.summary[key] == whole.summary[key]
    assert number(alone, "update_bytes") < number(whole, "update_bytes")
