"""Log lines about messages from the network: at most one a second for each reason."""

import logging

LOG_EVERY_S = 1.0
LONGEST = 300
"""Characters of a message from the network that a line repeats."""


class ThrottledLog:
    """Logs refused messages, at most once a second for each reason: a flood must not fill the log.

    Args:
        log: where to write.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._last: dict[str, tuple[float, int]] = {}
        """By reason: when a line was written, and how many were left out since."""

    def refused(self, reason: str, topic: str, detail: str, now_s: float) -> None:
        """Log that a message on *topic* was refused, or count it for the next line."""
        logged_s, left_out = self._last.get(reason, (float("-inf"), 0))
        if now_s - logged_s < LOG_EVERY_S:
            self._last[reason] = logged_s, left_out + 1
            return
        self._last[reason] = now_s, 0
        more = f" (and {left_out} more since the last line)" if left_out else ""
        self._log.warning(
            "refused a message on %s: %s%s", _shorten(topic), _shorten(detail), more,
            extra={"reason": reason, "silent": left_out},
        )  # fmt: skip


def _shorten(text: str) -> str:
    """Return *text* cut short and on one line: a sender must not write lines of its own into a log."""
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    return cut if cut.isprintable() else ascii(cut)[1:-1]
