"""Memory processes: how the free memory of a device moves through simulated time.

A process yields ``(wait_ns, free_bytes)``: after so long, so much is free; the first wait is 0. It
draws from the device's own stream only, some steps at a time because one call for many numbers
costs little more than one call for one.
"""

from devices.memory.budget import Budget
from devices.memory.pressure import PressureLevel, PressureStates
from devices.memory.replay import Replay
from devices.memory.sampling import Changes
from devices.memory.shocks import Shock, shocked
from devices.memory.walks import BoundedWalk, DailyCurve
from devices.memory.waves import Boundary, Sawtooth, SquareWave

Memory = BoundedWalk | DailyCurve | SquareWave | Sawtooth | PressureStates | Boundary | Replay

__all__ = [
    "Boundary",
    "BoundedWalk",
    "Budget",
    "Changes",
    "DailyCurve",
    "Memory",
    "PressureLevel",
    "PressureStates",
    "Replay",
    "Sawtooth",
    "Shock",
    "SquareWave",
    "shocked",
]
