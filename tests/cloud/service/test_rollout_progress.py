"""Steps of a rollout by what devices say they hold; two services that forget, and a broker that forgets."""

from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.service.rollout import GroupStatus
from cloud.service.rollout_orders import pause_rollout, resume_rollout, roll_back
from cloud.service.rollout_progress import FleetProgress, next_step
from tests.rollouts import NEWER, OLDER, a_rollout
from wire.messages import RolloutNotice, RolloutState, Status
from wire.rollout import group_of, is_older, join_rollouts, offered_version

RUNNING, COMPLETE, PAUSED, BACK = RolloutState
NAMES = [f"d{number}" for number in range(12)]
GROUP = {name: group_of(NEWER.version, name, 3) for name in NAMES}
FIRST = [name for name in NAMES if not GROUP[name]]


def a_fleet(holders: list[str], online: list[str] = NAMES, at_ms: int = 1000) -> FleetProgress:
    """Return the progress of a fleet of which *holders* hold the newer model."""
    progress = FleetProgress(NEWER.version, 3)
    for name in NAMES:
        model = NEWER.version if name in holders else OLDER.version
        progress.on_status(name, Status(online=name in online, reason="", model=model), at_ms)
    return progress


def stepped(progress: FleetProgress, now_ms: int, **fields: object) -> tuple[RolloutState, int, str]:
    after = next_step(a_rollout(**fields), progress, now_ms)
    return after.state, after.started, after.reason


@pytest.mark.parametrize(
    ("holders", "online", "now_ms", "fields", "expected"),
    [
        ([], NAMES, 2000, {"started": 0}, (RUNNING, 1, "")),
        ([], NAMES, 2000, {"started": 0, "notice": None}, (RUNNING, 0, "")),
        (FIRST[1:], NAMES, 60_999, {}, (RUNNING, 1, "")),
        (FIRST[1:], NAMES, 61_000, {}, (PAUSED, 1, f"1 of {len(FIRST)} devices of group 0 have failed")),
        (FIRST[1:], NAMES, 61_000, {"error_threshold": 1.0}, (RUNNING, 1, "")),
        (FIRST[1:], NAMES, 61_000, {"error_threshold": 1.0, "success_threshold": 0.5}, (RUNNING, 2, "")),
        (FIRST[1:], FIRST[1:], 61_000, {}, (RUNNING, 1, "")),  # one that is away has not failed
        (FIRST, NAMES, 61_000, {"began_ms": 60_000, "pause_s": 2.0}, (RUNNING, 1, "")),
        (FIRST, NAMES, 62_000, {"began_ms": 60_000, "pause_s": 2.0}, (RUNNING, 2, "")),
        (FIRST, NAMES, 62_000, {"state": PAUSED}, (PAUSED, 1, "")),
        (NAMES, NAMES, 2000, {"started": 3}, (COMPLETE, 3, "")),
    ],
)
def test_a_step_follows_from_what_the_last_group_holds(
    holders: list[str], online: list[str], now_ms: int, fields: dict[str, object],
    expected: tuple[RolloutState, int, str],
) -> None:  # fmt: skip
    assert stepped(a_fleet(holders, online), now_ms, **fields) == expected


def test_a_stop_can_roll_back() -> None:
    state, _, reason = stepped(a_fleet([]), 61_000, on_error="rollback")
    assert (state, reason) == (BACK, f"{len(FIRST)} of {len(FIRST)} devices of group 0 have failed")


def test_devices_that_name_no_version_take_no_part_and_without_others_nothing_goes_on() -> None:
    progress = FleetProgress(NEWER.version, 3)
    progress.on_status("old", Status(online=True, reason="start"), 0)
    assert stepped(progress, 10**9) == (RUNNING, 1, "")
    progress.on_status("d0", Status(online=True, reason="start", model=NEWER.version), 0)
    progress.on_status("d0", Status(online=False, reason="connection lost"), 5)  # a last will names none
    assert progress.of_groups(a_rollout(), 10**9)[GROUP["d0"]] == GroupStatus(1, 1, 0, (10**9 - 1000) * 10**6)
    progress.on_status("d0", None, 9)
    assert list(progress) == []


@dataclass
class SmallWorld:
    """A broker that may forget, services that may, and devices that follow what they hear."""

    order: RolloutNotice
    """The retained order; the operator's."""
    retained: RolloutNotice | None = None
    services: list[RolloutNotice | None] = field(default_factory=lambda: [None, None])
    heard: dict[str, RolloutNotice | None] = field(default_factory=lambda: dict.fromkeys(NAMES))
    now_ms: int = 1000

    def known(self) -> RolloutNotice:
        """Return what is known to the operator."""
        return self.order if self.retained is None else join_rollouts(self.order, self.retained)

    def device_hears(self, name: str) -> None:
        told, before = self.retained, self.heard[name]
        if told is not None and (before is None or not is_older(told, before)):
            self.heard[name] = told

    def model_of(self, name: str) -> str:
        return offered_version(self.heard[name], name, OLDER.version)

    def service_acts(self, number: int) -> None:
        """Let a service read the broker, take a step, and publish what the broker does not know."""
        known = self.known() if self.services[number] is None else join_rollouts(
            self.known(), self.services[number]  # type: ignore[arg-type]
        )  # fmt: skip
        if known.notice is None:
            known = msgspec.structs.replace(known, notice=a_rollout().notice)
        holders = [name for name in NAMES if self.model_of(name) == NEWER.version]
        self.services[number] = self.retained = next_step(
            known, a_fleet(holders, at_ms=self.now_ms), self.now_ms
        )


ACTIONS = st.sampled_from(
    ["service 0", "service 1", "kill 0", "kill 1", "devices", "forget", "pause", "resume"]
)


@given(st.lists(ACTIONS, max_size=25), st.lists(st.sampled_from(NAMES), max_size=12), st.booleans())
def test_whatever_is_killed_or_forgotten_a_rollout_ends_as_ordered_with_no_device_between_versions(
    actions: list[str], listeners: list[str], goes_back: bool
) -> None:
    """While one of two services lives, a broker that forgets the last notice is told again."""
    world = SmallWorld(a_rollout(started=0, began_ms=0, notice=None))
    for action in actions:
        world.now_ms += 10
        kind, _, number = action.partition(" ")
        if kind == "service":
            world.service_acts(int(number))
        elif kind == "kill":
            if world.services[1 - int(number)] is not None or world.retained is not None:
                world.services[int(number)] = None
        elif kind == "devices":
            for name in listeners:
                world.device_hears(name)
        elif kind == "forget" and any(world.services):
            world.retained = None
        elif kind == "pause" and world.known().state is RUNNING:
            world.order = pause_rollout(world.known())
        elif kind == "resume" and world.known().state is PAUSED:
            world.order = resume_rollout(world.known(), world.now_ms)
        started = [each.started for each in world.services if each is not None]
        for name in NAMES:  # nobody is offered it before its group has started
            assert world.model_of(name) == OLDER.version or GROUP[name] < max(
                [*started, 0 if world.retained is None else world.retained.started]
            )
    world.service_acts(0)
    world.service_acts(1)
    if world.known().state is PAUSED:
        world.order = resume_rollout(world.known(), world.now_ms)
    if goes_back:
        world.order = roll_back(world.known())
    for _ in range(6):
        world.now_ms += 10
        world.service_acts(0)
        world.service_acts(1)
        for name in NAMES:
            world.device_hears(name)
    expected = (BACK, OLDER) if goes_back else (COMPLETE, NEWER)
    assert world.known().state is expected[0]
    assert world.services[0] == world.services[1] == world.retained
    assert {world.model_of(name) for name in NAMES} == {expected[1].version}
