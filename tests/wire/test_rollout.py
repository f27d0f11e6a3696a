"""Notices of a rollout that are joined, and the version that they offer to a device."""

import itertools
import random
from functools import reduce

from hypothesis import given
from hypothesis import strategies as st

from tests.rollouts import NOTICE, a_rollout
from wire.messages import RolloutNotice, RolloutState, decode, encode
from wire.rollout import group_of, is_older, join_rollouts, offered_version

NOTICES = st.builds(
    lambda **fields: a_rollout(**fields),
    rollout=st.integers(1000, 1001),
    order=st.integers(1, 3),
    state=st.sampled_from(RolloutState),
    started=st.integers(0, 3),
    began_ms=st.integers(0, 2),
    notice=st.sampled_from([None, NOTICE]),
    reason=st.sampled_from(["", "2 of 9", "3 of 9"]),
)


@given(st.lists(NOTICES, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_in_whatever_order_and_however_often_notices_come_all_services_end_with_one(
    notices: list[RolloutNotice], rng: random.Random
) -> None:
    known = reduce(join_rollouts, notices)
    again = [*notices, *rng.choices(notices, k=3)]
    rng.shuffle(again)
    half = len(again) // 2
    one, other = (reduce(join_rollouts, part) for part in (again[: half + 1], again[half:]))
    assert join_rollouts(one, other) == join_rollouts(other, one) == known
    assert decode(encode(known), RolloutNotice) == known


@given(NOTICES, NOTICES)
def test_what_is_known_is_never_taken_back(one: RolloutNotice, other: RolloutNotice) -> None:
    joined = join_rollouts(one, other)
    assert not is_older(joined, one)
    assert not is_older(joined, other)
    same = [each for each in (one, other) if each.rollout == joined.rollout]
    assert joined.started == max(each.started for each in same)
    assert (joined.order, joined.state) in {(each.order, each.state) for each in same}
    assert joined.order == max(each.order for each in same)


@given(st.integers(0, 10**6), st.integers(1, 5))
def test_a_device_is_offered_the_version_from_the_start_of_its_group_on(number: int, groups: int) -> None:
    device = f"d{number}"
    rollout = a_rollout(groups=groups)
    group = group_of(rollout.version, device, groups)
    for state, started in itertools.product(RolloutState, range(groups + 1)):
        told = a_rollout(groups=groups, state=state, started=started)
        is_new = {
            RolloutState.RUNNING: started > group,
            RolloutState.PAUSED: started > group,
            RolloutState.COMPLETE: True,
            RolloutState.ROLLED_BACK: False,
        }[state]
        assert offered_version(told, device, "old") == (told.version if is_new else "old")
    assert offered_version(None, device, "old") == "old"
    assert offered_version(a_rollout(started=groups, groups=groups, notice=None), device, "old") == "old"


def test_groups_are_those_that_the_page_shows() -> None:
    """A client in another language can compare its hash with these."""
    shown = [group_of("86933656a3633a9a", f"phone-{number}", 4) for number in range(1, 9)]
    assert shown == [0, 2, 2, 2, 1, 3, 3, 0]
