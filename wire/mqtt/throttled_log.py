"""Words about what the network sends: at most a line a second for each reason, whatever comes."""

import logging

SAY_EVERY_S = 1.0
LONGEST = 300
"""Characters of what the network sends that a line repeats."""


class Complaints:
    """Says what was refused, at most once a second for each reason: no flood becomes one of the log.

    Args:
        log: where to say it.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._said: dict[str, tuple[float, int]] = {}

    def complain(self, reason: str, topic: str, what: str, now_s: float) -> None:
        """Say that a message on *topic* was refused, or keep it for later."""
        said_s, silent = self._said.get(reason, (float("-inf"), 0))
        if now_s - said_s < SAY_EVERY_S:
            self._said[reason] = said_s, silent + 1
            return
        self._said[reason] = now_s, 0
        more = f" (and {silent} more since the last line)" if silent else ""
        self._log.warning(
            "refused a message on %s: %s%s", _plain(topic), _plain(what), more,
            extra={"reason": reason, "silent": silent},
        )  # fmt: skip


def _plain(text: str) -> str:
    """Return *text* cut short and on one line: a sender must not write lines of its own into a log."""
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    return cut if cut.isprintable() else ascii(cut)[1:-1]
