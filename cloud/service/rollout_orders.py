"""Orders to a rollout: what an operator may do in which state. Pure.

An order is the notice of the rollout as it is to be, with the next number. It travels to the services of the
cloud, which join it with what they know (`wire.rollout`).
"""

from typing import Final

import msgspec

from wire.errors import InputError
from wire.messages import RolloutNotice, RolloutState

UNDER_WAY: Final = (RolloutState.RUNNING, RolloutState.PAUSED)
"""The states of a rollout that is not over."""


def start_rollout(current: RolloutNotice | None, wanted: RolloutNotice) -> RolloutNotice:
    """Return the order that starts *wanted*; its number is above that of the last rollout.

    Raises:
        InputError: another rollout is under way, or all devices have that version.
    """
    if current is not None and current.state in UNDER_WAY:
        raise InputError(
            f"a rollout of {current.version} is {current.state.value}: it must be complete or rolled back "
            "before the next one starts"
        )
    if wanted.version == wanted.previous:
        raise InputError(f"version(={wanted.version}) must be another one than the fleet has")
    number = wanted.rollout if current is None else max(wanted.rollout, current.rollout + 1)
    return msgspec.structs.replace(wanted, rollout=number, order=1, state=RolloutState.RUNNING, started=0)


def pause_rollout(current: RolloutNotice | None) -> RolloutNotice:
    """Return the order after which no further group starts.

    Raises:
        InputError: no rollout is running.
    """
    return _ordered(current, RolloutState.PAUSED, RolloutState.RUNNING)


def resume_rollout(current: RolloutNotice | None, now_ms: int) -> RolloutNotice:
    """Return the order that goes on with a paused rollout; devices that had failed get the time again.

    Raises:
        InputError: no rollout is paused.
    """
    resumed = _ordered(current, RolloutState.RUNNING, RolloutState.PAUSED)
    return msgspec.structs.replace(resumed, began_ms=max(now_ms, resumed.began_ms))


def roll_back(current: RolloutNotice | None) -> RolloutNotice:
    """Return the order that gives all devices the previous version again.

    Raises:
        InputError: there is no rollout, or it is rolled back already.
    """
    return _ordered(current, RolloutState.ROLLED_BACK, *UNDER_WAY, RolloutState.COMPLETE)


def _ordered(current: RolloutNotice | None, state: RolloutState, *allowed: RolloutState) -> RolloutNotice:
    if current is None:
        raise InputError("no rollout was ever started")
    if current.state not in allowed:
        words = " or ".join(each.value.replace("_", " ") for each in allowed)
        raise InputError(
            f"the rollout of {current.version} is {current.state.value.replace('_', ' ')}: it must be {words}"
        )
    return msgspec.structs.replace(current, order=current.order + 1, state=state, reason="")
