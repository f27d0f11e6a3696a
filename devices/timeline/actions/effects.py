"""The combined effect of several actions on one device: its budget factors and its networks over time."""

from collections.abc import Iterable, Iterator, Sequence

from devices.timeline.actions.action import BudgetFactor, ScheduledAction

RAMP_STEPS = 20
"""The number of steps in which a budget changes over a span of time."""


def budget_factors(actions: Iterable[ScheduledAction]) -> Iterator[tuple[int, float]]:
    """Yield (t_ns, factor): from that time on, the budget is multiplied by the factor.

    A scaling that begins while another is under way starts from the factor reached so far.

    Args:
        actions: on one device, in the order of time.
    """
    scalings: list[tuple[int, BudgetFactor]] = []
    for t_ns, _, action in actions:
        scaling = action.budget_factor()
        if scaling is not None:
            scalings.append((t_ns, scaling))
    ends = [t_ns for t_ns, _ in scalings[1:]]
    current = 1.0
    for (t_ns, (factor, over_ns)), end_ns in zip(scalings, [*ends, None], strict=False):
        before = current
        for step_ns, part in _ramp(t_ns, over_ns):
            if end_ns is not None and step_ns >= end_ns:
                break
            current = before * (1.0 - part) + factor * part  # exactly *factor* at the end
            yield step_ns, current


def network_changes(actions: Iterable[ScheduledAction], own: str) -> list[tuple[int, str]]:
    """Return (t_ns, network): from that time on, the device is on that network.

    Args:
        actions: on one device, in the order of time.
        own: the device's own network, to which it returns.
    """
    changes: list[tuple[int, str]] = []
    for t_ns, _, action in actions:
        move = action.network_move()
        if move is not None:
            changes = [change for change in changes if change[0] < t_ns]  # a later move ends an earlier one
            changes.append((t_ns, move.network))
            if move.stays_ns is not None:
                changes.append((t_ns + move.stays_ns, own))
    return changes


def _ramp(t_ns: int, over_ns: int) -> Sequence[tuple[int, float]]:
    if not over_ns:
        return [(t_ns, 1.0)]
    return [(t_ns + over_ns * step // RAMP_STEPS, step / RAMP_STEPS) for step in range(1, RAMP_STEPS + 1)]
