"""A rollout in simulated time: devices are offered the new model version, group by group.

The offer is a message on the downlink; a device that is not connected finds it when it comes back. What
the cloud knows of success is what it would see of a real fleet: messages that name the version held.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import simpy

from devices.event_log import Step
from devices.simulated.device import Device
from wire.units import NS_PER_S

LOOK_EVERY_NS = NS_PER_S
"""How often the cloud looks how a group stands."""


@dataclass(frozen=True)
class Turn:
    """What a group's standing is judged by, and what follows; returned by the judge."""

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
    judge: Callable[[int, int, int, int], Turn]
    """(devices, updated, failed, nanoseconds since the group's turn began) -> what follows."""


class RolloutRun:
    """A rollout under way, in the one environment that all devices share.

    Args:
        env: the environment.
        plan: what is to happen.
        stop_ns: when the run ends.
    """

    def __init__(self, env: simpy.Environment, plan: RolloutPlan, stop_ns: int) -> None:
        self._env = env
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
            device.rolled(Step.UPDATED, self._plan.groups[device.name])

    def run(self) -> Generator[simpy.Event, object, None]:
        """The rollout, as a SimPy process."""
        env, plan = self._env, self._plan
        yield env.timeout(plan.start_ns)
        for group in range(1 + max(plan.groups.values(), default=-1)):
            members = [device for device in self._devices.values() if plan.groups[device.name] == group]
            waiting, began_ns = list(members), int(env.now)
            for device in members:
                device.offer(plan.version, group)
            while True:
                turn = self._judge(members, waiting, began_ns)
                if turn.stop:
                    self._stop()
                    return
                if turn.go_on:
                    break
                if env.now + LOOK_EVERY_NS >= self._stop_ns:
                    return
                yield env.timeout(LOOK_EVERY_NS)

    def _judge(self, members: Sequence[Device], waiting: list[Device], began_ns: int) -> Turn:
        """Judge a group of which the devices *waiting* do not hold the new version yet."""
        now, timeout_ns = int(self._env.now), self._plan.timeout_ns
        waiting[:] = [device for device in waiting if device.number not in self._updated]
        for device in waiting:
            late = device.online and now - max(began_ns, device.online_since_ns) >= timeout_ns
            if late and device.number not in self._failed:
                self._failed.add(device.number)
                device.rolled(Step.FAILED, self._plan.groups[device.name])
        failed = sum(device.number in self._failed for device in waiting)
        return self._plan.judge(len(members), len(members) - len(waiting), failed, now - began_ns)

    def _stop(self) -> None:
        if not self._plan.rollback:
            return
        for device in self._devices.values():
            if device.agent.offered == self._plan.version:
                device.rolled(Step.WITHDRAWN, self._plan.groups[device.name])
                device.offer("", self._plan.groups[device.name])
