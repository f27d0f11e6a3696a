"""When a client connects again, and what it makes of connections that do not last."""

import re

from wire.mqtt.connection import backoff_s

LASTING_S = 60.0
"""A connection that lasts so long was a good one; longer than the longest wait before the next."""
BRIEF_CONNECTIONS = 3
"""So many in a row that are not are said loudly: two clients with one name throw each other out."""

_CODED = re.compile(r"\[code:(\d+)\] (.*)", re.DOTALL)
_CLOSED, _LOGIN = "128", ("134", "135")
_CLOSED_MEANWHILE = "Disconnected during message iteration"


class Reconnections:
    """Counts the attempts of one client that failed in a row; a connection that was lost soon is one of them.

    Args:
        most: the wait grows no further than after so many, as long as the broker accepts connections.
    """

    def __init__(self, most: int = 100) -> None:
        self.brief = 0
        """Connections in a row that the broker ended soon."""
        self._failures = 0
        self._most = most

    def ended(self, lasted_s: float | None) -> None:
        """Count a connection that lasted so long, or None: an attempt that came to nothing."""
        if lasted_s is None:
            self._failures, self.brief = self._failures + 1, 0
        elif lasted_s >= LASTING_S:
            self._failures, self.brief = 1, 0
        else:
            self._failures, self.brief = min(self._failures + 1, self._most), self.brief + 1

    @property
    def suspicious(self) -> bool:
        """Whether so many connections were brief that somebody should hear of it."""
        return self.brief >= BRIEF_CONNECTIONS

    def wait_s(self, draw: float) -> float:
        """Return how long to wait before the next attempt; *draw* is from 0 to 1."""
        return backoff_s(max(self._failures, 1), draw)


def plain_words(error: BaseException) -> str:
    """Return what an MQTT client's *error* says in words, without the numbers of its library."""
    coded = _CODED.fullmatch(str(error))
    if coded is None:
        return str(error) if str(error) != _CLOSED_MEANWHILE else "the broker closed the connection"
    code, words = coded.groups()
    if code == _CLOSED:
        return "the broker closed the connection"
    return f"the broker refuses the login: {words}" if code in _LOGIN else words
