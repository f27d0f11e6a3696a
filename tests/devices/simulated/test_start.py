"""The fleet: who is enrolled, with whom, and from when on."""

import numpy as np
import pytest

from devices.simulated.roster import DeviceNames, FleetGroup, build_roster
from devices.timeline.actions import BudgetScaling, UserChange
from devices.timeline.schedule import DeviceSelector, Stage
from devices.timeline.timeline import Timeline
from wire.units import NS_PER_S, Duration, Share

S = NS_PER_S
USERS = range(100, 140)


def a_group(name: str = "phone", count: int = 20, **more: object) -> FleetGroup:
    return FleetGroup(name=name, count=count, **more)  # type: ignore[arg-type]  # the keys are a group's


def test_devices_are_numbered_in_the_order_of_their_ids_whatever_the_order_of_groups() -> None:
    groups = (a_group("tv", 2), a_group("phone", 3))
    assert list(DeviceNames(groups)) == [
        "phone-00000",
        "phone-00001",
        "phone-00002",
        "tv-00000",
        "tv-00001",
    ]
    assert list(build_roster(groups, 1, USERS)) == list(build_roster(groups[::-1], 1, USERS))
    assert [each.number for each in build_roster(groups, 1, USERS)] == list(range(5))


def test_any_device_of_a_fleet_is_computed_by_its_number() -> None:
    """The ids of a group may lie between two of another; six digits come after five."""
    groups = (
        a_group("a", 12),
        a_group("a-00003", 5),
        a_group("a-0", 3),
        a_group("b.c", 4),
        a_group("a-x", 2),
    )
    names = DeviceNames(groups)
    ids = sorted(f"{group.name}-{at:05d}" for group in groups for at in range(group.count))
    assert list(names) == ids == [names[number] for number in range(len(names))]
    assert names[5:9] == tuple(ids[5:9])
    many = DeviceNames((a_group("p", 100_002), a_group("p-00001", 1)))
    assert [many[number] for number in (1, 2, 3, 100_000, 100_001, 100_002)] == [
        "p-00001", "p-00001-00000", "p-00002", "p-99999", "p-100000", "p-100001",
    ]  # fmt: skip


def test_what_is_drawn_for_a_device_depends_on_seed_and_id_only() -> None:
    group = a_group(start_within=Duration(60 * S))
    timeline = Timeline(1, actions=(UserChange(at="10 s", select=DeviceSelector(share=Share(0.5))),))
    few = {each.name: each for each in build_roster((group,), 1, USERS, timeline)}
    more = {
        each.name: each
        for each in build_roster(
            (a_group("fridge"), a_group(start_within=Duration(60 * S), count=31)), 1, USERS, timeline
        )
    }
    for name, each in few.items():
        other = more[name]
        assert (other.user, other.start_ns, other.series, other.new_users) == (
            each.user,
            each.start_ns,
            each.series,
            each.new_users,
        )
    assert few != {each.name: each for each in build_roster((group,), 2, USERS, timeline)}


def test_devices_start_within_the_span_from_their_moment_on() -> None:
    stages = (Stage(name="first", duration=Duration(100 * S)), Stage(name="then", duration=Duration(S)))
    group = a_group(count=2000, start_at="then + 5 s", start_within=Duration(60 * S))
    starts = np.array([each.start_ns for each in build_roster((group,), 1, USERS, Timeline(1, stages))]) / S
    assert (starts.min() >= 105, starts.max() <= 165) == (True, True)
    assert starts.mean() == pytest.approx(135, abs=4 * 60 / 12**0.5 / 2000**0.5)


def test_devices_change_hands_as_actions_say() -> None:
    actions = (
        BudgetScaling(at="1 s", factor=0.5),
        UserChange(at="10 s", within=Duration(5 * S), select=DeviceSelector(groups=("phone",))),
        UserChange(at="30 s"),
    )
    for each in build_roster((a_group(), a_group("tv")), 1, USERS, Timeline(1, actions=actions)):
        times = [t_ns / S for t_ns, _ in each.new_users]
        assert len(each.users) == 1 + len(times)
        assert set(each.users) <= set(USERS)
        if each.group.name == "tv":
            assert times == [30]
        else:
            assert (10 <= times[0] < 15, times[1:]) == (True, [30])


def test_users_are_drawn_evenly() -> None:
    """Each of 40 users has 100 of 4,000 devices, give or take four deviations."""
    users = [each.user for each in build_roster((a_group(count=4000),), 1, USERS)]
    counts = np.bincount(users)[100:]
    assert len(counts) == 40
    assert np.abs(counts - 100).max() < 4 * 100**0.5
