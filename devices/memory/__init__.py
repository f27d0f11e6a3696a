"""Memory processes: how the free memory of a device changes over simulated time.

`process.py` is the contract. A new process is a class in a file of its own and a member of `Memory`, or it
comes from a plug-in.
"""

from typing import Final, get_args

import msgspec

from devices.memory.budget import Budget
from devices.memory.pressure import PressureLevel, PressureStates
from devices.memory.process import Changes, MemoryProcess
from devices.memory.replay import Replay
from devices.memory.shocks import Shock, apply_shocks
from devices.memory.walks import BoundedWalk, DailyCurve
from devices.memory.waves import Boundary, Sawtooth, SquareWave
from wire.plugins.plugin import PluginKind
from wire.plugins.registry import PluginRegistry, check_settings

Memory = BoundedWalk | DailyCurve | SquareWave | Sawtooth | PressureStates | Boundary | Replay
"""The registry: the memory processes that a group of devices may have, beside those of `MEMORY_PLUGINS`."""


def _check_plugin(name: str, found: object) -> type[msgspec.Struct]:
    return check_settings(name, found, ("changes", "periods", "limits"))


MEMORY_PLUGINS: Final = PluginRegistry(
    PluginKind.MEMORY, [str(process.__struct_config__.tag) for process in get_args(Memory)], _check_plugin
)
"""The memory processes of plug-ins."""

__all__ = [
    "MEMORY_PLUGINS",
    "Boundary",
    "BoundedWalk",
    "Budget",
    "Changes",
    "DailyCurve",
    "Memory",
    "MemoryProcess",
    "PressureLevel",
    "PressureStates",
    "Replay",
    "Sawtooth",
    "Shock",
    "SquareWave",
    "apply_shocks",
]
