"""The errors of peelfleet, one class for each responsible party.

Every error keeps all its data in ``args``, so that it can be sent between processes.
"""

from enum import StrEnum


class PeelfleetError(Exception):
    """Base class of the errors that peelfleet raises."""


def first_error(error: BaseException) -> BaseException:
    """Return the first error inside *error*, a group of errors; any other error is returned as it is."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class InputError(PeelfleetError):
    """The user's scenario, argument, data file or block store is wrong (exit status 2).

    Args:
        lines: the problems, one a line; usually one.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)

    @property
    def lines(self) -> tuple[str, ...]:
        """The problems, one a line."""
        return tuple(map(str, self.args))

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows in place of a traceback: the problems."""
        return [f"InputError: {line}" for line in self.lines]

    def __str__(self) -> str:
        more = len(self.args) - 1
        return f"{self.args[0]} (and {more} more)" if more > 0 else "".join(map(str, self.args))


class RunError(PeelfleetError):
    """A run failed: a broker stopped, the cloud does not answer, the disk is full (exit status 1)."""

    def _render_traceback_(self) -> list[str]:
        """Return the line that IPython shows in place of a traceback: the text."""
        return [f"{type(self).__name__}: {self}"]


class NoAnswerError(RunError):
    """A wait has ended without an answer; the text has the numbers sent and received, and usual causes."""


class LocalProtocolError(PeelfleetError):
    """This program broke the protocol: a bug."""


class Reason(StrEnum):
    """The reason why a message from the network was refused; reasons are counted."""

    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    CHECKSUM = "checksum"
    SIGNATURE = "signature"
    RETAINED = "retained"
    UNKNOWN_TOPIC = "unknown_topic"
    UNKNOWN_USER = "unknown_user"
    UNKNOWN_GROUP = "unknown_group"
    UNKNOWN_MODEL = "unknown_model"
    OUT_OF_RANGE = "out_of_range"
    CONTENT = "content"
    UNKNOWN_CODEC = "unknown_codec"
    PART_TOO_SMALL = "part_too_small"


class RemoteProtocolError(PeelfleetError):
    """The peer broke the protocol: count the message, drop it, continue.

    Args:
        reason: the counted reason.
        detail: the exact problem, for a log.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
