"""A staged rollout, as both ends must understand it: rollout groups, the offer to a device, joined notices.

Several services of a cloud and an operator write about one rollout, and a broker that was killed may remember
less than they. So two notices are joined: the later order counts, within an order the cloud only goes on, and
no group that has started is forgotten. The order in which notices come does not matter.
"""

import hashlib
from typing import Final

import msgspec

from wire.messages import RolloutNotice, RolloutState, encode

_RANK: Final = {state: rank for rank, state in enumerate(RolloutState)}
"""The order of the states that one order can lead to: a later one is never left without another order."""


def group_of(version: str, device: str, groups: int) -> int:
    """Return the rollout group of *device*: a hash, so that no list has to be kept."""
    digest = hashlib.blake2b(f"{version}\x1f{device}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") * groups >> 64


def offered_version(rollout: RolloutNotice | None, device: str, announced: str) -> str:
    """Return the model version that *device* is to have.

    Args:
        rollout: the last one that it has heard of, if any.
        device: its name.
        announced: the version of the model notice.
    """
    if rollout is None or rollout.notice is None or rollout.state is RolloutState.ROLLED_BACK:
        return announced
    if rollout.state is RolloutState.COMPLETE:
        return rollout.version
    is_offered = group_of(rollout.version, device, rollout.groups) < rollout.started
    return rollout.version if is_offered else announced


def is_older(one: RolloutNotice, other: RolloutNotice) -> bool:
    """Tell whether *one* says less than *other*: a device that knows *other* ignores it."""
    return _place(one) < _place(other)


def _place(notice: RolloutNotice) -> tuple[int, int, int, int]:
    return notice.rollout, notice.order, _RANK[notice.state], notice.started


def join_rollouts(one: RolloutNotice, other: RolloutNotice) -> RolloutNotice:
    """Return two notices joined into one; the same whichever comes first."""
    if one.rollout != other.rollout:
        return max(one, other, key=lambda each: each.rollout)
    last = max(one, other, key=_order)
    started, began_ms = max((one.started, one.began_ms), (other.started, other.began_ms))
    return msgspec.structs.replace(
        last, started=started, began_ms=began_ms, notice=max(one.notice, other.notice, key=_known)
    )


def _order(notice: RolloutNotice) -> tuple[int, int, bytes]:
    """Return the key by which the later of two notices is found: the order, its state, and all the rest."""
    bare = msgspec.structs.replace(notice, started=0, began_ms=0, notice=None)
    return notice.order, _RANK[notice.state], encode(bare)


def _known(notice: msgspec.Struct | None) -> bytes:
    return b"" if notice is None else encode(notice)
