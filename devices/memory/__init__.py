"""Memory processes: how the free memory of a device changes over simulated time.

`process.py` is the contract. A new process is a class in a file of its own and a member of `Memory`.
"""

from devices.memory.budget import Budget
from devices.memory.pressure import PressureLevel, PressureStates
from devices.memory.process import Changes, MemoryProcess
from devices.memory.replay import Replay
from devices.memory.shocks import Shock, apply_shocks
from devices.memory.walks import BoundedWalk, DailyCurve
from devices.memory.waves import Boundary, Sawtooth, SquareWave

Memory = BoundedWalk | DailyCurve | SquareWave | Sawtooth | PressureStates | Boundary | Replay
"""The registry: the memory processes that a group of devices may have."""

__all__ = [
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
