"""The errors of peelfleet: whose fault it is decides the class.

Every error keeps all its data in ``args``, so it survives a trip between processes.
"""

from enum import StrEnum


class PeelfleetError(Exception):
    """Root of everything that peelfleet raises on purpose."""


def first_error(error: BaseException) -> BaseException:
    """Return one error of a group, however deep it lies; an error that is no group, as it is."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class InputError(PeelfleetError):
    """The user's scenario, argument, data file or block store is wrong (exit status 2).

    Args:
        lines: what is wrong, a line each; most often there is one.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)

    @property
    def lines(self) -> tuple[str, ...]:
        """What is wrong, a line each."""
        return tuple(map(str, self.args))

    def __str__(self) -> str:
        more = len(self.args) - 1
        return f"{self.args[0]} (and {more} more)" if more > 0 else "".join(map(str, self.args))


class RunError(PeelfleetError):
    """A run failed: a broker is gone, the cloud does not answer, the disk is full (exit status 1)."""


class NoAnswerError(RunError):
    """A wait has ended without an answer; the words say what was published, what came, and why."""


class LocalProtocolError(PeelfleetError):
    """We tried something that the protocol forbids: a bug of ours."""


class Reason(StrEnum):
    """Why a message from the network was refused; each reason is counted."""

    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    CHECKSUM = "checksum"
    RETAINED = "retained"
    UNKNOWN_TOPIC = "unknown_topic"
    UNKNOWN_USER = "unknown_user"
    UNKNOWN_GROUP = "unknown_group"
    UNKNOWN_MODEL = "unknown_model"
    OUT_OF_RANGE = "out_of_range"
    CONTENT = "content"


class RemoteProtocolError(PeelfleetError):
    """The peer sent something that the protocol forbids: count it, drop it, go on.

    Args:
        reason: the counted reason.
        detail: what exactly was wrong, for a log.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}"
