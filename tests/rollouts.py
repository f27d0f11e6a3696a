"""Rollouts of a small model, for tests of any part."""

from typing import Any

import msgspec

from cloud.service.responder import notice_of
from cloud.service.rollout import GroupStatus
from cloud.service.rollout_progress import RolloutFigures
from tests.worlds import a_store
from wire.messages import RolloutNotice, RolloutState

OLDER, NEWER = a_store(users=6), a_store(users=6, seed=2)
NOTICE = notice_of(NEWER)


def a_rollout(**fields: Any) -> RolloutNotice:
    """Return a rollout of `NEWER` whose first of three groups has started; *fields* differ."""
    usual = RolloutNotice(
        rollout=1000,
        order=1,
        state=RolloutState.RUNNING,
        version=NEWER.version,
        previous=OLDER.version,
        groups=3,
        started=1,
        began_ms=1000,
        notice=NOTICE,
        success_threshold=1.0,
        error_threshold=0.0,
        timeout_s=60.0,
    )
    return msgspec.structs.replace(usual, **fields)


FIGURES = RolloutFigures(
    a_rollout(), [GroupStatus(5, 3, 1, 0), GroupStatus(4, 0, 0, 0), GroupStatus(3, 0, 0, 0)]
)
