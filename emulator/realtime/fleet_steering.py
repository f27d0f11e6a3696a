"""The steering of a fleet in real time: commands become deeds, which all shards carry out at one time."""

import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from typing import Final

import msgspec

from devices.simulated.roster import DeviceNames
from emulator.live.deeds import Deed, write_deeds
from emulator.live.live_folder import LiveCommand
from emulator.live.live_run import LiveRun
from emulator.realtime.wall_clock import WallClock
from scenarios.language.scenario import Scenario

AHEAD_S: Final = 0.25
"""Time until a deed takes effect: each shard must have heard of it by then."""


class FleetSteering:
    """Turns commands into deeds.

    Args:
        live: of the run; it has the commands, and shows the deeds.
        scenario: of the run.
        record: the file of the deeds.
    """

    def __init__(self, live: LiveRun, scenario: Scenario, record: Path) -> None:
        self._live = live
        self._scenario = scenario
        self.record = record
        self._deeds: list[Deed] = []
        self._clock: WallClock | None = None
        self._groups = {group.name for group in scenario.fleet}
        self._names = frozenset(DeviceNames(scenario.fleet, scenario.seed, scenario.sample))

    def begin(self, began_s: float) -> None:
        """Take commands from now on; simulated time is 0 at *began_s*, in seconds since 1970."""
        self._clock = WallClock(self._scenario.realtime.speed, began_s, time.time)
        self._live.speed = self._scenario.realtime.speed
        self._live.takes_deeds = True

    def due(self) -> list[bytes]:
        """Return new deeds, each as a line for the shards; they are recorded first."""
        if self._clock is None:
            return []
        new = [self._deed(self._clock, command) for command in self._commands() if self._is_possible(command)]
        if not new:
            return []
        write_deeds(self.record, self._deeds)
        self._live.add_deeds(new)
        return [msgspec.json.encode(deed) + b"\n" for deed in new]

    def _commands(self) -> Iterator[LiveCommand]:
        while True:
            try:
                yield self._live.commands.get_nowait()
            except Empty:
                return

    def _is_possible(self, command: LiveCommand) -> bool:
        if command.group is not None and command.group not in self._groups:
            self._live.refusal = f"group(={command.group!r}) is not one of the fleet"
        elif command.device is not None and command.device not in self._names:
            self._live.refusal = f"device(={command.device!r}) is not one of the fleet"
        elif (command.kind == "pause") == self._live.is_paused and command.kind in ("pause", "resume"):
            self._live.refusal = "it is paused already" if self._live.is_paused else "it is not paused"
        elif command.kind == "speed" and self._live.is_paused:
            self._live.refusal = "it is paused: let it go on first"
        else:
            self._live.refusal = ""
            return True
        return False

    def _deed(self, clock: WallClock, command: LiveCommand) -> Deed:
        at_s = max(time.time() + AHEAD_S, self._deeds[-1].at_s if self._deeds else 0.0)
        deed = Deed(
            number=len(self._deeds) + 1, at_s=at_s, at_ns=max(clock.time_at(at_s), 0), command=command
        )
        speed = deed.new_speed(clock.speed)
        if speed is not None:
            clock.change(at_s, speed)
            self._live.is_paused = speed == 0.0
            self._live.speed = clock.speed
        self._deeds.append(deed)
        return deed
