"""Orders to a rollout: what may be done in which state, and that nothing undoes a later order."""

from collections.abc import Callable

import pytest

from cloud.service.rollout_orders import pause_rollout, resume_rollout, roll_back, start_rollout
from tests.rollouts import a_rollout
from wire.errors import InputError
from wire.messages import RolloutNotice, RolloutState
from wire.rollout import join_rollouts

RUNNING, COMPLETE, PAUSED, BACK = RolloutState
ORDERS: dict[str, Callable[[RolloutNotice | None], RolloutNotice]] = {
    "start": lambda current: start_rollout(current, a_rollout(rollout=5)),
    "pause": pause_rollout,
    "resume": lambda current: resume_rollout(current, 9000),
    "rollback": roll_back,
}
LEADS_TO = {
    ("start", None): RUNNING,
    ("start", COMPLETE): RUNNING,
    ("start", BACK): RUNNING,
    ("pause", RUNNING): PAUSED,
    ("resume", PAUSED): RUNNING,
    ("rollback", RUNNING): BACK,
    ("rollback", PAUSED): BACK,
    ("rollback", COMPLETE): BACK,
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("state", [None, *RolloutState])
def test_an_order_is_taken_or_refused_by_the_state(order: str, state: RolloutState | None) -> None:
    current = None if state is None else a_rollout(state=state, started=2, order=7, reason="before")
    if (order, state) not in LEADS_TO:
        with pytest.raises(InputError):
            ORDERS[order](current)
        return
    given = ORDERS[order](current)
    assert given.state is LEADS_TO[order, state]
    known = given if current is None else join_rollouts(current, given)
    assert (known.state, known.reason) == (given.state, "")
    assert known.started == (0 if order == "start" else 2)
    assert known.rollout == (1001 if order == "start" and current is not None else given.rollout)


def test_a_resumed_rollout_gives_devices_the_time_again_and_one_of_the_fleets_version_is_refused() -> None:
    assert resume_rollout(a_rollout(state=PAUSED), 9000).began_ms == 9000
    with pytest.raises(InputError, match="must be another one than the fleet has"):
        start_rollout(None, a_rollout(previous=a_rollout().version))
