"""Error answers: what a device is told of a report that is refused, or not answered now.

It does no I/O; time is an argument. A device that sends nothing but wrong reports gets one error a second,
and the errors that wait to be sent are bounded: an error is a help, and never worth more than an answer.
"""

from collections import Counter, OrderedDict, deque
from typing import Final

from cloud.service.outcomes import INTERNAL
from cloud.service.report_queue import Admission
from wire.errors import Reason
from wire.messages import ErrorAnswer, Remedy, encode

LEAST_INTERVAL_S: Final = 1.0
"""Seconds between two errors to one device."""
MOST_DEVICES: Final = 10_000
"""Devices whose last error is remembered; the oldest are forgotten."""
MOST_WAITING: Final = 1000
"""Errors that wait to be sent; further ones are left out."""
MAX_TEXT: Final = 300

REMEDIES: Final[dict[str, tuple[Remedy, float]]] = {
    Admission.RATE: (Remedy.WAIT, 0.0),
    Admission.FULL: (Remedy.RETRY, 10.0),
    INTERNAL: (Remedy.RETRY, 60.0),
    Reason.OUT_OF_RANGE: (Remedy.RESTART, 1.0),
}
"""Remedy, and seconds to the next report, by reason; all other reasons have `OTHERS`."""
OTHERS: Final = (Remedy.CHANGE, 60.0)


class ErrorAnswers:
    """The errors that wait to be sent."""

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()
        """Errors that were not sent, by reason: they came too fast, or too many wait."""
        self._told_s: OrderedDict[str, float] = OrderedDict()
        self._waiting: deque[tuple[str, ErrorAnswer]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(
        self, device: str, seq: int, reason: str, text: str, now_s: float, *, wait_s: float | None = None
    ) -> bool:
        """Let an error wait to be sent to *device*, unless it has had one just now.

        Args:
            device: who sent the report.
            seq: number of the report; 0 where it could not be read.
            reason: the counted reason.
            text: the exact problem.
            now_s: the time.
            wait_s: seconds until the report is answered, where the reason is the rate.
        """
        told = self._told_s
        if now_s - told.get(device, -LEAST_INTERVAL_S) < LEAST_INTERVAL_S or len(self) >= MOST_WAITING:
            self.left_out[reason] += 1
            return False
        told.pop(device, None)
        told[device] = now_s
        if len(told) > MOST_DEVICES:
            told.popitem(last=False)
        remedy, retry_after_s = REMEDIES.get(reason, OTHERS)
        self._waiting.append(
            (
                device,
                ErrorAnswer(
                    seq=seq,
                    reason=reason,
                    text=text[:MAX_TEXT],
                    remedy=remedy,
                    retry_after_s=retry_after_s if wait_s is None else round(max(wait_s, 0.0), 3),
                ),
            )
        )
        return True

    def pop(self) -> tuple[str, str, bytes]:
        """Remove the error that has waited longest; return its device, its reason and its payload."""
        device, error = self._waiting.popleft()
        return device, error.reason, encode(error)
