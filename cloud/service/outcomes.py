"""Label values of the metrics: outcome of a message, cause and content of an update."""

from collections.abc import Sequence
from enum import StrEnum

from wire.errors import Reason
from wire.messages import BudgetReport
from wire.update_part import peek


class MessageOutcome(StrEnum):
    """Outcome of a message of a device; each finished message has exactly one."""

    SENT = "sent"  # answered, and the broker has confirmed all of the answer
    FAILED = "failed"  # the answer was not delivered: the device asks again
    SUPERSEDED = "superseded"  # a newer report of its device is answered instead
    REJECTED = "rejected"  # not a report, or it names a user or a group that does not exist
    DROPPED = "dropped"  # the rate or the queue was full: the device asks again


class UpdateCause(StrEnum):
    """Cause of an update, as far as the report and the answer show it."""

    MODEL_NEW = "model_new"  # the device holds another model, or none
    BUDGET_UP = "budget_up"  # more blocks fit than it holds
    BUDGET_DOWN = "budget_down"  # fewer
    UNCHANGED = "unchanged"  # it holds the right blocks: it has just started, or evicted before it reported


class UpdateContent(StrEnum):
    """Content of an update."""

    FULL = "full"  # all blocks of the PEE
    DELTA = "delta"  # the blocks that the device lacks, or the change of those of another model
    CONTROL = "control"  # no blocks: it confirms, shrinks or introduces the model


NEWER = "newer_report"
INTERNAL = "internal_error"
STOPPED = "stopped"

REASONS: dict[MessageOutcome, tuple[str, ...]] = {
    MessageOutcome.SENT: tuple(UpdateCause),
    MessageOutcome.FAILED: (*UpdateCause, STOPPED),
    MessageOutcome.SUPERSEDED: (NEWER,),
    MessageOutcome.REJECTED: (
        Reason.TOO_LARGE, Reason.MALFORMED, Reason.RETAINED, Reason.UNKNOWN_TOPIC, Reason.UNKNOWN_USER,
        Reason.UNKNOWN_GROUP, Reason.OUT_OF_RANGE, Reason.UNKNOWN_CODEC, Reason.PART_TOO_SMALL, INTERNAL,
    ),
    MessageOutcome.DROPPED: ("rate", "queue_full"),
}  # fmt: skip
"""All possible reasons of each outcome; no message can add another one."""


def classify(report: BudgetReport, parts: Sequence[bytes]) -> tuple[UpdateCause, UpdateContent]:
    """Return the cause and the content of the update *parts* that answer *report*."""
    (_, first), (_, last) = peek(parts[0]), peek(parts[-1])
    if first.introduces or first.is_delta:
        cause = UpdateCause.MODEL_NEW
    elif last.target == report.held:
        cause = UpdateCause.UNCHANGED
    else:
        cause = UpdateCause.BUDGET_UP if last.target > report.held else UpdateCause.BUDGET_DOWN
    if first.is_delta:
        return cause, UpdateContent.DELTA
    if not last.blocks:
        return cause, UpdateContent.CONTROL
    return cause, UpdateContent.FULL if first.first == 0 else UpdateContent.DELTA
