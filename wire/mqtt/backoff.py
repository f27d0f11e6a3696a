"""Waits between attempts to connect, and detection of connections that end too soon. Pure."""

from collections.abc import Callable

FIRST_RETRY_S, LAST_RETRY_S = 0.5, 30.0
"""Shortest and longest wait before the next attempt."""
LASTING_S = 60.0
"""A connection that lasts so long was good; longer than the longest wait before the next attempt."""
BRIEF_CONNECTIONS = 3
"""After this many short connections in a row, log an error: two clients may share one client id."""


def backoff_s(attempt: int, draw: float) -> float:
    """Return the seconds to wait before the next attempt to connect.

    The wait doubles with each attempt, up to half a minute. Half of it is random, so that clients that lost
    their connections together do not reconnect together.

    Args:
        attempt: number of attempts that have failed in a row, from 1.
        draw: a random number from 0 to 1.
    """
    longest_s = min(FIRST_RETRY_S * 2.0 ** min(attempt - 1, 16), LAST_RETRY_S)
    return longest_s * (0.5 + 0.5 * draw)


class Backoff:
    """Failed attempts of one client, counted; a connection that ended too soon counts as failed.

    Args:
        draw: returns a random number from 0 to 1.
        brief_limit: with brief connections only, the wait grows no further after this many.
        longest_s: longest wait.
    """

    def __init__(
        self, draw: Callable[[], float], *, brief_limit: int = 100, longest_s: float = LAST_RETRY_S
    ) -> None:
        self.brief = 0
        """Connections in a row that the broker ended too soon."""
        self._draw = draw
        self._failures = 0
        self._brief_limit = brief_limit
        self._longest_s = longest_s

    def ended(self, lasted_s: float | None) -> None:
        """Count a connection that lasted *lasted_s*; None: an attempt that failed."""
        if lasted_s is None:
            self._failures, self.brief = self._failures + 1, 0
        elif lasted_s >= LASTING_S:
            self._failures, self.brief = 1, 0
        else:
            self._failures, self.brief = min(self._failures + 1, self._brief_limit), self.brief + 1

    @property
    def suspicious(self) -> bool:
        """True if so many connections were brief that an error should be logged."""
        return self.brief >= BRIEF_CONNECTIONS

    def wait_s(self) -> float:
        """Return the seconds to wait before the next attempt."""
        return min(backoff_s(max(self._failures, 1), self._draw()), self._longest_s)
