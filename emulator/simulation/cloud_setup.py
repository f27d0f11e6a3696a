"""The simulated cloud of a scenario: its responder and its rollout."""

from collections.abc import Sequence

from cloud.blocks.store import BlockStore
from cloud.service.responder import Responder
from cloud.service.rollout import GroupStatus, Rollout, RolloutDecision, decide
from devices.simulated.rollout import GroupDecision, RolloutPlan
from scenarios.language.scenario import Scenario
from wire.rollout import group_of


def make_responder(scenario: Scenario, store: BlockStore) -> Responder:
    """Return the responder that answers from *store* with the scenario's settings."""
    updates = scenario.updates
    return Responder(
        store,
        updates.max_payload,
        always_full=updates.encoding == "full",
        full_above=float(updates.full_if_delta_over),
    )


def plan_rollout(rollout: Rollout, version: str, names: Sequence[str], start_ns: int) -> RolloutPlan:
    """Return the rollout of *version* to the devices called *names*, from *start_ns* on."""

    def decide_group(devices: int, updated: int, failed: int, since_ns: int) -> GroupDecision:
        decision = decide(rollout, GroupStatus(devices, updated, failed, since_ns))
        return GroupDecision(go_on=decision is RolloutDecision.NEXT, stop=decision is RolloutDecision.STOP)

    return RolloutPlan(
        version=version,
        start_ns=start_ns,
        timeout_ns=int(rollout.timeout),
        rollback=rollout.on_error == "rollback",
        groups={name: group_of(version, name, rollout.groups) for name in names},
        decide=decide_group,
    )
