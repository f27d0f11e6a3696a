import numpy as np
import pytest

from cloud.blocks.group_table import GroupTable
from cloud.training import validation_guard
from cloud.training.config import Training
from cloud.training.item_weights import partition_table
from cloud.training.validation_guard import (
    MIN_VALIDATION_USERS,
    GuardDecisions,
    decide,
    sample_groups,
    split_validation,
    validation_users,
)
from tests.cloud.worlds import an_evaluator, checkerboard
from wire.random_streams import stream
from wire.ranking_metrics import FloatArray

PARITY = np.arange(40) % 2


def gains(mean: float, users: int, seed: int = 0) -> FloatArray:
    """Return differences with exactly this mean and a standard deviation of 1."""
    noise = stream(seed, "gains").normal(size=users)
    return np.asarray((noise - noise.mean()) / noise.std(ddof=1) + mean)


def decided(*each: FloatArray, prior: bool) -> tuple[bool, list[bool]]:
    actual = decide(each, prior=prior, standard_errors=3.0)
    return actual.joint, actual.keep


def test_within_noise_the_prior_choice_holds() -> None:
    for mean in (-0.2, 0.0, 0.2):  # the standard error of a hundred differences is 0.1
        for prior in (True, False):
            assert decided(gains(mean, 50), gains(mean, 50, 1), prior=prior) == (prior, [prior, prior])


def test_all_users_together_can_refute_the_prior_choice_where_no_group_could() -> None:
    small = [gains(0.35, 49, seed) for seed in range(8)]  # 2.5 standard errors each
    assert decided(small[0], prior=False) == (False, [False])
    assert decided(*small, prior=False) == (True, [True] * 8)
    assert decided(*[-each for each in small], prior=True) == (False, [False] * 8)


def test_a_group_departs_from_the_joint_choice_if_its_own_users_disagree() -> None:
    for prior in (True, False):
        assert decided(gains(2, 200), gains(-2, 20, 1), gains(-0.2, 20, 2), prior=prior) == (
            True,
            [True, False, True],
        )


def test_a_handful_of_users_departs_from_nothing() -> None:
    few = np.full(MIN_VALIDATION_USERS - 1, -1.0)  # unanimous, so without any spread
    assert decided(gains(2, 200), few, np.append(few, -1.0), prior=True) == (True, [True, True, False])


def test_without_judges_the_prior_choice_holds() -> None:
    nobody = np.empty(0)
    assert decide([nobody, nobody], prior=True, standard_errors=3.0) == GuardDecisions(
        True, [True, True], 0, None, None
    )


def test_small_tables_are_tried_in_all_groups_and_large_ones_in_a_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tables = [np.zeros((100, 4), dtype=np.float32)] * 50
    assert sample_groups(tables, seed=0) == list(range(50))
    monkeypatch.setattr(validation_guard, "MAX_EVALUATED_NUMBERS", 8_000)
    once, again, other = (sample_groups(tables, seed) for seed in (1, 1, 2))
    assert once == again != other
    assert len(set(once)) == 20
    assert once == sorted(once)
    monkeypatch.setattr(validation_guard, "MAX_EVALUATED_NUMBERS", 1)
    assert len(sample_groups(tables, seed=0)) == 1


def test_groups_that_do_not_judge_follow_the_joint_choice() -> None:
    silent = np.empty(0)
    for prior in (True, False):
        actual = decide([gains(2, 200), silent, gains(-2, 20, 1), silent], prior=prior, standard_errors=3.0)
        assert (actual.keep, actual.deciding_groups) == ([True, True, False, True], 2)


def test_halves_share_no_user_and_leave_none_out() -> None:
    world, members = checkerboard(), np.flatnonzero(PARITY == 0)
    one, other = split_validation(members, world, 0, 0)
    assert sorted([*one.users, *other.users]) == members.tolist()
    assert len(one.users) == len(other.users) == 10
    assert one.relevant.pairs()[1].tolist() == world.valid.take(one.users).items.tolist()
    again, _ = split_validation(members, world, 0, 0)
    assert again.users.tolist() == one.users.tolist()


def test_a_trial_prefers_tables_whose_heavy_blocks_know_the_users() -> None:
    world = checkerboard()
    taste = np.where(PARITY == 0, 1.0, -1.0)
    vectors = np.stack([taste, np.ones(40)], axis=1).astype(np.float32)
    noise = stream(0, "trial").normal(size=40)
    partition = partition_table(40, 2, Training(dim=2, slice_width=1, item_groups=1))
    trying, judges = an_evaluator(partition), validation_users(np.arange(40), world)
    items = np.full(40, 1 / 40, dtype=np.float32)

    def actual(loudness: float, *corrections: float) -> float:
        table = np.stack([taste, loudness * noise], axis=1).astype(np.float32)
        factors = np.array([corrections], dtype=np.float32) if corrections else None
        return float(trying(GroupTable(table, np.ones(2), items, factors), vectors, judges).mean())

    # At every trial budget only one block is held, the louder column; unless that is corrected.
    assert actual(0.1) > actual(10.0) + 0.2
    assert actual(10.0, 1000.0, 1.0) == actual(0.1)
