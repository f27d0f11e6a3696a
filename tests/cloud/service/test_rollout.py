"""Rules of a rollout: the groups, and the start of the next group."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.service.rollout import GroupStatus, Rollout, RolloutDecision, decide
from wire.rollout import group_of
from wire.units import NS_PER_S, Duration, Share

RULE = Rollout(at="0 s", seed=2, success_threshold=Share(0.8), error_threshold=Share(0.1))


@pytest.mark.parametrize(
    ("updated", "failed", "verdict"),
    [
        (0, 0, RolloutDecision.WAIT),
        (7, 1, RolloutDecision.WAIT),
        (8, 1, RolloutDecision.NEXT),
        (10, 0, RolloutDecision.NEXT),
        (8, 2, RolloutDecision.STOP),  # more than a tenth has failed: enough updates do not make up for it
    ],
)
def test_ten_devices_of_which_eight_are_enough_and_two_failures_too_many(
    updated: int, failed: int, verdict: RolloutDecision
) -> None:
    assert decide(RULE, GroupStatus(10, updated, failed, 0)) is verdict


def test_a_turn_lasts_at_least_the_pause() -> None:
    rule = Rollout(at="0 s", seed=2, pause=Duration(60 * NS_PER_S))
    after = [decide(rule, GroupStatus(10, 10, 0, seconds * NS_PER_S)) for seconds in (0, 59, 60)]
    assert after == [RolloutDecision.WAIT, RolloutDecision.WAIT, RolloutDecision.NEXT]


def test_a_group_without_devices_holds_nobody_up() -> None:
    assert decide(RULE, GroupStatus(0, 0, 0, 0)) is RolloutDecision.NEXT


@given(st.text(min_size=1, max_size=20), st.integers(1, 20))
def test_a_device_is_in_one_group_always_the_same(device: str, groups: int) -> None:
    numbers = {group_of("v", device, groups) for _ in range(3)}
    assert len(numbers) == 1
    assert numbers <= set(range(groups))


def test_groups_are_about_equal_and_differ_from_version_to_version() -> None:
    names = [f"phone-{at:05d}" for at in range(10_000)]
    sizes = Counter(group_of("v", name, 4) for name in names)
    assert all(abs(size - 2500) < 4 * (10_000 * 0.25 * 0.75) ** 0.5 for size in sizes.values())
    stays = sum(group_of("v", name, 4) == group_of("w", name, 4) for name in names)
    assert abs(stays - 2500) < 4 * (10_000 * 0.25 * 0.75) ** 0.5
