"""A rollout in simulated time: devices are offered the new model version, group by group.

The offer is a message on the downlink; a device that is not connected receives it when it connects. The cloud
knows as much of success as with a real fleet: messages that name the version held.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import simpy

from devices.event_log import RolloutStep
from devices.simulated.clock import Clock
from devices.simulated.device import Device
from wire.units import NS_PER_S

CHECK_EVERY_NS = NS_PER_S
"""Time between two checks of a group's progress."""


@dataclass(frozen=True)
class GroupDecision:
    """A decision on a group: go on with the next one, stop the rollout, or neither: wait."""

    go_on: bool
    stop: bool


@dataclass(frozen=True)
class RolloutPlan:
    """A rollout, resolved."""

    version: str
    """The new model version."""
    start_ns: int
    timeout_ns: int
    rollback: bool
    groups: Mapping[str, int]
    """The rollout group of each device, by its id."""
    decide: Callable[[int, int, int, int], GroupDecision]
    """Decides by (devices, updated, failed, nanoseconds since the group's turn began)."""


def offer_versions(
    clock: Clock, device: Device, trained_ns: Mapping[str, int]
) -> Generator[simpy.Event, object, None]:
    """Offer each version to a device at its time, as a SimPy process; devices share nothing by that."""
    for version, t_ns in sorted(trained_ns.items(), key=lambda item: item[1]):
        if t_ns > clock.now_ns:
            yield clock.timeout(t_ns - clock.now_ns)
        device.offer_model(version)


class RolloutRun:
    """A rollout under way, in the one environment that all devices share.

    Args:
        clock: of the environment.
        plan: the rollout.
        stop_ns: the end of the run.
    """

    def __init__(self, clock: Clock, plan: RolloutPlan, stop_ns: int) -> None:
        self._clock = clock
        self._plan = plan
        self._stop_ns = stop_ns
        self._devices: dict[int, Device] = {}
        self._updated: set[int] = set()
        self._failed: set[int] = set()

    def join(self, device: Device) -> None:
        """Have *device* take part."""
        self._devices[device.number] = device

    def on_applied(self, number: int, model: str) -> None:
        """Note that device *number* holds the PEE it asked for, which is of *model*."""
        if model == self._plan.version and number not in self._updated:
            self._updated.add(number)
            self._failed.discard(number)
            device = self._devices[number]
            device.log_rollout(RolloutStep.UPDATED, self._plan.groups[device.name])

    def run(self) -> Generator[simpy.Event, object, None]:
        """The rollout, as a SimPy process."""
        clock, plan = self._clock, self._plan
        yield clock.timeout(plan.start_ns)
        for group in range(1 + max(plan.groups.values(), default=-1)):
            members = [device for device in self._devices.values() if plan.groups[device.name] == group]
            waiting, began_ns = list(members), clock.now_ns
            for device in members:
                device.offer_model(plan.version, group)
            while True:
                decision = self._decide(members, waiting, began_ns)
                if decision.stop:
                    self._stop()
                    return
                if decision.go_on:
                    break
                if clock.now_ns + CHECK_EVERY_NS >= self._stop_ns:
                    return
                yield clock.timeout(CHECK_EVERY_NS)

    def _decide(self, members: Sequence[Device], waiting: list[Device], began_ns: int) -> GroupDecision:
        """Decide on a group of which the devices *waiting* do not hold the new version yet."""
        now, timeout_ns = int(self._clock.now_ns), self._plan.timeout_ns
        waiting[:] = [device for device in waiting if device.number not in self._updated]
        for device in waiting:
            late = device.online and now - max(began_ns, device.online_since_ns) >= timeout_ns
            if late and device.number not in self._failed:
                self._failed.add(device.number)
                device.log_rollout(RolloutStep.FAILED, self._plan.groups[device.name])
        failed = sum(device.number in self._failed for device in waiting)
        return self._plan.decide(len(members), len(members) - len(waiting), failed, now - began_ns)

    def _stop(self) -> None:
        if not self._plan.rollback:
            return
        for device in self._devices.values():
            if device.agent.offered == self._plan.version:
                device.log_rollout(RolloutStep.WITHDRAWN, self._plan.groups[device.name])
                device.offer_model("", self._plan.groups[device.name])
