"""The deeds by hand on the devices of one shard, and where they come from."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from devices.simulated.clock import Clock
from devices.simulated.device import Device
from devices.simulated.roster import DeviceSpec
from devices.simulated.steering import DeviceSteering
from emulator.live.deeds import Deed
from emulator.simulation.abort_monitor import AbortedError
from wire.units import NS_PER_S


class DeedFeed:
    """The deeds of a run: those before this process began, then those that its parent sends.

    Args:
        earlier: those before.
    """

    def __init__(self, earlier: Sequence[Deed]) -> None:
        self.earlier = tuple(earlier)
        self._loop = asyncio.get_running_loop()
        self._seen = {deed.number for deed in earlier}
        self._waiting: list[Deed] = []
        self._carry_out: Callable[[Deed], None] | None = None

    def send(self, deed: Deed) -> None:
        """Pass a deed on; from any thread."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._take, deed)

    def start(self, carry_out: Callable[[Deed], None]) -> None:
        """Carry out earlier deeds about time and all later ones, from now on, in their order."""
        self._carry_out = carry_out
        for deed in self.earlier:
            if deed.new_speed(1.0) is not None:
                carry_out(deed)
        for deed in self._waiting:
            carry_out(deed)
        self._waiting.clear()

    def _take(self, deed: Deed) -> None:
        if deed.number in self._seen:
            return
        self._seen.add(deed.number)
        if self._carry_out is None:
            self._waiting.append(deed)
        else:
            self._carry_out(deed)


class SteeredFleet:
    """Carries out deeds on the devices of a shard.

    Args:
        specs: the devices of the shard.
        devices: the same, by name; not started yet.
        clock: of their environment.
        stop_ns: the end of the scenario.
    """

    def __init__(
        self, specs: Sequence[DeviceSpec], devices: Mapping[str, Device], clock: Clock, stop_ns: int
    ) -> None:
        self._clock = clock
        self._groups = {spec.name: spec.group.name for spec in specs}
        self._steering = {name: DeviceSteering(device, clock, stop_ns) for name, device in devices.items()}
        for name, device in devices.items():
            device.steering = self._steering[name]

    def resume(self, deeds: Sequence[Deed], since_ns: int) -> None:
        """Take up earlier deeds, as they stand at *since_ns*: squeezes hold, and cuts may not be over."""
        for deed in deeds:
            if deed.command.kind == "squeeze" and deed.at_ns <= since_ns:
                for steering in self._chosen(deed):
                    steering.factor = deed.command.share or 0.0
            elif deed.command.is_of_devices:
                self.schedule(deed)

    def schedule(self, deed: Deed) -> None:
        """Let a deed happen at its simulated time, or now if that has passed."""
        self._clock.after(max(0, deed.at_ns - self._clock.now_ns), deed, self._do)

    def _do(self, deed: Deed) -> None:
        command = deed.command
        if command.kind == "stop":
            raise AbortedError(deed.at_ns)
        for steering in self._chosen(deed):
            if command.kind == "squeeze":
                steering.squeeze(command.share or 0.0)
            else:
                steering.cut_off(deed.at_ns + int((command.seconds or 0.0) * NS_PER_S))

    def _chosen(self, deed: Deed) -> list[DeviceSteering]:
        """Return the steering of the devices that a deed is about."""
        command = deed.command
        return [
            steering
            for name, steering in self._steering.items()
            if command.device in (None, name) and command.group in (None, self._groups[name])
        ]
