"""Actions: changes that a scenario makes to chosen devices at chosen times, and that are no faults.

`action.py` is the contract. A new action is a class in a file of its own and a member of the union `Actions`.
"""

from collections.abc import Mapping
from typing import Final, get_args

from devices.timeline.actions.action import Action, ScheduledAction
from devices.timeline.actions.builtin import BudgetScaling, Disconnection, NetworkChange, UserChange
from devices.timeline.actions.effects import RAMP_STEPS, budget_factors, network_changes

Actions = BudgetScaling | Disconnection | NetworkChange | UserChange
"""The registry: the actions that a scenario may have."""

ACTION_TYPES: Final[Mapping[str, type[Action]]] = {
    str(action.__struct_config__.tag): action for action in get_args(Actions)
}
"""The class of each action by its `type` in a scenario."""

__all__ = [
    "ACTION_TYPES",
    "RAMP_STEPS",
    "Action",
    "Actions",
    "BudgetScaling",
    "Disconnection",
    "NetworkChange",
    "ScheduledAction",
    "UserChange",
    "budget_factors",
    "network_changes",
]
