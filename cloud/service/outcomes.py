"""What became of each message of a device, and what an update is for: the words of the metrics."""

from collections.abc import Sequence
from enum import StrEnum

from wire.errors import Reason
from wire.messages import BudgetReport
from wire.update_part import peek


class Outcome(StrEnum):
    """What became of a message: exactly one of these, once it waits no more."""

    SENT = "sent"  # answered, and the broker has confirmed all of the answer
    FAILED = "failed"  # the answer did not get through: the device asks again
    SUPERSEDED = "superseded"  # a newer report of its device is answered in its place
    REJECTED = "rejected"  # no report, or one that names what does not exist
    DROPPED = "dropped"  # there was no room for it: the device asks again


class UpdateCause(StrEnum):
    """Why an update is sent, as far as one can see from the report and the answer."""

    MODEL_NEW = "model_new"  # the device holds another model, or none
    BUDGET_UP = "budget_up"  # more blocks fit than it holds
    BUDGET_DOWN = "budget_down"  # fewer
    UNCHANGED = "unchanged"  # it holds what it should: it was at its start, or evicted before it asked


class UpdateContent(StrEnum):
    """What an update brings."""

    FULL = "full"  # all blocks of the PEE
    DELTA = "delta"  # those that the device lacks
    CONTROL = "control"  # none: it confirms, shrinks or introduces


NEWER = "newer_report"
INTERNAL = "internal_error"
STOPPED = "stopped"

REASONS: dict[Outcome, tuple[str, ...]] = {
    Outcome.SENT: tuple(UpdateCause),
    Outcome.FAILED: (*UpdateCause, STOPPED),
    Outcome.SUPERSEDED: (NEWER,),
    Outcome.REJECTED: (
        Reason.TOO_LARGE, Reason.MALFORMED, Reason.RETAINED, Reason.UNKNOWN_TOPIC, Reason.UNKNOWN_USER,
        Reason.UNKNOWN_GROUP, Reason.OUT_OF_RANGE, INTERNAL,
    ),
    Outcome.DROPPED: ("rate", "queue_full"),
}  # fmt: skip
"""All the reasons that a result can have: no message of a device makes a new one."""


def classify(report: BudgetReport, parts: Sequence[bytes]) -> tuple[UpdateCause, UpdateContent]:
    """Return why *parts* answer *report*, and what they bring."""
    (_, first), (_, last) = peek(parts[0]), peek(parts[-1])
    if first.introduces:
        cause = UpdateCause.MODEL_NEW
    elif last.target == report.held:
        cause = UpdateCause.UNCHANGED
    else:
        cause = UpdateCause.BUDGET_UP if last.target > report.held else UpdateCause.BUDGET_DOWN
    if not last.blocks:
        return cause, UpdateContent.CONTROL
    return cause, UpdateContent.FULL if first.first == 0 else UpdateContent.DELTA
