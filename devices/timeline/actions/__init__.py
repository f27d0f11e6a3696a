"""Actions: changes that a scenario makes to chosen devices at chosen times, and that are no faults.

`action.py` is the contract. A new action is a class in a file of its own and a member of the union `Actions`,
or it comes from a plug-in.
"""

from collections.abc import Mapping
from typing import Final, cast, get_args

from devices.timeline.actions.action import Action, ScheduledAction
from devices.timeline.actions.builtin import BudgetScaling, Disconnection, NetworkChange, UserChange
from devices.timeline.actions.effects import RAMP_STEPS, budget_factors, network_changes
from wire.plugins.plugin import PluginKind
from wire.plugins.registry import PluginRegistry, WithPlugins, check_settings

Actions = BudgetScaling | Disconnection | NetworkChange | UserChange
"""The registry: the actions that a scenario may have, beside those of `ACTION_PLUGINS`."""

_OWN: Final[dict[str, type[Action]]] = {
    str(action.__struct_config__.tag): action for action in get_args(Actions)
}


def _check_plugin(name: str, found: object) -> type[Action]:
    return cast("type[Action]", check_settings(name, found, (), base=Action))


ACTION_PLUGINS: Final = PluginRegistry(PluginKind.ACTION, _OWN, _check_plugin)
"""The actions of plug-ins."""

ACTION_TYPES: Final[Mapping[str, type[Action]]] = WithPlugins(_OWN, ACTION_PLUGINS.find)
"""The class of each action by its `type` in a scenario."""

__all__ = [
    "ACTION_PLUGINS",
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
