"""The choice of a run's engine: SimPy, or the compiled kernel where it can be used and pays."""

from typing import Final

from devices.kernel.code_cache import is_compiled, is_installed
from devices.kernel.support import unsupported_faults
from scenarios.language.checks import repeating_spans
from scenarios.language.scenario import Scenario
from wire.errors import InputError

PAYS_COMPILED, PAYS_UNCOMPILED = 50_000, 600_000
"""Expected changes from which `auto` uses the kernel: if it is compiled already, and if not."""
WORTH_A_HINT: Final = 2_000
"""Devices from which a run without numba says that it would be faster with it."""


def unsupported(scenario: Scenario, *, is_replay: bool = False) -> str | None:
    """Return the reason for which the kernel cannot simulate *scenario*; None if it can.

    Args:
        scenario: resolved.
        is_replay: whether a recorded run is played again.
    """
    if scenario.clock != "virtual":
        return f"the clock is {scenario.clock}"
    if is_replay:
        return "a recorded run is played again"
    if scenario.shared_by is not None:
        return scenario.shared_by
    if scenario.interactions is not None:
        return "users meet items in simulated time (interactions)"
    if scenario.updates.delivery == "shared":
        return "updates.delivery is shared: devices subscribe to layers"
    return unsupported_faults(scenario.faults)


def check_engine(scenario: Scenario, *, is_replay: bool = False) -> list[str]:
    """Check that the engine that *scenario* asks for can run it; return notes for the user.

    Raises:
        InputError: it asks for the kernel, and the kernel cannot run it or is not installed.
    """
    reason = unsupported(scenario, is_replay=is_replay)
    if scenario.engine == "kernel":
        if reason is not None:
            raise InputError(f"engine(='kernel') must be auto or simpy: {reason}")
        if not is_installed():
            raise InputError("engine(='kernel') needs numba: install peelfleet[fast]")
    devices = sum(group.count for group in scenario.fleet)
    if scenario.engine == "auto" and reason is None and not is_installed() and devices >= WORTH_A_HINT:
        return [f"{devices:,} devices run many times faster with numba: install peelfleet[fast]"]
    return []


def uses_kernel(scenario: Scenario, *, is_replay: bool = False) -> bool:
    """Tell whether the kernel simulates *scenario*.

    With engine `auto` it does where that pays: to compile the kernel takes about 20 seconds of one core, once
    for a version; to load it takes a second or two; and SimPy takes 40 microseconds for a change.
    """
    if scenario.engine == "simpy" or not is_installed():
        return False
    if unsupported(scenario, is_replay=is_replay) is not None:
        return False
    if scenario.engine == "kernel":
        return True
    changes = expected_changes(scenario)
    return changes >= PAYS_UNCOMPILED or (changes >= PAYS_COMPILED and is_compiled())


def must_compile(scenario: Scenario, *, is_replay: bool = False) -> bool:
    """Tell whether the kernel simulates *scenario* and is not compiled yet."""
    return uses_kernel(scenario, is_replay=is_replay) and not is_compiled()


def expected_changes(scenario: Scenario) -> float:
    """Return about how many changes of memory and connectivity the fleet has in the whole run."""
    stop_ns = int(scenario.stop_time)
    return sum(
        scenario.fleet[index].count * stop_ns / sum(spans.values())
        for index, spans in repeating_spans(scenario)
    )
