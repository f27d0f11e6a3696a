"""Deeds by hand on one device: its budget is squeezed, or it is cut off for a time."""

from typing import Protocol

from devices.protocol.agent import Agent
from devices.simulated.clock import Clock
from devices.timeline.connectivity import ConnectivityCause


class SteeredDevice(Protocol):
    """A device, as its steering sees it."""

    agent: Agent

    def budget_left(self, free_bytes: int, budget_bytes: int) -> int:
        """Return the part of a budget that deeds by hand and learning leave."""

    def change_budget(self, free_bytes: int, budget_bytes: int) -> None:
        """Use another budget."""

    def begin_connect(self, why: ConnectivityCause) -> None:
        """Connect."""

    def disconnect(self, why: ConnectivityCause) -> None:
        """Cut the connection."""


class DeviceSteering:
    """The deeds on one device, on top of what its scenario does.

    Args:
        device: the device.
        clock: of its environment.
        stop_ns: the end of the scenario: nothing changes after it.
    """

    __slots__ = ("_clock", "_cut_until_ns", "_device", "_memory", "_stop_ns", "_wanted", "factor")

    def __init__(self, device: SteeredDevice, clock: Clock, stop_ns: int) -> None:
        self.factor = 1.0
        """The budget is multiplied by this."""
        self._device = device
        self._clock = clock
        self._stop_ns = stop_ns
        self._memory: tuple[int, int] | None = None
        self._cut_until_ns = 0
        self._wanted = False

    def scale(self, free_bytes: int, budget_bytes: int) -> int:
        """Return the budget for that of the scenario, which is kept until the next one."""
        self._memory = free_bytes, budget_bytes
        return budget_bytes if self.factor == 1.0 else int(budget_bytes * self.factor)

    def squeeze(self, factor: float) -> None:
        """Multiply the budget by *factor* from now on, in place of an earlier factor."""
        self.factor = factor
        if self._memory is None:
            return
        free_bytes, own_bytes = self._memory
        budget_bytes = self._device.budget_left(free_bytes, own_bytes)
        if budget_bytes != self._device.agent.budget_bytes:
            self._device.change_budget(free_bytes, budget_bytes)

    def cut_off(self, until_ns: int) -> None:
        """Cut the device off until then; what its scenario says of connections comes after that."""
        now_ns, until_ns = self._clock.now_ns, min(until_ns, self._stop_ns)
        if until_ns <= max(now_ns, self._cut_until_ns):
            return
        if self._cut_until_ns <= now_ns and self._wanted:
            self._device.disconnect(ConnectivityCause.ACTION)
            self._wanted = True  # by the scenario, still
        self._cut_until_ns = until_ns
        self._clock.after(until_ns - now_ns, until_ns, self._end_cut)

    def holds_back(self, *, online: bool) -> bool:
        """Note that the scenario connects the device or cuts it off; return True if deeds hold that back."""
        self._wanted = online
        return self._clock.now_ns < self._cut_until_ns

    def _end_cut(self, until_ns: int) -> None:
        if until_ns == self._cut_until_ns and self._wanted and until_ns < self._stop_ns:
            self._device.begin_connect(ConnectivityCause.ACTION)
