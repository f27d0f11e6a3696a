"""Progress of a rollout on real devices, from what they say they hold; the next step of it. Pure.

A device says in its retained status which version it holds, and its last will says when it is lost. So each
service of a cloud hears of all devices, also of those whose reports others answer, and one that was started
again hears of them once more: nothing has to be kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from cloud.service.rollout import GroupStatus, RolloutDecision, decide
from wire.messages import RolloutNotice, RolloutState, Status
from wire.rollout import group_of
from wire.units import NS_PER_S

_NS_PER_MS = NS_PER_S // 1000


@dataclass
class DeviceProgress:
    """The last words of a device that takes part in rollouts."""

    group: int
    model: str
    """The version that it holds, as it has said last."""
    online_since_ms: int | None
    """Since when it is known to be connected; None: it is not."""


@dataclass(frozen=True)
class NoticeRules:
    """The rules of a real rollout, in the units of `decide`."""

    success_threshold: float
    error_threshold: float
    pause: int

    @classmethod
    def of(cls, rollout: RolloutNotice) -> "NoticeRules":
        """Return the rules of *rollout*."""
        return cls(rollout.success_threshold, rollout.error_threshold, int(rollout.pause_s * NS_PER_S))


@dataclass(frozen=True)
class RolloutFigures:
    """A rollout in numbers."""

    notice: RolloutNotice
    groups: list[GroupStatus]
    """The status of each group; none where the rollout is over, since nobody listens then."""


class FleetProgress:
    """The devices of a fleet during a rollout.

    Args:
        version: the version that is offered.
        groups: the number of groups.
    """

    def __init__(self, version: str, groups: int) -> None:
        self.version = version
        self.groups = groups
        self._devices: dict[str, DeviceProgress] = {}

    def on_status(self, device: str, status: Status | None, now_ms: int) -> None:
        """Learn what *device* says; None: the broker has forgotten it.

        A device that never names the version it holds knows nothing of rollouts, and takes no part.
        """
        if status is None:
            self._devices.pop(device, None)
            return
        known = self._devices.get(device)
        if known is None:
            if status.model is msgspec.UNSET:
                return
            group = group_of(self.version, device, self.groups)
            known = self._devices[device] = DeviceProgress(group, "", None)
        if status.model is not msgspec.UNSET:
            known.model = status.model
        if not status.online:
            known.online_since_ms = None
        elif known.online_since_ms is None:
            known.online_since_ms = now_ms

    def of_groups(self, rollout: RolloutNotice, now_ms: int) -> list[GroupStatus]:
        """Return the status of each group. Only the last group that has started has failures."""
        devices, updated, failed = ([0] * self.groups for _ in range(3))
        last, timeout_ms = rollout.started - 1, 1000 * rollout.timeout_s
        for each in list(self._devices.values()):
            devices[each.group] += 1
            if each.model == self.version:
                updated[each.group] += 1
            elif each.group == last and each.online_since_ms is not None:
                failed[last] += now_ms - max(each.online_since_ms, rollout.began_ms) >= timeout_ms
        since_ns = max(now_ms - rollout.began_ms, 0) * _NS_PER_MS
        return [GroupStatus(*counts, since_ns) for counts in zip(devices, updated, failed, strict=True)]

    def __iter__(self) -> Iterator[DeviceProgress]:
        """Yield each device that takes part."""
        return iter(self._devices.values())


def next_step(rollout: RolloutNotice, progress: FleetProgress, now_ms: int) -> RolloutNotice:
    """Return *rollout* after its next step; as it is if there is none now.

    A rollout in which no device takes part does not go on: there is nothing to judge it by.
    """
    if rollout.state is not RolloutState.RUNNING or rollout.notice is None:
        return rollout
    if not rollout.started:
        return msgspec.structs.replace(rollout, started=1, began_ms=max(now_ms, rollout.began_ms))
    groups = progress.of_groups(rollout, now_ms)
    status = groups[rollout.started - 1]
    decision = decide(NoticeRules.of(rollout), status)
    if decision is RolloutDecision.STOP:
        is_pause = rollout.on_error == "pause"
        return msgspec.structs.replace(
            rollout,
            state=RolloutState.PAUSED if is_pause else RolloutState.ROLLED_BACK,
            reason=f"{status.failed} of {status.devices} devices of group {rollout.started - 1} have failed",
        )
    if decision is RolloutDecision.WAIT or not any(group.devices for group in groups):
        return rollout
    if rollout.started < rollout.groups:
        return msgspec.structs.replace(
            rollout, started=rollout.started + 1, began_ms=max(now_ms, rollout.began_ms)
        )
    return msgspec.structs.replace(rollout, state=RolloutState.COMPLETE)
